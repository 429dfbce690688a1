"""A model on a server is a segmenter that answers as the predictor does, and waits for a busy server."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx", reason="the extra client is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")

import ultrasam
from tests.serve.conftest import Unmeasured, picture, png
from tests.serve.conftest import backend as backend
from tests.serve.listening import Listening, listening
from tests.test_client import assert_same
from ultrasam.client import RemoteSegmenter, connection
from ultrasam.errors import ConfigError, PromptError, UltraSamError, UltraSamWarning
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompts import Prompt
from ultrasam.runtimes.torch_backend import TorchBackend

PROMPTS = [Prompt(box=(20, 20, 70, 60)), Prompt(points=[(40, 40)])]


@pytest.fixture(scope="module")
def server(backend: TorchBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRASAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        with listening(Unmeasured(backend, name="small")) as running:
            yield running


@pytest.fixture
def remote(server: Listening) -> Iterator[RemoteSegmenter]:
    with RemoteSegmenter(server.address) as connected:
        yield connected


@pytest.mark.parametrize("multimask", [None, False, True])
def test_it_predicts_as_the_predictor(
    remote: RemoteSegmenter, backend: TorchBackend, tmp_path: Path, multimask: bool | None
) -> None:
    (tmp_path / "x.png").write_bytes(png(1))
    predictor, segmenter = Predictor(backend), remote
    as_segmenter: Segmenter = segmenter  # by its types, too
    color = np.dstack([picture(2), picture(3), picture(4)])
    for source in (tmp_path / "x.png", picture(1), color):
        predictor.set_image(source)
        as_segmenter.set_image(source, frame=0)
        assert_same(
            segmenter.predict(PROMPTS, multimask=multimask),
            predictor.predict(PROMPTS, multimask=multimask),
        )


def test_a_mask_is_corrected(remote: RemoteSegmenter, backend: TorchBackend) -> None:
    predictor = Predictor(backend)
    predictor.set_image(picture())
    remote.set_image(picture())
    first = predictor.predict(PROMPTS[0])
    logits = first.low_res_logits[0, 0].astype(np.float16).astype(np.float32)
    prompt = Prompt(points=[(40, 40), (5, 5)], labels=[1, 0], mask=logits)
    assert_same(remote.predict(prompt), predictor.predict(prompt))


def test_load_opens_an_address(server: Listening) -> None:
    with ultrasam.load(server.address) as remote:
        remote.set_image(picture())
        assert remote.predict(PROMPTS).masks.shape == (2, 1, 90, 120)
        assert remote.model["name"] == "small"
    with pytest.raises(ConfigError, match="device is chosen where"):
        ultrasam.load(server.address, device="cpu")


def test_a_forgotten_image_is_sent_again(remote: RemoteSegmenter, server: Listening) -> None:
    remote.set_image(picture(8))
    before = remote.predict(PROMPTS)
    uploads = server.app.state.images._uploads
    for id in list(uploads._uploads):
        uploads.remove(id)
    assert_same(remote.predict(PROMPTS), before)


def test_several_frames_without_a_choice_are_told(remote: RemoteSegmenter, tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(picture(seed)) for seed in range(2)]
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:])
    with pytest.warns(UltraSamWarning, match="2 frames"):
        remote.set_image(tmp_path / "x.tif")
    remote.set_image(tmp_path / "x.tif", frame=1)


def test_what_is_wrong_is_told(remote: RemoteSegmenter) -> None:
    with pytest.raises(PromptError, match="set_image first"):
        remote.predict(PROMPTS)
    remote.set_image(picture())
    with pytest.raises(PromptError, match="outside"):
        remote.predict(Prompt(points=[(50_000, 5)]))
    with pytest.raises(PromptError, match="at least one"):
        remote.predict([])


def test_a_missing_server_is_told() -> None:
    with pytest.raises(UltraSamError, match=r"No UltraSam server answers at http://127.0.0.1:1 "):
        RemoteSegmenter("http://127.0.0.1:1")


def test_the_token_is_sent(backend: TorchBackend, tmp_path: Path) -> None:
    with listening(Unmeasured(backend, name="small"), token="the token") as running:
        with pytest.raises(UltraSamError, match="token is missing or wrong"):
            RemoteSegmenter(running.address)
        with RemoteSegmenter(f"{running.address}/#token=the token") as remote:
            remote.set_image(picture())


def test_the_example_in_the_docs_runs(
    server: Listening, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[1]
    (code,) = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "serve.md").read_text(), re.DOTALL
    )
    assert "http://127.0.0.1:8418" in code
    monkeypatch.chdir(root)
    exec(compile(code.replace("http://127.0.0.1:8418", server.address), "serve.md", "exec"), {})
    assert "(1, 680, 840)" in capsys.readouterr().out


class Busy(HTTPServer):
    """A server that is busy for some requests.

    Attributes:
        left: how many more are refused.
        status, retry_after: of the refusals.
        asked: how many requests came.
    """

    left, status, retry_after, asked = 0, 429, "1", 0


class _Handler(BaseHTTPRequestHandler):
    server: Busy

    def do_GET(self) -> None:
        self.server.asked += 1
        busy = self.server.left > 0
        self.server.left -= busy
        content = b'{"detail": "3.0 seconds of work are queued."}' if busy else b'{"name": "x"}'
        self.send_response(self.server.status if busy else 200)
        if busy and self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def busy() -> Iterator[Busy]:
    server = Busy(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(
    busy: Busy, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = list[float]()
    monkeypatch.setattr(connection.time, "sleep", slept.append)
    busy.left, busy.status, busy.retry_after = 2, status, "3"
    with RemoteSegmenter(f"http://127.0.0.1:{busy.server_port}") as remote:
        assert remote.model == {"name": "x"}
    assert len(slept) == 2
    assert all(3 <= seconds <= 3.6 for seconds in slept)


@pytest.mark.parametrize(("retry_after", "patience"), [("30", 5), ("", 60)])
def test_patience_has_an_end(busy: Busy, retry_after: str, patience: float) -> None:
    busy.left, busy.retry_after = 100, retry_after
    with pytest.raises(UltraSamError, match="seconds of work are queued"):
        RemoteSegmenter(f"http://127.0.0.1:{busy.server_port}", patience=patience)
    assert busy.asked == 1


def test_it_needs_neither_torch_nor_the_server() -> None:
    code = (
        "import sys, ultrasam.client.remote; "
        "print([m for m in ('torch', 'fastapi', 'uvicorn', 'prometheus_client') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
