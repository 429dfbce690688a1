"""Files are complete or absent."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from ultrasam.errors import UltraSamError
from ultrasam.files import atomic_file, atomic_write, update_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    atomic_write(path, b"first")
    atomic_write(path, "größer\r\n")
    assert path.read_bytes() == "größer\r\n".encode()
    assert names(path.parent) == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write(path, b"old")

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write(path, b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_an_unwritable_folder_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UltraSamError, match=r"Cannot write .*b\.txt: .+\.$"):
        atomic_write(tmp_path / "file" / "b.txt", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UltraSamError, match=r"Cannot write .*folder"):
        atomic_write(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["file", "folder"]


def test_a_file_has_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "ours", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


def test_threads_that_write_one_file_leave_one_of_their_versions(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    versions = [bytes([65 + k]) * 100_000 for k in range(8)]
    threads = [threading.Thread(target=atomic_write, args=(path, v)) for v in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in versions
    assert names(tmp_path) == ["a.txt"]


def test_an_update_of_the_same_bytes_leaves_the_file_and_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    update_file(path, b"same")
    os.utime(path, ns=(0, 12345))
    update_file(path, b"same")
    assert path.stat().st_mtime_ns == 12345
    update_file(path, b"none")
    assert path.read_bytes() == b"none"
    assert path.stat().st_mtime_ns != 12345
