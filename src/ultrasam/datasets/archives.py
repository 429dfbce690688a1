"""Read archives in place, and unpack them without trusting their contents.

Members of ZIP and plain TAR files are read in place, nested archives included. RAR, 7z and compressed TAR
allow sequential access only: they are unpacked once to the temporary folder, as is a member that a library
opens by its path. What was unpacked is removed after the build, and when the process ends.
"""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from ultrasam.errors import DataError, UltraSamError, one_line
from ultrasam.extras import needs
from ultrasam.files import atomic_file, is_disk_full, no_space

ARCHIVE_SUFFIXES = (
    ".zip", ".change2zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar", ".7z",
)  # fmt: skip

# Limits on unpacking, in bytes and as a ratio; every data set of the catalog is well below them.
MAX_UNPACKED = 2 * 2**40
MAX_RATIO = 200
_RATIO_EXEMPT = 4 * 2**30
_BLOCK = 1 << 20
_SCRATCH = "ultrasam-unpacked"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name as stored, and its size in bytes."""

    name: str
    size: int


def is_archive(name: str) -> bool:
    """Whether the file name has the suffix of a supported archive format."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def list_members(chain: tuple[str, ...]) -> list[Member]:
    """List the files in an archive, without links and folders.

    Args:
        chain: the path of the archive on disk, then the member names leading to a nested archive.

    Raises:
        DataError: The archive is damaged, encrypted, or unpacks to more than the limit.
    """
    with _explained(chain):
        return _open(chain).members()


def read_member(chain: tuple[str, ...]) -> bytes:
    """The bytes of the member at the end of ``chain``.

    Raises:
        DataError: The member is missing or damaged.
    """
    with _explained(chain):
        return _open(chain[:-1]).read(chain[-1])


def member_start(chain: tuple[str, ...], size: int) -> bytes:
    """The first ``size`` bytes of the member of an archive with random access (ZIP or plain TAR).

    Raises:
        DataError: The member is missing or damaged.
    """
    with _explained(chain):
        archive = _open(chain[:-1])
        if isinstance(archive, _Folder):
            return archive.read(chain[-1])[:size]
        with archive.stream(chain[-1]) as stream:
            return stream.read(size)


def member_on_disk(chain: tuple[str, ...]) -> Path:
    """The member at the end of ``chain`` as a path on disk, for libraries that open only paths.

    It is copied once, however often it is opened: a file of many clips is opened for each of them.

    Raises:
        DataError: The member is missing or damaged.
        UltraSamError: The temporary folder is full.
    """
    with _explained(chain):
        return _unpacked(chain)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack an archive of any supported format into ``folder``, replacing existing files.

    Returns:
        The number of files unpacked.

    Raises:
        DataError: The archive is damaged or too large, or a member is a link or lies outside the folder.
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
    """Remove the files that this build unpacked for reading, and leftovers of killed builds."""
    _open.cache_clear()
    shutil.rmtree(_scratch(), ignore_errors=True)
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}-*"):
        # Folders of other users cannot be removed, and must not be.
        if not _is_running(folder.name.rsplit("-", 1)[1]):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    with suppress(ImportError):
        import psutil

        return bool(psutil.pid_exists(int(pid)))
    if sys.platform == "win32":
        return True  # os.kill(pid, 0) would send Ctrl-C there; rather keep a folder too long
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class _Budget:
    def __init__(self, archive: Path) -> None:
        self.archive = archive
        size = archive.stat().st_size
        self.remaining = min(MAX_UNPACKED, max(_RATIO_EXEMPT, MAX_RATIO * size))

    def spend(self, size: int) -> None:
        self.remaining -= size
        if self.remaining < 0:
            raise DataError(
                f"{self.archive} expands to a suspicious size and was not unpacked; download it again "
                "from its official source."
            )


