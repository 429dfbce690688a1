"""The model of the annotator: loaded once, with the embeddings of the latest frames kept ready.

An embedding is looked up by the image's number and the frame before anything is decoded: in memory, then on
disk, where it is named after the file's content, the frame and the weights; only then is the frame encoded.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from ultrasam.annotate.scans import Scans
from ultrasam.images.masks import BoolMask
from ultrasam.prompts import Float32, Prediction, Prompt
from ultrasam.runtimes.backend import Backend
from ultrasam.serve.embedding_files import EmbeddingFiles
from ultrasam.serve.loaded_model import ModelInfo, runtime_of, size_of, weights_hash_of

logger = logging.getLogger(__name__)

_MEMORY = 400_000_000  # bytes of embeddings
_LATENCIES = 50
_ENCODINGS = 5


class Segmentation:
    """Answers prompts in any frame of a project.

    All calls but `info`, `latency_ms`, `encoding_s` and `is_ready` belong on the worker's thread, as the
    model is used by one thread at a time.

    Args:
        scans: the project's.
        model: a name or path, as in `ultrasam.load`.
        device, runtime: as in `ultrasam.load`.
        views: use the test-time augmentation of the weights; slower, and better.
    """

    def __init__(
        self,
        scans: Scans,
        model: str = "nano",
        *,
        device: str | None = None,
        runtime: str | None = None,
        views: bool = False,
        memory: int = _MEMORY,
    ) -> None:
        self.scans, self.views = scans, views
        self._spec, self._device, self._runtime = model, device, runtime
        self._backend: Backend | None = None
        self._info: ModelInfo | None = None
        self._files: EmbeddingFiles | None = None
        self._ready: OrderedDict[tuple[int, int, int, int, bool], tuple[Any, int]] = OrderedDict()
        self._bytes, self._limit = 0, memory
        self._times: list[float] = []
        self._encodings: list[float] = []
        self._loading = threading.Lock()

    @property
    def name(self) -> str:
        """The model's name, as it was given."""
        return self._spec

    @property
    def info(self) -> ModelInfo | None:
        """What runs; None until it is loaded."""
        return self._info

    @property
    def latency_ms(self) -> float | None:
        """The median time of the latest predictions; None before the first."""
        return round(median(self._times), 1) if self._times else None

    @property
    def encoding_s(self) -> float:
        """The median time of the latest encodings of a frame, in seconds; 0 before the first."""
        return median(self._encodings or [0.0])

    @property
    def backend(self) -> Backend:
        """The network; loaded if it is not yet.

        Raises:
            CheckpointError, DeviceError: It cannot be loaded.
        """
        with self._loading:
            if self._backend is None:
                self._load()
            assert self._backend is not None
            return self._backend

    def use(self, model: str) -> None:
        """Go on with other weights, once they are loaded; embeddings of the earlier ones are forgotten.

        Raises:
            CheckpointError, DeviceError: They cannot be loaded; the earlier ones stay.
        """
        with self._loading:
            earlier = self._spec
            self._spec = model
            try:
                self._load()
            except BaseException:
                self._spec = earlier
                raise
            self._ready.clear()
            self._bytes = 0
            self._times, self._encodings = [], []

    def is_ready(self, image: int, frame: int) -> bool:
        """Whether the embedding of a frame is in memory."""
        return self._key(image, frame) in self._ready

    def prepare(self, image: int, frame: int) -> Any:
        """The predictor of a frame, with its embedding.

        Raises:
            DataError, ScanError: The frame cannot be read.
            CheckpointError, DeviceError: The model cannot be loaded.
        """
        from ultrasam.inference.predictor import Predictor

        key = self._key(image, frame)
        found = self._ready.get(key)
        if found is not None:
            self._ready.move_to_end(key)
            return found[0]
        backend = self.backend
        predictor = Predictor(backend, tta=self.views)
        pixels = self.scans.frame(image, frame)
        saved = None
        if self._files is not None:
            views = 2 if predictor.tta.flip else 1
            saved = self._files.read(self.scans.digest(image), frame, views)
        start = time.perf_counter()
        predictor.set_image(pixels, embeddings=saved)
        if saved is None:
            spent = time.perf_counter() - start
            self._encodings = [*self._encodings[-_ENCODINGS + 1 :], spent]
        if self._files is not None and saved is None:
            self._files.write(self.scans.digest(image), frame, predictor.embeddings)
        self._keep(key, predictor)
        return predictor

    def predict(
        self,
        image: int,
        frame: int,
        prompts: Prompt | Sequence[Prompt],
        *,
        multimask: bool | None,
    ) -> Prediction:
        """The masks of prompts, best first; ``multimask`` as in `Predictor.predict`.

        Raises:
            PromptError: The prompt is invalid, or the model does not accept it.
            DataError, ScanError, CheckpointError: As in `prepare`.
        """
        predictor = self.prepare(image, frame)
        start = time.perf_counter()
        prediction: Prediction = predictor.predict(prompts, multimask=multimask)
        self._times = [*self._times[-_LATENCIES + 1 :], 1000 * (time.perf_counter() - start)]
        return prediction

    def accepts(self, kind: str) -> bool:
        """Whether the model takes a type of prompt: point, box or mask."""
        return kind in self.backend.preprocessor.prompt_types

    def _key(self, image: int, frame: int) -> tuple[int, int, int, int, bool]:
        row = self.scans.project.row("SELECT size, mtime_ns FROM images WHERE id = ?", image)
        version = (0, 0) if row is None else (int(row["size"]), int(row["mtime_ns"]))
        return (image, frame, *version, self.views)

    def _load(self) -> None:
        from ultrasam.runtimes.opening import open_backend
        from ultrasam.weights.spec import ModelSpec

        start = time.perf_counter()
        spec = ModelSpec.parse(self._spec)
        backend = open_backend(spec, device=self._device, runtime=self._runtime)
        weights = weights_hash_of(backend)
        runtime = runtime_of(backend)
        self._backend = backend
        self._info = ModelInfo(self._spec, weights, runtime)
        self._files = None if weights is None else EmbeddingFiles(backend, weights, runtime)
        logger.debug("Loaded %s in %.1f s.", self._spec, time.perf_counter() - start)

    def _keep(self, key: tuple[int, int, int, int, bool], predictor: Any) -> None:
        size = size_of(predictor.embeddings)
        self._ready[key] = predictor, size
        self._bytes += size
        while self._bytes > self._limit and len(self._ready) > 1:
            _, (_, size) = self._ready.popitem(last=False)
            self._bytes -= size


