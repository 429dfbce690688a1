"""Archives read in place, members and all, and unpacked without trusting them.

ZIP and plain TAR members are read where they lie, also in archives inside archives. RAR, 7z and
compressed TAR can only be read from their beginning: those are unpacked once, beside each other in
the folder for temporary files, and removed at the end of a build.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from ultrasam.errors import DataError, UltraSamError, one_line
from ultrasam.extras import needs
from ultrasam.files import atomic_file, atomic_write

ARCHIVE_SUFFIXES = (
    ".zip", ".change2zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar", ".7z",
)  # fmt: skip

# What an archive may grow to: no data set here is larger, nor packed more tightly.
MAX_UNPACKED = 2 * 2**40
MAX_RATIO = 200
_FREE_OF_RATIO = 4 * 2**30
_BLOCK = 1 << 20
_SCRATCH = "ultrasam-unpacked"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name as stored, and its size in bytes."""

    name: str
    size: int


def is_archive(name: str) -> bool:
    """The name is that of an archive that can be read."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def list_members(chain: tuple[str, ...]) -> list[Member]:
    """The files in an archive, links and folders left out.

    Args:
        chain: the archive's path on disk, then the member names that lead to one inside it.

    Raises:
        DataError: damaged, encrypted, or it claims more than any data set holds.
    """
    with _explained(chain):
        return _open(chain).members()


def read_member(chain: tuple[str, ...]) -> bytes:
    """The bytes of the member at the end of ``chain``.

    Raises:
        DataError: damaged or missing.
    """
    with _explained(chain):
        return _open(chain[:-1]).read(chain[-1])


@contextmanager
def member_on_disk(chain: tuple[str, ...]) -> Iterator[Path]:
    """A path on disk of the member at the end of ``chain``, for libraries that open paths only."""
    with _explained(chain):
        path = _open(chain[:-1]).path_of(chain[-1])
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ultrasam-") as folder:
        path = Path(folder) / PurePosixPath(chain[-1].replace("\\", "/")).name
        path.write_bytes(read_member(chain))
        yield path


def unpack(archive: Path, folder: Path) -> int:
    """Unpack an archive of any known format into ``folder``; files there are replaced.

    Returns:
        How many files.

    Raises:
        DataError: damaged; or a member lies outside the folder, is a link, or the whole is too large.
    """
    budget = _Budget(archive)
    count = 0
    with _explained((str(archive),)):
        for name, stream in _streams(archive):
            target = _inside(folder, name, archive)
            with atomic_file(target) as file:
                for block in stream:
                    budget.spend(len(block))
                    file.write(block)
            count += 1
    return count


def forget_unpacked() -> None:
    """Remove what this build unpacked for reading, and what builds that were killed left behind."""
    _open.cache_clear()
    shutil.rmtree(_scratch(), ignore_errors=True)
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}-*"):
        # Another user's cannot be removed, which is as it should be.
        if not _runs(left.name.rsplit("-", 1)[1]):
            shutil.rmtree(left, ignore_errors=True)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True


class _Budget:
    def __init__(self, archive: Path) -> None:
        self.archive = archive
        size = archive.stat().st_size
        self.left = min(MAX_UNPACKED, max(_FREE_OF_RATIO, MAX_RATIO * size))

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DataError(
                f"{self.archive} unpacks to far more than its size allows; it is damaged or not meant "
                "to be opened."
            )


def _inside(folder: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        raise DataError(f"{archive} holds '{name}', which lies outside it; it was not unpacked.")
    return folder.joinpath(*parts)


def _streams(archive: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names and blocks of an archive's files, in stored order."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if _zip_link(info):
                    raise DataError(f"{archive} holds the link '{info.filename}'; not unpacked.")
                if not info.is_dir():
                    with opened.open(info) as stream:
                        yield info.filename, iter(lambda s=stream: s.read(_BLOCK), b"")  # type: ignore[misc]
        return
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, "r:*") as tar:
            for entry in tar:
                if entry.issym() or entry.islnk():
                    raise DataError(f"{archive} holds the link '{entry.name}'; not unpacked.")
                file = tar.extractfile(entry)
                if file is not None:
                    yield entry.name, iter(lambda s=file: s.read(_BLOCK), b"")  # type: ignore[misc]
        return
    yield from _libarchive_streams(archive)


def _libarchive_streams(archive: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The same of RAR and 7z, through the libarchive that the package archi brings along."""
    instead = "Or unpack it by hand, and leave the folder beside it."
    with needs(f"Unpacking {archive.name}", extra="archives", otherwise=instead):
        import archi
    # By its path: archi reads open files wrongly now and then.
    for entry in archi.Archive(str(archive)):
        if stat.S_ISLNK(entry.mode):
            raise DataError(f"{archive} holds the link '{entry.filename}'; not unpacked.")
        if stat.S_ISREG(entry.mode):
            yield entry.filename, iter(lambda e=entry: e.read(_BLOCK), b"")  # type: ignore[misc]


