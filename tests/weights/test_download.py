"""Downloads from a local server: resumed, verified, through a proxy."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import close_session
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from ultrasam import download as downloading
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.downloads import fetch as fetch_data
from ultrasam.errors import CheckpointError, DataError
from ultrasam.weights import download as hub_download
from ultrasam.weights.download import cached_file, fetch, fetch_hub
from ultrasam.weights.registry import PREPROCESSING, REGISTRY, Weights


def zipped(content: bytes) -> bytes:
    """A ZIP archive, as torch.save writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights/data.pkl", content)
    return buffer.getvalue()


CONTENT = zipped(bytes(range(256)) * 4000)


class Handler(BaseHTTPRequestHandler):
    """Serves one file with ranges, to clients and, by whole addresses, as a proxy."""

    asked: list[tuple[str, str | None]]
    content = CONTENT

    def do_GET(self) -> None:
        range_ = self.headers.get("Range")
        type(self).asked.append((self.path, range_))
        start = int(range_.removeprefix("bytes=").split("-")[0]) if range_ else 0
        if range_ and start >= len(self.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.content[start:]
        self.send_response(206 if range_ else 200)
        self.send_header("Content-Length", str(len(body)))
        if range_:
            end, size = len(self.content) - 1, len(self.content)
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        self.wfile.write(body)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Handler.asked = []
    monkeypatch.setattr(Handler, "content", CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def published(address: str) -> Weights:
    return replace(
        REGISTRY["sam-vit-b"],
        name="test",
        url=f"{address}/weights.pth",
        num_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def test_a_file_is_downloaded_once(server: str, tmp_path: Path) -> None:
    weights = published(server)
    assert cached_file(weights, cache=tmp_path) is None
    path = fetch(weights, cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert fetch(weights, cache=tmp_path) == path == cached_file(weights, cache=tmp_path)
    assert len(Handler.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]


def test_a_broken_download_resumes(server: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:300_000])
    assert fetch(published(server), cache=tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [("/weights.pth", "bytes=300000-")]


def test_of_several_processes_one_downloads(server: str, tmp_path: Path) -> None:
    """They would all append to one partial file."""
    weights = replace(published(server), num_bytes=None, sha256=None)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(weights, cache=tmp_path), range(4)))
    assert paths[0].read_bytes() == CONTENT
    assert len(Handler.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]


def test_a_complete_partial_download_is_used(server: str, tmp_path: Path) -> None:
    """If the size is unknown, the server is asked for what follows the end, which is nothing."""
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    weights = replace(published(server), num_bytes=None, sha256=None)
    assert fetch(weights, cache=tmp_path).read_bytes() == CONTENT


def test_a_file_without_its_end_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that cuts files also states the length of what it sends."""
    monkeypatch.setattr(Handler, "content", CONTENT[:-50])
    weights = replace(published(server), num_bytes=None, sha256=None)
    with pytest.raises(CheckpointError, match="its end is missing"):
        fetch(weights, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_bytes_than_those_published_are_refused(server: str, tmp_path: Path) -> None:
    for changes, message in (({"sha256": "0" * 64}, "SHA256 differs"), ({"num_bytes": 7}, "not 7")):
        with pytest.raises(CheckpointError, match=message):
            fetch(replace(published(server), **changes), cache=tmp_path)
        assert not list(tmp_path.iterdir())


def test_a_login_page_is_not_taken_for_weights(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "content", b"<html>Please log in</html>")
    weights = replace(published(server), num_bytes=None, sha256=None)
    with pytest.raises(CheckpointError, match="login page"):
        fetch(weights, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_downloads_work_behind_a_proxy(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name cannot be resolved here, only by the proxy."""
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    weights = published("http://weights.invalid")
    close_session()  # the client reads the environment when it is made
    try:
        assert fetch(weights, cache=tmp_path).read_bytes() == CONTENT
    finally:
        close_session()
    assert Handler.asked[0][0] == "http://weights.invalid/weights.pth"


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody listens at, and clients that must not be asked: they retry."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("a client that retries was asked")

    monkeypatch.setattr(downloading, "http_get", asked)


def test_a_server_that_cannot_be_reached_is_one_sentence_at_once(
    tmp_path: Path, dead_proxy: None
) -> None:
    for name in ("ultrasam", "sam-vit-b"):
        with pytest.raises(CheckpointError, match="cannot be reached: Connection refused") as told:
            fetch(REGISTRY[name], cache=tmp_path)
        assert "\n" not in str(told.value)
    with pytest.raises(
        CheckpointError, match=r"huggingface.co cannot be reached.*Check the network"
    ):
        fetch_hub("someone/something")
    with pytest.raises(
        CheckpointError, match="Cannot download 'medsam' from wanglab/medsam-vit-base"
    ):
        fetch(REGISTRY["medsam"], cache=tmp_path)
    data = dataset("hc18").info
    with pytest.raises(DataError, match="cannot be reached: Connection refused"):
        fetch_data(data, tmp_path)


def test_models_of_transformers_are_not_asked_for_either(dead_proxy: None) -> None:
    from transformers import ViTModel

    with pytest.raises(ConnectionError, match="cannot be reached"):
        downloading.from_pretrained(ViTModel, "someone/something")


def test_a_gateway_error_of_a_proxy_counts_as_not_reached(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for status, reached in ((502, False), (407, False), (404, True), (405, True), (200, True)):
        monkeypatch.setattr(
            Handler, "do_HEAD", lambda self, s=status: self.answer(s), raising=False
        )
        if reached:
            downloading.check_reachable("http://weights.invalid/a")
        else:
            with pytest.raises(ConnectionError, match=f"weights.invalid cannot .*{status}"):
                downloading.check_reachable("http://weights.invalid/a")


def test_the_registry_is_complete() -> None:
    for entry in REGISTRY.values():
        assert entry.preprocessing in PREPROCESSING
        assert entry.license
        assert entry.trained_on
        assert entry.sha256 is None or len(entry.sha256) == 64
        assert entry.name == "nano" or bool(entry.url) != bool(entry.repository)
    assert all(REGISTRY[f"sam-vit-{size}"].sha256 for size in "blh")
    assert REGISTRY["medsam"].prompt_types == ("box",)


def test_a_repository_without_safetensors_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings are fetched with the weights, since they state how images are prepared."""
    held = {"preprocessor_config.json": tmp_path / "preprocessor_config.json"}
    asked = []

    def hub(repository: str, name: str, *, local_files_only: bool = False, **_: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError(name)
        asked.append(name)
        if name not in held:
            raise EntryNotFoundError(name)
        return str(held[name])

    monkeypatch.setattr(hub_download, "hf_hub_download", hub)
    monkeypatch.setattr(hub_download, "check_reachable", lambda _: None)
    with pytest.raises(CheckpointError, match=r"'a/b' on the Hugging Face hub has no model.safe"):
        fetch_hub("a/b")
    held["model.safetensors"] = tmp_path / "model.safetensors"
    assert fetch_hub("a/b") == tmp_path / "model.safetensors"
    assert asked.count("preprocessor_config.json") == 2
