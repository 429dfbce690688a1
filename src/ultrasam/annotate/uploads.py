"""Uploads: images that other tools send, or point to, which are no part of the project.

They lie in a temporary folder that goes with the process; the ones that were not used for the longest time go
first.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultrasam.annotate.problems import NotFoundError
from ultrasam.annotate.segmentation import Segmentation
from ultrasam.errors import ScanError, UltraSamError
from ultrasam.images.reading import read_scan, scan_suffixes
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prediction, Prompt

_MOST_BYTES = 1_000_000_000  # of files
_MOST_PREDICTORS = 4
_IDLE_S = 3600.0


@dataclass(slots=True, eq=False)
class Upload:
    """An image that is no part of the project.

    Attributes:
        id: a random name, which only who has sent the image knows.
        path: of the file in the temporary folder.
        scan: the image.
        digest: SHA-256 of the file, hexadecimal.
        used: when it was asked for last, `time.monotonic`.
    """

    id: str
    path: Path
    scan: Scan
    digest: str
    used: float = field(default_factory=time.monotonic)


class Uploads:
    """Keeps the latest uploads, with the embeddings of the latest frames.

    Args:
        segmentation: the annotator's, whose network predicts.
        most_bytes: of all files together.
        idle_s: an upload that was not asked for during this many seconds goes.
    """

    def __init__(
        self,
        segmentation: Segmentation,
        *,
        most_bytes: int = _MOST_BYTES,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._segmentation, self._limit, self._idle_s = segmentation, most_bytes, idle_s
        self._folder: Path | None = None
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._predictors: OrderedDict[tuple[str, int, bool], Any] = OrderedDict()
        self._lock = threading.RLock()

    def add(self, content: bytes, name: str) -> Upload:
        """Keep an image; the same content again is the same upload.

        Args:
            content: of the file.
            name: of the file; only its suffix counts.

        Raises:
            ScanError: It is not a readable image.
        """
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            self._forget_old(len(content))
            for upload in self._uploads.values():
                if upload.digest == digest and upload.path.suffix == Path(_file_name(name)).suffix:
                    return self._touched(upload)
            id = secrets.token_urlsafe(16)
            folder = self._root() / id
            folder.mkdir()
            path = folder / _file_name(name)
            try:
                path.write_bytes(content)
                scan = read_scan(path)
            except UltraSamError as error:
                shutil.rmtree(folder, ignore_errors=True)
                message = str(error).replace(str(path), "The image that was sent")
                raise type(error)(message) from error
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise ScanError(f"The image cannot be kept: {error.strerror}.") from error
            upload = self._uploads[id] = Upload(id, path, scan, digest)
            return upload

    def get(self, id: str) -> Upload:
        """An upload by its id.

        Raises:
            NotFoundError: It does not exist, or not any more.
        """
        with self._lock:
            self._forget_old(0)
            upload = self._uploads.get(id)
            if upload is None:
                raise NotFoundError(
                    "This image was not sent, or is forgotten by now; send it again."
                )
            return self._touched(upload)

    def remove(self, id: str) -> None:
        """Forget an upload; nothing happens if it does not exist."""
        with self._lock:
            upload = self._uploads.pop(id, None)
            if upload is None:
                return
            shutil.rmtree(upload.path.parent, ignore_errors=True)
            for key in [key for key in self._predictors if key[0] == id]:
                del self._predictors[key]

    def predict(self, id: str, frame: int, prompt: Prompt, *, multimask: bool) -> Prediction:
        """The masks of one prompt in a frame, best first; call it on the worker's thread.

        Raises:
            NotFoundError: There is no such upload.
            PromptError, ScanError, CheckpointError: As in `Segmentation.predict`.
        """
        from ultrasam.inference.predictor import Predictor

        upload = self.get(id)
        backend, views = self._segmentation.backend, self._segmentation.views
        key = id, frame, views
        predictor = self._predictors.get(key)
        if predictor is None or predictor.backend is not backend:
            predictor = Predictor(backend, tta=views)
            predictor.set_image(upload.scan.frame(frame))
            with self._lock:
                self._predictors[key] = predictor
                while len(self._predictors) > _MOST_PREDICTORS:
                    self._predictors.popitem(last=False)
        prediction: Prediction = predictor.predict(prompt, multimask=multimask)
        return prediction

    def close(self) -> None:
        """Forget all of them."""
        with self._lock:
            for id in list(self._uploads):
                self.remove(id)
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _root(self) -> Path:
        if self._folder is None:
            self._folder = Path(
                tempfile.mkdtemp(prefix="ultrasam-uploads-")
            )  # readable by its owner
        return self._folder

    def _touched(self, upload: Upload) -> Upload:
        upload.used = time.monotonic()
        self._uploads.move_to_end(upload.id)
        return upload

    def _forget_old(self, coming: int) -> None:
        now = time.monotonic()
        for upload in list(self._uploads.values()):
            if now - upload.used > self._idle_s:
                self.remove(upload.id)
        sizes = {id: one.path.stat().st_size for id, one in self._uploads.items()}
        for id in list(self._uploads):
            if sum(sizes.values()) + coming <= self._limit:
                return
            self.remove(id)
            del sizes[id]


def _file_name(name: str) -> str:
    """``image`` with the suffix of a name, if it is one that images have."""
    suffix = next((end for end in _BY_LENGTH if name.lower().endswith(end)), "")
    return f"image{suffix}"


_BY_LENGTH = sorted(scan_suffixes(), key=len, reverse=True)  # .nii.gz before .gz
