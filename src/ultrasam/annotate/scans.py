"""The open scans of a project, and their latest frames, so that a file is opened and decoded once.

A file is decoded by one thread at a time: readers of cines and volumes keep their place in the file.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from ultrasam.annotate.project.images import image_path, set_facts
from ultrasam.annotate.project.project import Project
from ultrasam.errors import ScanError, UltraSamError
from ultrasam.images.pixels import Frame
from ultrasam.images.reading import kind_of, read_scan
from ultrasam.images.scan import Scan

_OPEN = 16
_FRAME_BYTES = 256_000_000


class Scans:
    """Opens the images of a project by their numbers.

    Args:
        project: whose images.
        frame_bytes: how much of decoded frames to keep.
    """

    def __init__(self, project: Project, *, frame_bytes: int = _FRAME_BYTES) -> None:
        self.project = project
        self._open: OrderedDict[int, tuple[tuple[int, int], Scan]] = OrderedDict()
        self._frames: OrderedDict[tuple[int, int], Frame] = OrderedDict()
        self._bytes, self._limit = 0, frame_bytes
        self._opening: dict[int, threading.RLock] = {}
        self._lock = threading.RLock()

    def scan(self, image: int) -> Scan:
        """An image as a scan, whose frames come from the cache.

        Raises:
            DataError: There is no such image, or its file is gone.
            ScanError: The file cannot be read; it is noted as the image's problem.
        """
        path = image_path(self.project, image)
        stat = path.stat()
        version = stat.st_size, stat.st_mtime_ns
        with self._of(image):
            with self._lock:
                found = self._open.get(image)
                if found is not None and found[0] == version:
                    self._open.move_to_end(image)
                    return found[1]
                self._forget_frames(image)
            scan = self._read(image, path)
            with self._lock:
                self._open[image] = version, scan
                while len(self._open) > _OPEN:
                    oldest = next(iter(self._open))
                    del self._open[oldest]
        return scan

    def frame(self, image: int, index: int) -> Frame:
        """The pixels of a frame, [H, W] or [H, W, 3].

        Raises:
            DataError, ScanError: As in `scan`; or the frame does not exist, or cannot be read.
        """
        return self.scan(image).frame(index)

    def digest(self, image: int) -> str:
        """SHA-256 of an image's file, hexadecimal; read once as long as the file does not change."""
        row = self.project.row("SELECT digest FROM images WHERE id = ?", image)
        if row is not None and row["digest"]:
            return str(row["digest"])
        with image_path(self.project, image).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        set_facts(self.project, image, {"digest": digest})
        return digest

    def _of(self, image: int) -> threading.RLock:
        with self._lock:
            return self._opening.setdefault(image, threading.RLock())

    def _read(self, image: int, path: Path) -> Scan:
        try:
            scan = read_scan(path)
            kind = _shown_kind(path, scan)
        except UltraSamError as error:
            set_facts(self.project, image, {"problem": self.without_folder(str(error))})
            raise type(error)(self.without_folder(str(error))) from error
        set_facts(
            self.project, image,
            {
                "kind": kind, "width": scan.width, "height": scan.height, "frames": scan.num_frames,
                "frame_time": scan.frame_time, "problem": None,
            },
        )  # fmt: skip
        return replace(scan, read_frame=lambda index: self._cached(image, index, scan))

    def without_folder(self, message: str) -> str:
        """A message that names files as the page does: by their place in the project's folder."""
        return message.replace(f"{self.project.folder}/", "")

    def _cached(self, image: int, index: int, scan: Scan) -> Frame:
        with self._of(image):
            with self._lock:
                found = self._frames.get((image, index))
                if found is not None:
                    self._frames.move_to_end((image, index))
                    return found
            try:
                pixels = scan.read_frame(index)
            except ScanError as error:
                raise ScanError(self.without_folder(str(error))) from error
            with self._lock:
                self._frames[image, index] = pixels
                self._bytes += pixels.nbytes
                while self._bytes > self._limit and len(self._frames) > 1:
                    _, oldest = self._frames.popitem(last=False)
                    self._bytes -= oldest.nbytes
        return pixels

    def _forget_frames(self, image: int) -> None:
        for key in [key for key in self._frames if key[0] == image]:
            self._bytes -= self._frames.pop(key).nbytes


def _shown_kind(path: Path, scan: Scan) -> str:
    """``still``, ``cine`` or ``volume``."""
    if scan.num_frames == 1:
        return "still"
    if kind_of(path) in ("nifti", "metaimage", "nrrd"):
        return "volume"
    return "cine"
