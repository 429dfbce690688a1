"""`ultrasam annotate` as a process of its own, and its page in a browser."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from tests.annotate.page.folders import SIZE
from tests.web.browser import on_screen, watched
from ultrasam.annotate.server.security import MUTATION_HEADER
from ultrasam.annotate.wire import mask_from_json

BoolMask = npt.NDArray[np.bool_]
_PATIENCE = 240.0  # s; a loaded machine starts slowly


@dataclass
class Server:
    """A server that can be killed and started again.

    Attributes:
        folder: what it serves.
        port: where, the same after a new start.
        options: more arguments of the command.
        cookies: who asks.
    """

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    cookies: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it, and wait until its model is loaded."""
        command = [sys.executable, "-m", "ultrasam", "annotate", str(self.folder), "--no-browser"]
        self._process = subprocess.Popen([*command, "--port", str(self.port), *self.options])
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "the server has ended"
            try:
                if self.ask("/v1/project")["model"]["ready"]:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError("the server does not start")

    def kill(self) -> None:
        """Kill it without a warning."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """The answer to a GET, or to a change with a body."""
        with self._client() as client:
            answer = client.get(path) if body is None else client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    def work_as(self, reader: str) -> None:
        """Ask as a reader from now on."""
        self.cookies = {}
        with self._client() as client:
            client.post("/v1/session", json={"reader": reader}).raise_for_status()
            self.cookies = dict(client.cookies)

    def leave(self) -> None:
        """Let others have the images that the reader has open."""
        with self._client() as client:
            for image in client.get("/v1/images").json()["images"]:
                client.request(
                    "DELETE", f"/v1/images/{image['id']}/lease", json={}
                ).raise_for_status()

    def _client(self) -> httpx.Client:
        headers = {MUTATION_HEADER: "1"}
        return httpx.Client(
            base_url=self.address, headers=headers, cookies=self.cookies, timeout=60
        )


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Server]:
    """A started server of a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(folder, int(free.getsockname()[1]), options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def enter(page: Any, server: Server) -> None:
    """Open the annotator's page as the server's reader, and wait until an image is there."""
    page.context.add_cookies(
        [
            {"name": name, "value": value, "url": server.address}
            for name, value in server.cookies.items()
        ]
    )
    page.goto(server.address)
    page.evaluate("() => window.ultrasam.started")
    settle(page)


def settle(page: Any) -> None:
    """Wait until the frame is read by the model, and all strokes are answered and drawn."""
    page.wait_for_function("() => window.ultrasam.session.encoded")
    page.evaluate(
        "async () => { const { session, queue } = window.ultrasam;"
        " await session.ready; await queue.settled;"
        " await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))); }"
    )


def open_image(page: Any, name: str) -> None:
    """Open an image of the list."""
    page.click(f"#image-rows button:has-text('{name}')")
    page.wait_for_function(
        f"() => window.ultrasam.session.image?.name === '{name}' && window.ultrasam.session.encoded"
    )
    settle(page)


def click(page: Any, point: tuple[float, float], button: str = "left") -> None:
    """Click at a point of the picture, and wait for the mask."""
    page.mouse.click(*on_screen(page, *point), button=button)
    settle(page)


def drag(page: Any, *points: tuple[float, float], release: bool = True) -> None:
    """Press at the first point of the picture, move through the others, and release."""
    page.mouse.move(*on_screen(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_screen(page, *point), steps=5)
    if release:
        page.mouse.up()
        settle(page)


def masks(server: Server, name: str, frame: int = 0) -> dict[int, BoolMask]:
    """What is stored: the mask of each object of an image, by the object's number."""
    (image,) = (each for each in server.ask("/v1/images")["images"] if each["name"] == name)
    objects = server.ask(f"/v1/images/{image['id']}/objects?frame={frame}")["objects"]
    return {
        each["number"]: mask_from_json(
            each["mask"]["mask"]["box"], each["mask"]["mask"]["runs"], SIZE
        )
        for each in objects
        if each["mask"] is not None
    }


def shown(page: Any) -> list[BoolMask]:
    """What is on the screen: the masks of the frame."""
    crops = page.evaluate(
        "() => window.ultrasam.session.shown.map(({ crop: { x, y, width, height, data } }) =>"
        " ({ x, y, width, height, data: [...data] }))"
    )
    found: list[BoolMask] = []
    for crop in crops:
        mask: BoolMask = np.zeros(SIZE, bool)
        rows, columns = (
            slice(crop["y"], crop["y"] + crop["height"]),
            slice(crop["x"], crop["x"] + crop["width"]),
        )
        mask[rows, columns] = np.reshape(crop["data"], (crop["height"], crop["width"]))
        found.append(mask)
    return found


class Held:
    """Answers that are held back, as by a slow network: the server has given them already.

    Args:
        pattern: of their addresses.
    """

    def __init__(self, page: Any, pattern: str | re.Pattern[str]) -> None:
        self._page, self._answers, self._holds = page, list[tuple[Any, Any]](), True
        page.route(pattern, self._hold)

    def _hold(self, route: Any) -> None:
        if self._holds:
            self._answers.append((route, route.fetch()))
        else:
            route.fallback()

    def wait(self) -> None:
        """Until one is held."""
        deadline = time.monotonic() + _PATIENCE
        while not self._answers:
            assert time.monotonic() < deadline, "nothing was asked for"
            self._page.wait_for_timeout(50)

    def release(self) -> None:
        """Let them come, and hold no more."""
        self._holds = False
        for route, answer in self._answers:
            route.fulfill(response=answer)


def label(page: Any, name: str) -> None:
    field = page.locator("#objects input").first
    field.fill(name)
    field.press("Enter")
    settle(page)
    page.locator("#canvas").focus()


@contextmanager
def another_window(page: Any) -> Iterator[Any]:
    """A page in the same browser that shares nothing with another one."""
    context = page.context.browser.new_context(viewport=page.viewport_size)
    context.set_default_timeout(300_000)
    try:
        yield watched(context.new_page())
    finally:
        context.close()


def dice(a: BoolMask, b: BoolMask) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())
