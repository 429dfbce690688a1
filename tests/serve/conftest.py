"""An inference server over a small network of random weights: what is tested is the server."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient

from ultrasam.images.scan import Scan
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prediction, Prompt
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.serve.app import Limits, create_app
from ultrasam.serve.archive import Archive
from ultrasam.serve.cache import EmbeddedFrame
from ultrasam.serve.engine import Image
from ultrasam.serve.http.access import HostAccess
from ultrasam.serve.http.drain import Drain
from ultrasam.serve.loaded_model import ModelInfo
from ultrasam.serve.served_model import ServedModel

HOST = "127.0.0.1:8418"
BOX = {"prompts": [{"box": [20, 20, 70, 60]}]}
CLICK = {"prompts": [{"points": [[40, 40, 1]]}]}


def picture(seed: int = 0, *, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    """Speckle with a bright disc, [H, W] uint8."""
    pixels = np.random.default_rng(seed).integers(0, 150, size).astype(np.uint8)
    y, x = np.ogrid[: size[0], : size[1]]
    pixels[(x - 45) ** 2 + (y - 40) ** 2 < 400] = 220
    return pixels


def png(seed: int = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(picture(seed, **options)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def backend(small_nano: UltraSam) -> TorchBackend:
    return TorchBackend(small_nano)


class Unmeasured(ServedModel):
    """Whose speed is not measured, as that takes time."""

    def measure(self) -> None:
        self.expected = {"encode": 0.01, "click": 0.01, "box": 0.01}


@dataclass
class Api:
    """Speaks to a server.

    Attributes:
        client: of HTTP.
        app: that answers.
        drain: of the server.
    """

    client: Any
    app: Any
    drain: Drain

    def predict(
        self, content: bytes, request: Any = None, *, name: str = "x.png", **more: Any
    ) -> Any:
        return self.client.post(
            "/v1/predict", files={"image": (name, content)},
            data={"request": json.dumps(request or BOX)}, **more,
        )  # fmt: skip

    def upload(self, content: bytes, name: str = "x.png") -> Any:
        return self.client.post("/v1/uploads", params={"name": name}, content=content)

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(path, json=body)

    def metric(self, name: str) -> float:
        """The value of a metric that has one, with its labels if it has some."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return 0.0


@contextmanager
def api_over(
    model: Any, *, token: str | None = None, limits: Limits | None = None, root: Path | None = None,
    host: str = "127.0.0.1", archive: Archive | None = None,
) -> Iterator[Api]:  # fmt: skip
    """A server in this process, once its model is loaded."""
    limits = limits or Limits()
    access = HostAccess(host, 8418, token=token, upload_bytes=limits.upload_bytes)
    drain, problems = Drain(), list[BaseException]()
    app = create_app(
        lambda: model,
        access,
        limits=limits,
        root=root,
        archive=archive,
        drain=drain,
        failed=problems.append,
    )
    with TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False) as client:
        until(lambda: client.get("/ready").status_code == 200 or bool(problems))
        assert not problems, problems
        yield Api(client, app, drain)


@pytest.fixture
def api(backend: TorchBackend, cache_folder: Path) -> Iterator[Api]:
    with api_over(Unmeasured(backend, name="small")) as running:
        yield running


def until(done: Any, *, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


# A model whose speed the test decides.


@dataclass
class FakeModel:
    """Whose encoder stops at a gate, and counts.

    Attributes:
        gate: the encoder waits for it.
        encoded: how many images each call of the encoder had.
        decoded: how often it was asked for masks.
    """

    batch: int = 1
    gate: threading.Event = field(default_factory=threading.Event)
    encoded: list[int] = field(default_factory=list)
    decoded: int = 0
    started: int = 0
    failing: set[int] = field(default_factory=set)
    views: int = 1
    precision: str = "float32"
    accepts: tuple[str, ...] = ("box", "point")
    info: ModelInfo = field(default_factory=lambda: ModelInfo("fake", None, "fake"))
    expected: dict[str, float] = field(
        default_factory=lambda: {"encode": 1.0, "box": 0.1, "click": 0.1}
    )

    @property
    def backend(self) -> Any:
        return SimpleNamespace(encode=self._encode)

    def measure(self) -> None:
        """Known already."""

    def inputs(self, frame: np.ndarray) -> np.ndarray:
        return np.full((1, 3, 2, 2), frame.flat[0], np.float32)

    def _encode(self, inputs: np.ndarray) -> list[dict[str, np.ndarray]]:
        self.started += 1
        self.gate.wait(60)
        self.encoded.append(len(inputs))
        values = [int(one.flat[0]) for one in inputs]
        if self.failing & set(values):
            raise MemoryError
        return [{"image": np.full(4, value, np.float32)} for value in values]

    def predict(
        self, embedded: EmbeddedFrame, prompts: Sequence[Prompt], *, multimask: bool | None
    ) -> Prediction:
        self.decoded += 1
        count, shape = len(prompts), embedded.pixels.shape[:2]
        scores = np.full((count, 1), embedded.embeddings[0]["image"][0], np.float32)
        return Prediction(
            np.ones((count, 1, *shape), bool),
            scores,
            scores,
            np.zeros((count, 1, 4, 4), np.float32),
        )


def image(value: int, *, digest: str | None = None, opened: list[int] | None = None) -> Image:
    """An image whose pixels are all of one value."""

    def open_it() -> Scan:
        if opened is not None:
            opened.append(value)
        return replace(Scan.from_array(np.full((8, 10), value, np.uint8)))

    return Image(digest or f"{value:064d}", open_it)
