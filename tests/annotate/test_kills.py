"""The server is killed at random moments of a labeling over HTTP: what it has acknowledged is there."""

from __future__ import annotations

import os
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.annotate.process import Process, forked

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")


@dataclass
class Labeling:
    """A labeling by a script that remembers what was acknowledged.

    Attributes:
        random: decides what is done next.
        strokes: the requests that were acknowledged, by key, with the strokes' numbers.
        masks: by object, the version and the hash of the mask as it was acknowledged last; None if it has
            none.
        sent: the request whose answer has not come.
    """

    random: random.Random
    strokes: dict[str, tuple[dict[str, Any], int]] = field(default_factory=dict)
    masks: dict[str, tuple[int, str] | None] = field(default_factory=dict)
    sent: dict[str, Any] | None = None

    def go_on(self, client: httpx.Client, image: int) -> None:
        """Label until the server is gone."""
        try:
            while True:
                self.sent = self._next()
                self._note(self._send(client, image))
                self.sent = None
        except httpx.TransportError:
            pass

    def check(self, client: httpx.Client, image: int) -> None:
        """Compare the new server with what the one before it had acknowledged."""
        objects = {
            one["id"]: one for one in client.get(f"/v1/images/{image}/objects").json()["objects"]
        }
        about = None if self.sent is None else self.sent.get("object")
        for id, expected in self.masks.items():
            if id == about:
                continue  # the stroke that was on its way may be on the disk, or not
            mask = objects[id]["mask"] if id in objects else None
            assert (mask and (mask["version"], mask["hash"])) == expected, id
        for body, number in random.Random(0).sample(
            list(self.strokes.values()), min(5, len(self.strokes))
        ):
            again = client.post(f"/v1/images/{image}/strokes", json=body)
            assert again.status_code == 200, again.text
            assert again.json()["stroke"]["n"] == number, "it was applied a second time"
        if self.sent is not None:  # as the page does: it is sent again, and counts once
            self._note(self._send(client, image))
            self.sent = None

    def _next(self) -> dict[str, Any]:
        one = self.random
        key = f"{one.getrandbits(64):016x}"
        drawn = [id for id, mask in self.masks.items() if mask is not None]
        place = [one.uniform(15, 145), one.uniform(15, 105)]
        kind = one.choices(("brush", "more", "erase", "prompt", "label"), (4, 6, 3, 2, 2))[0]
        if kind == "prompt":
            box = [place[0] - 12, place[1] - 12, place[0] + 12, place[1] + 12]
            return {"key": key, "kind": "prompt", "prompt": {"points": [], "box": box}}
        if kind == "brush" or not drawn:
            return {"key": key, "kind": "brush", "mode": "add", "path": [place], "radius": 8}
        object = one.choice(drawn[-5:])
        if kind == "label":
            label = one.choice(("cyst", "nodule", "vessel"))
            return {"key": key, "kind": "label", "object": object, "label": label}
        version = self.masks[object]
        return {
            "key": key, "kind": "brush", "mode": "erase" if kind == "erase" else "add", "radius": 6,
            "path": [place], "object": object, "base_version": version and version[0],
        }  # fmt: skip

    def _send(self, client: httpx.Client, image: int) -> tuple[dict[str, Any], httpx.Response]:
        assert self.sent is not None
        return self.sent, client.post(f"/v1/images/{image}/strokes", json=self.sent)

    def _note(self, sent: tuple[dict[str, Any], httpx.Response]) -> None:
        body, answer = sent
        assert answer.status_code in (200, 422), answer.text  # 422: the model found nothing there
        if answer.status_code == 422:
            assert body["kind"] == "prompt", answer.text
            return
        found = answer.json()
        object = found["object"]
        mask = object["mask"]
        self.masks[object["id"]] = mask and (mask["version"], mask["hash"])
        if found["stroke"] is not None:
            self.strokes[body["key"]] = body, found["stroke"]["n"]


def killed(server: Process, labeling: Labeling, image: int, seconds: float) -> None:
    """Label, and kill the server after some seconds."""
    timer = threading.Timer(seconds, server.kill)
    with server.client() as client:
        timer.start()
        labeling.go_on(client, image)
    timer.join()


def label_and_kill(folder: Path, times: int, *, seed: int, longest: float) -> Labeling:
    """Label over HTTP, with the server killed and started anew a number of times."""
    labeling = Labeling(random.Random(seed))
    for _ in range(times):
        with forked(folder) as server:
            server.wait_for_model()
            with server.client() as client:
                images = client.get("/v1/images").json()["images"]
                image = next(one["id"] for one in images if one["name"] == "a.png")
                labeling.check(client, image)
            killed(server, labeling, image, labeling.random.uniform(0.02, longest))
    with forked(folder) as server, server.client() as client:
        labeling.check(client, image)
        assert "Traceback" not in server.log.read_text()
    return labeling


@pytest.mark.slow
def test_what_a_killed_server_has_acknowledged_is_there(folder: Path) -> None:
    assert len(label_and_kill(folder, 2, seed=0, longest=1.5).strokes) > 0


@pytest.mark.slow
def test_a_server_that_is_killed_fifty_times_loses_nothing_that_it_acknowledged(
    folder: Path,
) -> None:
    assert len(label_and_kill(folder, 50, seed=1, longest=1.0).strokes) > 100
