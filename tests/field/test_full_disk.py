"""A full disk is one sentence, and leaves nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.datasets.layouts.truth import picture, zipped
from tests.field.stores import folder_of, store_of
from ultrasam.datasets import archives
from ultrasam.datasets.annotated_image import Case, CaseImage
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.errors import DiskFullError
from ultrasam.files import atomic_file, atomic_write, require_space
from ultrasam.store.export import EXPORTERS

Run = Callable[..., int]


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of a file by way of `ultrasam.files` fails as it does on a full disk."""
    real = Path.open

    def opened(self: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        file = real(self, mode, *arguments, **options)  # type: ignore[arg-type]
        return _Full(file) if "x" in mode else file

    monkeypatch.setattr(Path, "open", opened)


class _Full:
    def __init__(self, file: object) -> None:
        self.file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()  # type: ignore[attr-defined]

    def write(self, data: bytes | str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_with_the_amount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch)
    with pytest.raises(
        DiskFullError, match=r"No space left .*x\.bin \(3\.0 MB are needed, .* free\)"
    ):
        atomic_write(tmp_path / "x.bin", bytes(3_000_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors
        OSError(
            "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"
        ),
    ],
    ids=["system", "quota", "safetensors", "arrow"],
)
def test_every_library_s_way_of_saying_that_a_disk_is_full(
    error: Exception, tmp_path: Path
) -> None:
    def write() -> None:
        with atomic_file(tmp_path / "x.bin") as file:
            file.write(b"half")
            raise error

    with pytest.raises(DiskFullError, match=r"x\.bin \(.* are free\)\. Free some space"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_more_than_fits_is_refused_before_it_begins(tmp_path: Path) -> None:
    require_space(tmp_path / "new", 1)
    with pytest.raises(DiskFullError, match="1,000,000,000 GB are needed"):
        require_space(tmp_path / "new" / "er", 10**18)


def test_commands_on_a_full_disk_say_one_sentence_and_leave_nothing_half_written(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store = store_of(tmp_path)
    raw = tmp_path / "raw"
    out = tmp_path / "out"
    commands: list[tuple[object, ...]] = [
        ("data", "import", raw, "--format", "masks", "--name", "x", "-o", out, "--workers", 0),
        ("data", "stats", store, "-o", out),
        ("data", "show", store, "-o", out / "sheet.png"),
        ("evaluate", "ellipse", "--data", raw, "--prompt-type", "box", "-o", out),
        *(("data", "export", store, "--format", f, "-o", out) for f in EXPORTERS),
    ]
    for command in commands:
        with monkeypatch.context() as patch:
            full_disk(patch)
            patch.setattr("tarfile.TarFile.addfile", _no_space)
            patch.setattr(os, "link", _no_space)
            patch.setattr(shutil, "copyfile", _no_space)
            assert ultrasam(*command) == 1, command
        error = capsys.readouterr().err
        *notes, last = error.strip().splitlines()
        assert last.startswith("ultrasam: No space left on "), (command, error)
        assert all("Masks: value 255 is" in note for note in notes), error
        left = [p for p in out.rglob("*") if p.is_file()] if out.exists() else []
        assert left == [], command
        if command[1] == "export":
            assert not out.exists()
        shutil.rmtree(out, ignore_errors=True)


def test_an_evaluation_on_a_full_disk_names_its_file_and_goes_on_later(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    raw, out = folder_of(tmp_path / "raw", 4), tmp_path / "out"
    asked = ("evaluate", "ellipse", "--data", raw, "--prompt-type", "box", "-o", out)
    real = Path.open

    def opened(self: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        file = real(self, mode, *arguments, **options)  # type: ignore[arg-type]
        return _Full(file) if mode == "a" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        assert ultrasam(*asked) == 1
    error = capsys.readouterr().err
    last = error.strip().splitlines()[-1]
    assert last.startswith(f"ultrasam: No space left on the disk for {out / 'ellipse.jsonl'} (")
    assert ultrasam(*asked) == 0
    assert len((out / "ellipse.jsonl").read_text().splitlines()) == 5


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_temporary_folder_does_not_make_a_file_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped(tmp_path / "a.zip", {"x.bin": b"1234"})
    (entry,) = FileTree(tmp_path / "a.zip", SkipReport()).entries

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)

    def read() -> Iterator[CaseImage]:
        with entry.on_disk():
            pass
        yield CaseImage(picture(0), ())

    with pytest.raises(DiskFullError, match="No space left"):
        list(Case("d", "k", (entry,), read).images())
