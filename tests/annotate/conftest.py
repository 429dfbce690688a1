"""An annotator over a small folder, with a network of random weights: what is tested is the server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.app import create_app
from ultrasam.annotate.server.security import Access

HOST = "127.0.0.1:8417"


def disc(center: tuple[int, int], radius: int, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (x + 0.5 - center[0]) ** 2 + (y + 0.5 - center[1]) ** 2 <= radius**2


def write_images(folder: Path, *, frames: int = 12) -> None:
    """Two stills, and a cine in which a bright disc moves by 3 pixels a frame."""
    random = np.random.default_rng(0)
    speckle = cv2.GaussianBlur(random.integers(0, 160, (120, 160)).astype(np.uint8), (0, 0), 2)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), np.where(disc((60, 60), 20), 220, speckle))
    video = cv2.VideoWriter(
        str(folder / "cine.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20, (160, 120)
    )
    for t in range(frames):
        frame = np.where(disc((40 + 3 * t, 60), 20), 220, speckle).astype(np.uint8)
        video.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    video.release()


@dataclass
class Page:
    """Speaks to the server as the page does."""

    client: TestClient
    annotator: Annotator

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(f"/v1{path}", **options)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.client.request(
            method, f"/v1{path}", json={} if body is None else body, headers={"X-UltraSam": "1", **headers}
        )  # fmt: skip

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("POST", path, body)

    def id(self, name: str) -> int:
        images = self.get("/images").json()["images"]
        return int(next(one["id"] for one in images if one["name"] == name))

    def stroke(self, image: int, kind: str, **body: Any) -> Any:
        return self.post(
            f"/images/{image}/strokes", {"key": str(uuid.uuid4()), "kind": kind, **body}
        )

    def draw(
        self, image: int, center: tuple[float, float] = (60, 60), radius: float = 12, **body: Any
    ) -> dict[str, Any]:
        """The object after a dab of the brush."""
        answer = self.stroke(image, "brush", mode="add", path=[center], radius=radius, **body)
        assert answer.status_code == 200, answer.json()
        found: dict[str, Any] = answer.json()["object"]
        return found

    def finished(self, job: dict[str, Any], *, seconds: int = 60) -> dict[str, Any]:
        """A job when it has ended."""
        import time

        for _ in range(20 * seconds):
            found: dict[str, Any] = self.get(f"/jobs/{job['id']}").json()
            if found["state"] not in ("waiting", "running"):
                return found
            time.sleep(0.05)
        raise AssertionError(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "images"
    place.mkdir()
    write_images(place)
    return place


def page_over(annotator: Annotator, access: Access | None = None) -> Page:
    access = access or Access("127.0.0.1", 8417, annotator.project.secret, "anna")
    client = TestClient(
        create_app(annotator, access), base_url=f"{access.scheme}://{HOST}", raise_server_exceptions=False
    )  # fmt: skip
    return Page(client, annotator)


@pytest.fixture
def page(folder: Path) -> Iterator[Page]:
    annotator = Annotator.open(folder, model="random:nano", device="cpu")
    try:
        yield page_over(annotator)
    finally:
        annotator.close()