def _inside(folder: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        raise DataError(
            f"{archive} contains '{name}', which points outside the target folder; it was not unpacked."
        )
    return folder.joinpath(*parts)


def _streams(archive: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names and blocks of an archive's files, in stored order."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if _zip_link(info):
                    raise DataError(_link_message(archive, info.filename))
                if not info.is_dir():
                    with opened.open(info) as stream:
                        yield info.filename, iter(lambda s=stream: s.read(_BLOCK), b"")  # type: ignore[misc]
        return
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, "r:*") as tar:
            for entry in tar:
                if entry.issym() or entry.islnk():
                    raise DataError(_link_message(archive, entry.name))
                file = tar.extractfile(entry)
                if file is not None:
                    yield entry.name, iter(lambda s=file: s.read(_BLOCK), b"")  # type: ignore[misc]
        return
    yield from _libarchive_streams(archive)


def _libarchive_streams(archive: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """`_streams` for RAR and 7z, by the libarchive that the package archi bundles."""
    alternative = "Or unpack it by hand, and keep the folder next to it."
    with needs(f"Unpacking {archive.name}", extra="archives", alternative=alternative):
        import archi
    # Open by path: archi sometimes misreads open file objects.
    for entry in archi.Archive(str(archive)):
        if stat.S_ISLNK(entry.mode):
            raise DataError(_link_message(archive, entry.filename))
        if stat.S_ISREG(entry.mode):
            yield entry.filename, iter(lambda e=entry: e.read(_BLOCK), b"")  # type: ignore[misc]


def _link_message(archive: Path, name: str) -> str:
    return f"{archive} contains the link '{name}'; it was not unpacked."


def _zip_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


@contextmanager
def _explained(chain: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except UltraSamError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise no_space(_scratch(), error) from error
        where = " in ".join(reversed(chain))
        raise DataError(f"{where} is damaged: {one_line(error)}; download it again.") from error


class _Zip:
    def __init__(self, file: str | IO[bytes]) -> None:
        self.zip = zipfile.ZipFile(file)

    def members(self) -> list[Member]:
        infos = self.zip.infolist()
        packed, size = sum(i.compress_size for i in infos), sum(i.file_size for i in infos)
        if size > max(_RATIO_EXEMPT, MAX_RATIO * packed) or size > MAX_UNPACKED:
            raise ValueError("it expands to a suspicious size")
        return [
            Member(i.filename, i.file_size) for i in infos if not i.is_dir() and not _zip_link(i)
        ]

    def read(self, name: str) -> bytes:
        return self.zip.read(name)

    def stream(self, name: str) -> IO[bytes]:
        return self.zip.open(name)

    def stored(self, name: str) -> IO[bytes] | None:
        """A seekable stream of the member; None if it is compressed."""
        if self.zip.getinfo(name).compress_type != zipfile.ZIP_STORED:
            return None
        return self.zip.open(name)


class _Folder:
    """An archive without random access, unpacked once."""

    def __init__(self, archive: Path) -> None:
        key = hashlib.sha256(f"{archive}|{_stamp(str(archive))}".encode()).hexdigest()
        self.folder = _scratch() / key[:24]
        if self.folder.is_dir():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = Path(tempfile.mkdtemp(dir=self.folder.parent))
        try:
            unpack(archive, unfinished)
            unfinished.rename(self.folder)
        except BaseException as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            # Another worker may have finished first.
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
        weakref.finalize(self, self.tar.close)

    def members(self) -> list[Member]:
        return [Member(m.name, m.size) for m in self.tar.getmembers() if m.isfile()]

    def read(self, name: str) -> bytes:
        return self.stream(name).read()

    def stream(self, name: str) -> IO[bytes]:
        file = self.tar.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file


@lru_cache(maxsize=32)
def _open(chain: tuple[str, ...]) -> _Zip | _Tar | _Folder:
    if len(chain) == 1:
        return _open_file(Path(chain[0]))
    parent = _open(chain[:-1])
    if isinstance(parent, _Zip):
        stream = parent.stored(chain[-1])
        if stream is not None and zipfile.is_zipfile(stream):
            return _Zip(stream)
    return _open_file(_unpacked(chain))


def _unpacked(chain: tuple[str, ...]) -> Path:
    """The member at the end of ``chain`` on disk: where its archive was unpacked to, or a copy."""
    parent = _open(chain[:-1])
    if isinstance(parent, _Folder):
        return parent.path_of(chain[-1])
    key = hashlib.sha256("|".join((*chain, _stamp(chain[0]))).encode()).hexdigest()[:24]
    path = _scratch() / key / PurePosixPath(chain[-1].replace("\\", "/")).name
    if not path.exists():
        with parent.stream(chain[-1]) as source, atomic_file(path) as copy:
            shutil.copyfileobj(source, copy, _BLOCK)
    return path


def _open_file(path: Path) -> _Zip | _Tar | _Folder:
    if zipfile.is_zipfile(path):
        return _Zip(str(path))
    if path.name.lower().endswith(".tar"):
        return _Tar(path)
    return _Folder(path)


def _stamp(path: str) -> str:
    status = Path(path).stat()
    return f"{status.st_size}|{status.st_mtime_ns}"


def _scratch() -> Path:
    """The folder that one build and its workers unpack to; each build has its own."""
    parent = multiprocessing.parent_process()
    folder = (
        Path(tempfile.gettempdir()) / f"{_SCRATCH}-{os.getpid() if parent is None else parent.pid}"
    )
    if parent is None and folder not in _forgotten_at_exit:
        _forgotten_at_exit.add(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_forgotten_at_exit: set[Path] = set()
