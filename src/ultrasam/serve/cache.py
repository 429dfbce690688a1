"""EmbeddingCache: the latest frames with their embeddings, in memory, up to a number of bytes.

Embeddings are found by the content of a file and the frame, before anything is decoded. They are kept by the
frame's pixels, so that the same picture in another file is not encoded again; only the calibration differs
from file to file.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan
from ultrasam.serve.loaded_model import size_of

_CONTENTS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFrame:
    """A frame with its embeddings.

    Attributes:
        pixels: [H, W] or [H, W, 3] uint8.
        embeddings: of its views, as `Predictor.set_image` takes them.
    """

    pixels: Frame
    embeddings: Sequence[Any]

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return self.pixels.nbytes + size_of(self.embeddings)


class EmbeddingCache:
    """Keeps what was used last. Any thread may call it.

    Args:
        limit: bytes of all frames and embeddings; the latest is kept whatever it takes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._frames: OrderedDict[str, tuple[EmbeddedFrame, int]] = OrderedDict()
        self._contents: OrderedDict[tuple[str, int], tuple[str, Scan]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, digest: str, frame: int) -> tuple[EmbeddedFrame, Scan] | None:
        """The frame of a file, and the file's facts; None if it is not kept.

        Args:
            digest: SHA-256 of the file's content.
        """
        with self._lock:
            known = self._contents.get((digest, frame))
            if known is None:
                return None
            key, scan = known
            found = self._frames.get(key)
            if found is None:
                del self._contents[digest, frame]
                return None
            self._frames.move_to_end(key)
            self._contents.move_to_end((digest, frame))
            return found[0], scan

    def find_pixels(self, key: str) -> EmbeddedFrame | None:
        """The frame of some pixels, by `pixels_key`."""
        with self._lock:
            found = self._frames.get(key)
            if found is not None:
                self._frames.move_to_end(key)
            return None if found is None else found[0]

    def put(self, digest: str, frame: int, key: str, scan: Scan, embedded: EmbeddedFrame) -> None:
        """Keep a frame.

        Args:
            key: of its pixels.
            scan: the file's facts; its ``read_frame`` is not used.
        """
        size = embedded.size
        with self._lock:
            if key in self._frames:
                self.bytes -= self._frames.pop(key)[1]
            self._frames[key] = embedded, size
            self.bytes += size
            while self.bytes > self.limit and len(self._frames) > 1:
                self.bytes -= self._frames.popitem(last=False)[1][1]
            self._contents[digest, frame] = key, scan
            self._contents.move_to_end((digest, frame))
            while len(self._contents) > _CONTENTS:
                self._contents.popitem(last=False)

    def __len__(self) -> int:
        return len(self._frames)


def pixels_key(pixels: Frame) -> str:
    """SHA-256 of a frame's pixels and shape, hexadecimal."""
    digest = hashlib.sha256(f"{pixels.shape} ".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()
