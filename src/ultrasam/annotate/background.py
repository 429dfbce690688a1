"""Background: thumbnails, sizes of images and embeddings of what comes next, made while nobody waits."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from pathlib import Path

from ultrasam.annotate.events import Events
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.rendering import thumbnail
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.segmentation import Segmentation
from ultrasam.annotate.worker import Priority, Worker
from ultrasam.errors import UltraSamError
from ultrasam.files import atomic_write
from ultrasam.weights.cache import cache_folder

logger = logging.getLogger(__name__)
_NEXT_IMAGES = 2
_NEIGHBORS = (1, -1)
_PAUSE_S = 0.02


class Background:
    """Prepares what will be asked for.

    Args:
        project, scans, segmentation, worker, events: the annotator's.
    """

    def __init__(
        self,
        project: Project,
        scans: Scans,
        segmentation: Segmentation,
        worker: Worker,
        events: Events,
    ) -> None:
        self._project, self._scans, self._segmentation = project, scans, segmentation
        self._worker, self._events = worker, events
        self._folder = cache_folder("thumbnails")
        self._wanted: OrderedDict[int, None] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="thumbnails", daemon=True)
        self._thread.start()

    def thumbnail(self, image: int) -> bytes | None:
        """A thumbnail as WebP if it is made; if not, it is made next."""
        path = self._path(image)
        if path.is_file():
            return path.read_bytes()
        with self._changed:
            self._wanted[image] = None
            self._wanted.move_to_end(image)  # what was asked for last is what is seen now
            self._changed.notify()
        return None

    def prefetch(self, image: int, frame: int, reader: str) -> None:
        """Prepare the neighboring frames, and the images that come next by name."""
        count = self._scans.scan(image).num_frames
        for step in _NEIGHBORS:
            if 0 <= frame + step < count:
                self._prepare(image, frame + step, f"frame {step} {reader}")
        row = self._project.row("SELECT path FROM images WHERE id = ?", image)
        following = self._project.rows(
            "SELECT id FROM images WHERE missing = 0 AND problem IS NULL AND path > ? ORDER BY path LIMIT ?",
            "" if row is None else row["path"], _NEXT_IMAGES,
        )  # fmt: skip
        for number, one in enumerate(following):
            self._prepare(int(one["id"]), 0, f"next {number} {reader}")

    def close(self) -> None:
        """Stop after what runs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _prepare(self, image: int, frame: int, group: str) -> None:
        def run() -> None:
            try:
                self._segmentation.prepare(image, frame)
                self._events.publish(
                    "prepared", image=image, frame=frame, waiting=self._worker.waiting
                )
            except UltraSamError as error:
                logger.debug("Image %d is not prepared: %s", image, error)

        if not self._segmentation.is_ready(image, frame):
            self._worker.submit(Priority.prefetch, run, group=group)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._wanted and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                image, _ = self._wanted.popitem()
            self._make(image)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _PAUSE_S)

    def _make(self, image: int) -> None:
        try:
            scan = self._scans.scan(image)
            atomic_write(self._path(image), thumbnail(scan.frame(scan.num_frames // 2)))
        except UltraSamError as error:
            logger.debug("Image %d has no thumbnail: %s", image, error)
            self._events.publish(
                "image", image=image, problem=self._scans.without_folder(str(error))
            )
            return
        self._events.publish("thumbnail", image=image)

    def _path(self, image: int) -> Path:
        row = self._project.row("SELECT path, size, mtime_ns FROM images WHERE id = ?", image)
        about = f"{self._project.folder} {tuple(row) if row is not None else image}"
        return self._folder / f"{hashlib.sha256(about.encode()).hexdigest()}.jpg"