def _zip_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


@contextmanager
def _explained(chain: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except UltraSamError:
        raise
    except Exception as error:
        where = " in ".join(reversed(chain))
        raise DataError(f"{where} is damaged: {one_line(error)}; download it again.") from error


class _Zip:
    def __init__(self, file: str | IO[bytes]) -> None:
        self.zip = zipfile.ZipFile(file)

    def members(self) -> list[Member]:
        found = self.zip.infolist()
        packed, size = sum(i.compress_size for i in found), sum(i.file_size for i in found)
        if size > max(_FREE_OF_RATIO, MAX_RATIO * packed) or size > MAX_UNPACKED:
            raise ValueError("it claims to unpack to far more than its size allows")
        return [
            Member(i.filename, i.file_size) for i in found if not i.is_dir() and not _zip_link(i)
        ]

    def read(self, name: str) -> bytes:
        return self.zip.read(name)

    def path_of(self, name: str) -> Path | None:
        return None

    def stored(self, name: str) -> IO[bytes] | None:
        """A seekable stream, where the member is stored as it is."""
        if self.zip.getinfo(name).compress_type != zipfile.ZIP_STORED:
            return None
        return self.zip.open(name)


class _Folder:
    """An archive of a format that has no random access, unpacked once."""

    def __init__(self, archive: Path) -> None:
        mark = hashlib.sha256(f"{archive}|{_stamp(str(archive))}".encode()).hexdigest()
        self.folder = _scratch() / mark[:24]
        if self.folder.is_dir():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = Path(tempfile.mkdtemp(dir=self.folder.parent))
        try:
            unpack(archive, beside)
            beside.rename(self.folder)
        except BaseException as error:
            shutil.rmtree(beside, ignore_errors=True)
            # Another worker may have been first.
            if not (isinstance(error, OSError) and self.folder.is_dir()):
                raise

    def members(self) -> list[Member]:
        return [
            Member(path.relative_to(self.folder).as_posix(), path.stat().st_size)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        ]

    def read(self, name: str) -> bytes:
        return self.path_of(name).read_bytes()

    def path_of(self, name: str) -> Path:
        return self.folder / name


class _Tar:
    def __init__(self, archive: Path) -> None:
        self.tar = tarfile.open(archive, "r:")  # noqa: SIM115 - stays open as long as this object

    def members(self) -> list[Member]:
        return [Member(m.name, m.size) for m in self.tar.getmembers() if m.isfile()]

    def read(self, name: str) -> bytes:
        file = self.tar.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file.read()

    def path_of(self, name: str) -> Path | None:
        return None


@lru_cache(maxsize=32)
def _open(chain: tuple[str, ...]) -> _Zip | _Tar | _Folder:
    if len(chain) == 1:
        return _open_file(Path(chain[0]))
    parent = _open(chain[:-1])
    if isinstance(parent, _Zip):
        stream = parent.stored(chain[-1])
        if stream is not None and zipfile.is_zipfile(stream):
            return _Zip(stream)
    path = parent.path_of(chain[-1])
    if path is None:
        mark = hashlib.sha256("|".join((*chain, _stamp(chain[0]))).encode()).hexdigest()[:24]
        path = _scratch() / mark / PurePosixPath(chain[-1].replace("\\", "/")).name
        if not path.exists():
            atomic_write(path, parent.read(chain[-1]))
    return _open_file(path)


def _open_file(path: Path) -> _Zip | _Tar | _Folder:
    if zipfile.is_zipfile(path):
        return _Zip(str(path))
    if path.name.lower().endswith(".tar"):
        return _Tar(path)
    return _Folder(path)


def _stamp(path: str) -> str:
    found = Path(path).stat()
    return f"{found.st_size}|{found.st_mtime_ns}"


def _scratch() -> Path:
    """Where one build unpacks, its worker processes included; a second build has a folder of its own."""
    parent = multiprocessing.parent_process()
    pid = os.getpid() if parent is None else parent.pid
    return Path(tempfile.gettempdir()) / f"{_SCRATCH}-{pid}"
