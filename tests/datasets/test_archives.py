"""Archives are read in place and unpacked without trusting them; downloads are checked."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.layouts.arrays import npy
from tests.datasets.layouts.rar import rar4
from tests.datasets.layouts.truth import zip_bytes
from ultrasam import download
from ultrasam.datasets import downloads
from ultrasam.datasets.archives import forget_unpacked, unpack
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.description import DatasetInfo, Download
from ultrasam.datasets.downloads import fetch
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.arrays import load_pickled_npy
from ultrasam.errors import DataError

# What 7-Zip's format makes of FILES, since nothing here writes it.
SEVEN_ZIP = (
    "N3q8ryccAAPm/j19iQAAAAAAAAAgAAAAAAAAAG4oLP8AMJsKZySQyTQ/+NPm2lToXdceI3tEQ8gtjlrlRdLweAXDGP//"
    "yyYAAAAAgTMHrg/QluR8nz9HQVjW/gJqJajogIWQ7fxUIevfzpqhMVfjsZzvK+HVw2EWV9rL8l5quVk5VbbKbFFlHZgK"
    "NaiuKVX3tf3V+VbJ/Ei3jnW+W3+oSUOyfV//0ycAABcGKQEJYAAHCwEAASMDAQEFXQAAgAAMbwoBNf/dbwAA"
)
FILES = {"top/a.txt": b"alpha", "top/sub/b.txt": b"beta" * 1000}


def write(path: Path, files: dict[str, bytes] = FILES) -> None:
    name = path.name
    if name.endswith(".zip"):
        path.write_bytes(zip_bytes(files))
    elif name.endswith(".rar"):
        path.write_bytes(rar4(files))
    elif name.endswith(".7z"):
        assert files is FILES
        path.write_bytes(base64.b64decode(SEVEN_ZIP))
    else:
        mode = {"tar": "w", "gz": "w:gz", "xz": "w:xz"}[name.rsplit(".", 1)[1]]
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for inner, data in files.items():
                entry = tarfile.TarInfo(inner)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


KINDS = ("x.zip", "x.tar", "x.tar.gz", "x.tar.xz", "x.rar", "x.7z")


@pytest.mark.parametrize("name", KINDS)
def test_members_are_read_in_place(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    tree = FileTree(tmp_path, SkipReport())
    assert {e.path: e.read() for e in tree.entries} == {f"{name}/{k}": v for k, v in FILES.items()}
    for entry in tree.entries:
        with entry.on_disk() as path:
            assert path.read_bytes() == entry.read()
    forget_unpacked()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("stored", [False, True])
def test_archives_in_archives_are_read(tmp_path: Path, name: str, stored: bool) -> None:
    write(tmp_path / name)
    inner = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / "outer.zip").write_bytes(zip_bytes({f"deep/{name}": inner}, stored=stored))
    tree = FileTree(tmp_path, SkipReport())
    found = {e.path: e.read() for e in tree.entries}
    assert found == {f"outer.zip/deep/{name}/{k}": v for k, v in FILES.items()}
    forget_unpacked()


@pytest.mark.parametrize("name", KINDS)
def test_archives_are_unpacked(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert unpack(tmp_path / name, tmp_path / "out") == 2
    assert (tmp_path / "out" / "top" / "sub" / "b.txt").read_bytes() == FILES["top/sub/b.txt"]


def test_without_archi_an_archive_that_needs_it_is_skipped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.rar", "b.tar.gz"):
        write(tmp_path / name)
    monkeypatch.setitem(sys.modules, "archi", None)
    report = SkipReport()
    assert len(FileTree(tmp_path, report).entries) == 2
    (skip,) = report.skips
    assert skip.where == "a.rar"
    assert "Unpacking a.rar needs the extra 'archives': pip install" in skip.reason
    assert "Or unpack it by hand" in skip.reason
    forget_unpacked()


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("evil", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt"])
def test_no_member_leaves_the_folder(tmp_path: Path, name: str, evil: str) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / name, {evil: b"x"})
    with pytest.raises(DataError, match="points outside the target folder"):
        unpack(tmp_path / "in" / name, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_are_not_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        entry = tarfile.TarInfo("passwords")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(DataError, match="contains the link"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
    info = zipfile.ZipInfo("passwords")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="contains the link"):
        unpack(tmp_path / "y.zip", tmp_path / "out")
    assert FileTree(tmp_path / "y.zip", SkipReport()).entries == []


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultrasam.datasets.archives._RATIO_EXEMPT", 1 << 20)
    (tmp_path / "x.zip").write_bytes(zip_bytes({"zeros": bytes(64 << 20)}))
    with pytest.raises(DataError, match="expands to a suspicious size"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    report = SkipReport()
    assert FileTree(tmp_path, report).entries == []
    assert "suspicious size" in report.skips[0].reason


def test_a_broken_archive_is_reported_and_one_unpacked_beside_is_left(tmp_path: Path) -> None:
    write(tmp_path / "good.zip")
    (tmp_path / "broken.zip").write_bytes((tmp_path / "good.zip").read_bytes()[:40])
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "a.txt").write_bytes(b"alpha")
    report = SkipReport()
    tree = FileTree(tmp_path, report)
    assert [e.path for e in tree.entries] == ["good/a.txt"]
    reasons = {s.where: s.reason for s in report.skips}
    assert "unreadable archive" in reasons["broken.zip"]
    assert reasons["good.zip"] == "archive already unpacked"
    forget_unpacked()


def test_one_build_leaves_alone_what_another_has_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    running, gone = (tmp_path / "scratch" / f"ultrasam-unpacked-{pid}" for pid in (1, 2**22 + 5))
    running.mkdir()
    gone.mkdir()
    write(tmp_path / "x.7z")
    assert len(FileTree(tmp_path / "x.7z", SkipReport()).entries) == 2
    assert len(list((tmp_path / "scratch").iterdir())) == 3
    forget_unpacked()
    assert list((tmp_path / "scratch").iterdir()) == [running]


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1+1",))


def test_a_pickle_may_hold_arrays_and_nothing_else(tmp_path: Path) -> None:
    content = np.array(
        {"structures": {"liver": np.eye(3), "n": np.float64(3), "s": "x"}}, dtype=object
    )
    (tmp_path / "good.npy").write_bytes(npy(content))
    (tmp_path / "evil.npy").write_bytes(npy(np.array({"a": _Evil()}, dtype=object)))
    entries = {e.name: e for e in FileTree(tmp_path, SkipReport()).entries}
    assert np.array_equal(load_pickled_npy(entries["good.npy"])["structures"]["liver"], np.eye(3))
    assert pickle.loads(pickle.dumps(entries["good.npy"])) == entries["good.npy"]
    with pytest.raises(DataError, match=r"builtins\.eval, which is not allowed"):
        load_pickled_npy(entries["evil.npy"])


class Host(BaseHTTPRequestHandler):
    """Zenodo, Mendeley and GitHub in small."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        type(self).asked.append(path)
        body = type(self).files.get(path)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if body is None:
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    data = zip_bytes(FILES)
    md5, sha = hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()
    zenodo = {"files": [{"key": "d.zip", "size": len(data), "checksum": f"md5:{md5}",
                         "links": {"self": f"{base}/d.zip"}}]}  # fmt: skip
    details = {"download_url": f"{base}/d.zip", "sha256_hash": sha}
    mendeley = [{"filename": "d.zip", "size": len(data), "content_details": details}]
    Host.asked = []
    Host.files = {"/zenodo/7": json.dumps(zenodo).encode(), "/d.zip": data, "/github/o/n": data,
                  "/mendeley/ab/1": json.dumps(mendeley).encode()}  # fmt: skip
    listings = {"zenodo": base + "/zenodo/{}", "github": base + "/github/{}",
                "mendeley": base + "/mendeley/{}/{}"}  # fmt: skip
    monkeypatch.setattr(downloads, "_LISTINGS", listings)
    yield base
    server.shutdown()
    server.server_close()


