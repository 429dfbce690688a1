"""Uploads: images that clients send, kept in a temporary folder that goes with the process.

The ones that were not used for the longest time go first.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ultrasam.errors import ScanError, UltraSamError
from ultrasam.images.reading import read_scan, scan_suffixes
from ultrasam.images.scan import Scan
from ultrasam.serve.http.problems import GoneError, NotFoundError

_MOST_BYTES = 1_000_000_000  # of files
_IDLE_S = 3600.0
_REMEMBERED = 10_000  # ids of images that are forgotten


@dataclass(slots=True, eq=False)
class Upload:
    """An image that was sent.

    Attributes:
        id: its name for the client.
        path: of the file in the temporary folder.
        scan: the image.
        digest: SHA-256 of the file, hexadecimal.
        size: of the file in bytes.
        used: when it was asked for last, `time.monotonic`.
    """

    id: str
    path: Path
    scan: Scan
    digest: str
    size: int
    used: float = field(default_factory=time.monotonic)


class Uploads:
    """Keeps the latest uploads.

    Args:
        new_id: makes an image's id from its digest.
        most_bytes: of all files together.
        idle_s: an upload that was not asked for during this many seconds goes.
        read: opens a file; `read_scan`, perhaps with limits.
    """

    def __init__(
        self,
        *,
        new_id: Callable[[str], str] = str,
        most_bytes: int = _MOST_BYTES,
        idle_s: float = _IDLE_S,
        read: Callable[[Path], Scan] = read_scan,
    ) -> None:
        self._new_id, self._limit, self._idle_s, self.read = new_id, most_bytes, idle_s, read
        self._folder: Path | None = None
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._by_content: dict[tuple[str, str], str] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.RLock()

    def add(self, content: bytes, name: str, *, digest: str | None = None) -> Upload:
        """Keep an image; the same content again is the same upload.

        Args:
            content: of the file.
            name: of the file; only its suffix counts.
            digest: SHA-256 of the content, hexadecimal, if it is known.

        Raises:
            ScanError: It is not a readable image.
        """
        digest = digest or hashlib.sha256(content).hexdigest()
        file_name = _file_name(name)
        with self._lock:
            self._forget_old(len(content))
            if (found := self._found(digest, file_name)) is not None:
                return found
            folder = self._root() / secrets.token_urlsafe(16)
        scan = self._opened(folder, file_name, content)
        with self._lock:
            if (found := self._found(digest, file_name)) is not None:  # another thread was faster
                shutil.rmtree(folder, ignore_errors=True)
                return found
            id = self._new_id(digest)
            if id in self._uploads:  # the same content, sent under a name of another kind
                self.remove(id)
            upload = Upload(id, folder / file_name, scan, digest, len(content))
            self._uploads[id] = upload
            self._by_content[digest, upload.path.suffix] = id
            self._bytes += upload.size
            self._gone.pop(id, None)
            return upload

    def get(self, id: str) -> Upload:
        """An upload by its id.

        Raises:
            NotFoundError: It was never sent.
            GoneError: It is forgotten.
        """
        with self._lock:
            self._forget_old(0)
            upload = self._uploads.get(id)
            if upload is not None:
                return self._touched(upload)
            if id in self._gone:
                raise GoneError("This image is forgotten by now; send it again.")
            raise NotFoundError("This image was not sent; send it.")

    def remove(self, id: str) -> None:
        """Forget an upload; nothing happens if it does not exist."""
        with self._lock:
            upload = self._uploads.pop(id, None)
            if upload is None:
                return
            self._by_content.pop((upload.digest, upload.path.suffix), None)
            self._bytes -= upload.size
            self._gone[id] = None
            while len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)
            shutil.rmtree(upload.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Forget all of them."""
        with self._lock:
            for id in list(self._uploads):
                self.remove(id)
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _found(self, digest: str, file_name: str) -> Upload | None:
        id = self._by_content.get((digest, Path(file_name).suffix))
        return None if id is None else self._touched(self._uploads[id])

    def _opened(self, folder: Path, file_name: str, content: bytes) -> Scan:
        folder.mkdir()
        path = folder / file_name
        try:
            path.write_bytes(content)
            return self.read(path)
        except UltraSamError as error:
            shutil.rmtree(folder, ignore_errors=True)
            message = str(error).replace(str(path), "The image that was sent")
            raise type(error)(message) from error
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ScanError(f"The image cannot be kept: {error.strerror}.") from error

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
        for id, upload in list(self._uploads.items()):
            if now - upload.used <= self._idle_s and self._bytes + coming <= self._limit:
                return  # those that follow were used later
            self.remove(id)


def _file_name(name: str) -> str:
    """``image`` with the suffix of a name, if it is one that images have."""
    suffix = next((end for end in _BY_LENGTH if name.lower().endswith(end)), "")
    return f"image{suffix}"


_BY_LENGTH = sorted(scan_suffixes(), key=len, reverse=True)  # .nii.gz before .gz
