"""Downloads against a server on this machine: resumed, checked, and one sentence when they fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ultrasam.model.downloads import PUBLISHED, Published, fetch

from ultrasam import transfer
from ultrasam.errors import CheckpointError
from ultrasam.model import downloads

CONTENT = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    asked: list[str | None]

    def do_GET(self) -> None:
        range_ = self.headers.get("Range")
        type(self).asked.append(range_)
        start = int(range_.removeprefix("bytes=").split("-")[0]) if range_ else 0
        body = CONTENT[start:]
        self.send_response(206 if range_ else 200)
        self.send_header("Content-Length", str(len(body)))
        if range_:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
    server.shutdown()
    server.server_close()


def published(url: str, monkeypatch: pytest.MonkeyPatch, sha256: str | None = None) -> None:
    digest = sha256 or hashlib.sha256(CONTENT).hexdigest()
    entry = Published("a test file", url, size=len(CONTENT), sha256=digest)
    monkeypatch.setitem(PUBLISHED, "test", entry)


def test_a_file_is_downloaded_once(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, monkeypatch)
    path = fetch("test", cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert fetch("test", cache=tmp_path) == path
    assert len(Handler.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]


def test_a_download_goes_on_where_it_broke_off(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, monkeypatch)
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:300_000])
    assert fetch("test", cache=tmp_path).read_bytes() == CONTENT
    assert Handler.asked == ["bytes=300000-"]


def test_other_bytes_than_those_published_are_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(server, monkeypatch, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="SHA256 differs"):
        fetch("test", cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_offline_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(transfer.socket, "getaddrinfo", no_network)
    for name in ("base", "sam-base"):
        with pytest.raises(CheckpointError, match="go online and try again") as caught:
            fetch(name, cache=tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="go online"):
        downloads.fetch_hub("someone/something")


def test_what_is_known_of_metas_files_is_complete() -> None:
    for name in ("sam-base", "sam-large", "sam-huge"):
        assert PUBLISHED[name].sha256
        assert len(str(PUBLISHED[name].sha256)) == 64