def described(download: Download | None) -> DatasetInfo:
    return DatasetInfo(
        id="toy", name="Toy", url="https://example.org", access="open", organ="", structures=(),
        kind="still", size="", layout="", download=download,
    )  # fmt: skip


@pytest.mark.parametrize(
    "download",
    [Download("zenodo", "7"), Download("mendeley", "ab/1"), Download("github", "o/n")],
)
def test_a_data_set_is_fetched_once_and_unpacked(
    host: str, tmp_path: Path, download: Download
) -> None:
    fetch(described(download), tmp_path)
    assert (tmp_path / "toy" / "top" / "a.txt").read_bytes() == b"alpha"
    assert not list(tmp_path.rglob("*.zip"))
    asked = len([p for p in Host.asked if not p.startswith(("/zenodo", "/mendeley"))])
    fetch(described(download), tmp_path)
    assert len([p for p in Host.asked if not p.startswith(("/zenodo", "/mendeley"))]) == asked == 1


def test_a_broken_download_goes_on_and_other_bytes_are_refused(host: str, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    data = Host.files["/d.zip"]
    (tmp_path / "toy" / "d.zip.part").write_bytes(data[:50])
    fetch(described(Download("zenodo", "7")), tmp_path)
    assert (tmp_path / "toy" / "top" / "a.txt").exists()
    Host.files["/d.zip"] = bytes(len(data))
    with pytest.raises(DataError, match="Checksum mismatch"):
        fetch(described(Download("zenodo", "7")), tmp_path / "again")


def test_what_needs_an_account_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"register at https://echonet\.github\.io/dynamic"):
        fetch(dataset("EchoNet-Dynamic").info, tmp_path)
    with pytest.raises(DataError, match="log in to Kaggle"):
        fetch(dataset("us_nerve").info, tmp_path)

    def no_network(*_: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr(download, "check_reachable", no_network)
    with pytest.raises(DataError, match="Check the network and try again"):
        fetch(dataset("hc18").info, tmp_path)
