"""Scans of strangers: read within limits, without names of files in what is told, and few held open."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

from ultrasam.errors import UltraSamError
from ultrasam.images.pixels import Frame
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan, TooLargeError, scan_limits
from ultrasam.serve.http.problems import NotFoundError

_OPEN = 4
_DIGESTS = 10_000


@dataclass(slots=True, eq=False)
class _Open:
    scan: Scan
    # Readers of cines and volumes keep their place in the file.
    lock: threading.Lock = field(default_factory=threading.Lock)


class ScanReader:
    """Opens files; a `Scan` that it returns holds no pixels, which some readers keep, and no name.

    Args:
        pixels, frames: as in `scan_limits`.
    """

    def __init__(self, *, pixels: int, frames: int) -> None:
        self._pixels, self._frames = pixels, frames
        self._scans: OrderedDict[Path, _Open] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path) -> Scan:
        """Open a file.

        Raises:
            TooLargeError: Its header declares more than the limits.
            ScanError, MissingDependencyError: As in `read_scan`.
        """
        opened = self._opened(path, anew=True)
        return replace(
            opened.scan, read_frame=lambda index: self._frame(path, index), source=None, subject=None
        )  # fmt: skip

    def _opened(self, path: Path, *, anew: bool = False) -> _Open:
        with self._lock:
            found = None if anew else self._scans.get(path)
            if found is not None:
                self._scans.move_to_end(path)
                return found
        try:
            with scan_limits(pixels=self._pixels, frames=self._frames):
                opened = _Open(read_scan(path))
        except UltraSamError as error:
            raise _without_name(error, path) from error
        with self._lock:
            self._scans[path] = opened
            self._scans.move_to_end(path)
            while len(self._scans) > _OPEN:
                self._scans.popitem(last=False)
        return opened

    def _frame(self, path: Path, index: int) -> Frame:
        opened = self._opened(path)
        try:
            with opened.lock, scan_limits(pixels=self._pixels, frames=self._frames):
                return opened.scan.read_frame(index)
        except UltraSamError as error:
            raise _without_name(error, path) from error


class RootFolder:
    """The files below a folder, by their paths in it; links that lead out of it lead nowhere.

    Args:
        folder: the root.
        most_bytes: of a file.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self.folder, self._most = folder.resolve(), most_bytes
        self._digests: OrderedDict[tuple[Path, int, int], str] = OrderedDict()

    def find(self, name: str) -> tuple[Path, str]:
        """A file and the SHA-256 of its content, hexadecimal.

        Raises:
            NotFoundError: It does not exist, is not a file, or lies outside the folder.
            TooLargeError: It is too large.
        """
        try:
            path = (self.folder / name).resolve(strict=True)
            if not path.is_relative_to(self.folder) or not path.is_file():
                raise ValueError
            stat = path.stat()
            key = path, stat.st_size, stat.st_mtime_ns
            if stat.st_size > self._most:
                raise TooLargeError(f"The file is larger than {self._most / 1e6:g} MB.")
            digest = self._digests.get(key)
            if digest is None:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                self._digests[key] = digest
                while len(self._digests) > _DIGESTS:
                    self._digests.popitem(last=False)
        except TooLargeError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            raise NotFoundError(
                "There is no such file below the folder that the server was given."
            ) from error
        return path, digest


def _without_name(error: UltraSamError, path: Path) -> UltraSamError:
    """The same error, without the name of the file."""
    return type(error)(str(error).replace(str(path), "The image").replace(path.name, "the image"))
