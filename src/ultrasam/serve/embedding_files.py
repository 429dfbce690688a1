"""Embeddings on disk, so that an image that was once prepared is ready at once after a restart."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ultrasam.errors import UltraSamError
from ultrasam.files import atomic_write
from ultrasam.runtimes.backend import Backend
from ultrasam.serve.loaded_model import precision_of
from ultrasam.weights.cache import cache_folder

logger = logging.getLogger(__name__)
_LIMIT = 2_000_000_000  # bytes of all embeddings on disk


class EmbeddingFiles:
    """Embeddings in the user's cache folder, named after the image's content, the frame, the weights, their
    precision and the preprocessing.

    Those that were not used for the longest time go when all take more than 2 GB, which is looked at when the
    model is loaded and after each tenth of it. A file that is damaged counts as missing.

    Args:
        backend: the network, which also says how its embeddings are kept.
        weights: hash of its weights.
        runtime: what it runs in, as embeddings differ by rounding.
        limit: bytes of all embeddings on disk, of all models and projects.
    """

    def __init__(
        self, backend: Backend, weights: str, runtime: str, *, limit: int = _LIMIT
    ) -> None:
        self._backend: Any = backend
        precision, prepared = precision_of(backend), backend.preprocessor
        self._about = f"{weights} {runtime} {precision} {backend.config.image_size} {prepared}"
        self._folder = cache_folder("embeddings")
        self._usable = hasattr(backend, "embedding_to_arrays")
        self._limit, self._written = limit, 0
        threading.Thread(target=self.prune, daemon=True, name="old embeddings").start()

    def read(self, digest: str, frame: int, views: int) -> list[Any] | None:
        """The embeddings of a frame's views, or None if they are not there.

        Args:
            digest: SHA-256 of the image's file.
            views: how many there are.
        """
        path = self._path(digest, frame, views)
        if not self._usable or not path.is_file():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            found = []
            for view in range(views):
                start = f"{view}/"
                part = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
                found.append(self._backend.embedding_from_arrays(part))
            with suppress(OSError):
                path.touch()
            return found
        except (OSError, EOFError, ValueError, LookupError, zlib.error, zipfile.BadZipFile):
            logger.warning("An embedding on the disk is damaged; it is made again.")
            with suppress(OSError):
                path.unlink()
            return None

    def write(self, digest: str, frame: int, embeddings: Sequence[Any]) -> None:
        """Keep the embeddings of a frame's views; what cannot be written is made again next time."""
        if not self._usable:
            return
        arrays = {
            f"{view}/{name}": values
            for view, embedding in enumerate(embeddings)
            for name, values in self._backend.embedding_to_arrays(embedding).items()
        }
        content = io.BytesIO()
        np.savez(content, **arrays)
        try:
            atomic_write(self._path(digest, frame, len(embeddings)), content.getvalue())
            self._written += len(content.getvalue())
        except UltraSamError as error:
            logger.debug("An embedding is not kept: %s", error)
        if self._written > self._limit / 10:
            self.prune()

    def prune(self) -> None:
        """Remove the files that were not used for the longest time, if all take more than the limit."""
        self._written = 0
        files = []
        for path in self._folder.glob("*.npz"):
            with suppress(OSError):
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            with suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, digest: str, frame: int, views: int) -> Any:
        name = hashlib.sha256(f"{self._about} {digest} {frame} {views}".encode()).hexdigest()
        return self._folder / f"{name}.npz"