def prompt_of(
    prompts: Sequence[dict[str, Any]],
    *,
    mask: Float32 | BoolMask | None = None,
) -> Prompt:
    """The prompts that a person gave for one object, joined: all clicks, and the last box.

    Args:
        prompts: ``{"points": [[x, y, label], …], "box": [x0, y0, x1, y1] or None}``.
        mask: the mask so far, if there is one: its logits [S, S] or itself [H, W].

    Raises:
        PromptError: They are empty or malformed.
    """
    points = [point for one in prompts for point in one.get("points") or ()]
    boxes = [one["box"] for one in prompts if one.get("box")]
    return Prompt(
        points=[point[:2] for point in points] or None,
        labels=[point[2] for point in points] or None,
        box=boxes[-1] if boxes else None,
        mask=mask,
    )


def packed(logits: Float32) -> bytes:
    """Low-res logits [M, S, S] as bytes: zlib over float16."""
    return zlib.compress(np.ascontiguousarray(logits, np.float16).tobytes(), 1)


def unpacked(content: bytes, count: int) -> Float32 | None:
    """The logits [M, S, S] of `packed`, or None if they are damaged.

    Args:
        count: M.
    """
    try:
        values = np.frombuffer(zlib.decompress(content), np.float16)
        side = round((len(values) / count) ** 0.5)
        return values.reshape(count, side, side).astype(np.float32)
    except (zlib.error, ValueError, ZeroDivisionError):
        return None
