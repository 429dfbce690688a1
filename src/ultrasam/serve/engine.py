"""Engine: from an image and prompts to masks, through the cache, admission and the queue before the model."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan
from ultrasam.prompts import Float32, Prediction, Prompt
from ultrasam.serve.admission import Admission, Ticket
from ultrasam.serve.answers import check_frame
from ultrasam.serve.batching import BatchingWorker, Done, Encode
from ultrasam.serve.cache import EmbeddedFrame, EmbeddingCache, pixels_key
from ultrasam.serve.embedding_files import EmbeddingFiles
from ultrasam.serve.http.problems import RefusedError, stopping
from ultrasam.serve.metrics import Metrics
from ultrasam.serve.served_model import ServedModel, only_kind, work_of

logger = logging.getLogger(__name__)
T = TypeVar("T")
READERS = 2  # threads that decode files; the processor is the model's
_WRITING = 8  # embeddings that wait to be written


@dataclass(frozen=True, slots=True)
class Image:
    """An image to predict in.

    Attributes:
        digest: SHA-256 of its file, hexadecimal.
        open: opens it; called in another thread, and only if the frame is not in the cache.
    """

    digest: str
    open: Callable[[], Scan]


@dataclass(slots=True)
class Timings:
    """What a request waited for, for the log.

    Attributes:
        queued_s, encode_s, decode_s: before the model was free, in the encoder, and from prompts to masks.
        source: where the embedding came from: memory, joined (another request waited for it already), disk,
            or encoded.
        prompts: how many there are.
    """

    queued_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    source: str | None = None
    prompts: int = 0


@dataclass(slots=True)
class _Read:
    """A frame that was read, by the key of its pixels: with its embedding, or what is encoded of it."""

    scan: Scan
    pixels: Frame
    key: str
    source: str = "encoded"
    embedded: EmbeddedFrame | None = None
    inputs: Float32 | None = None


@dataclass(slots=True)
class _Making:
    """An embedding that is being made, and how many requests wait for it."""

    task: asyncio.Task[tuple[EmbeddedFrame, Scan]]
    timings: Timings
    waiters: int = 0


class Engine:
    """Owns the model, its queue and its embeddings. All but `start` belongs on one event loop.

    Args:
        load: loads the model; called in the model's thread.
        admission: how much may be queued.
        cache: embeddings in memory.
        disk_bytes: of embeddings on the disk, of all models; 0 keeps none.
        metrics: hears of everything.
        failed: is called, in the model's thread, with why the model cannot be loaded.
    """

    def __init__(
        self,
        load: Callable[[], ServedModel],
        *,
        admission: Admission,
        cache: EmbeddingCache,
        disk_bytes: int,
        metrics: Metrics,
        failed: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self.admission, self.cache, self.metrics = admission, cache, metrics
        self._load, self._failed, self._disk_bytes = load, failed, disk_bytes
        self._model: ServedModel | None = None
        self._files: EmbeddingFiles | None = None
        self._making: dict[tuple[str, int], _Making] = {}
        self._orders = itertools.count()
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._writing = 0
        self._ahead = asyncio.Semaphore(1)
        self._worker = BatchingWorker(
            self._prepare, began=self._began, on_batch=metrics.batch_images.observe
        )
        self.is_ready = False

    @property
    def model(self) -> ServedModel:
        """The model.

        Raises:
            RefusedError: It is not loaded yet (503).
        """
        if self._model is None or not self.is_ready:
            raise RefusedError("The model is not loaded yet; ask again in 2 s.", 503, retry_after=2)
        return self._model

    def start(self) -> None:
        """Begin to load the model."""
        self._worker.start()

    def close(self) -> None:
        """Finish what runs, and drop what waits."""
        self._worker.close()
        for pool in (self._readers, self._writer):
            pool.shutdown(cancel_futures=True)

    async def predict(
        self,
        image: Image,
        frame: int,
        prompts: list[Prompt],
        *,
        multimask: bool | None,
        timings: Timings | None = None,
    ) -> tuple[Prediction, Scan]:
        """The masks of prompts in a frame, and the facts of its file. If it is canceled, so is its work.

        Raises:
            RefusedError: Too much is queued (429), or the model is not loaded yet (503).
            DataError: There is no such frame.
            PromptError, ScanError, UltraSamError: As in `Predictor` and in ``image.open``.
        """
        model, timings = self.model, timings or Timings()
        timings.prompts = len(prompts)
        key, work = (image.digest, frame), work_of(prompts)
        found = self.cache.find(*key)
        if found is None and key not in self._making:
            work["encode"] = 1
        order, ticket = next(self._orders), self.admission.admit(work)
        try:
            if found is not None:
                timings.source = "memory"
            else:
                found = await self._embedded(image, frame, order, ticket, timings)
            embedded, scan = found
            self.metrics.embeddings.labels(timings.source).inc()
            done = await _canceled_with(
                self._worker.run(
                    order, lambda: model.predict(embedded, prompts, multimask=multimask)
                )
            )
            ticket.answered()
        finally:
            ticket.close()
        kind = only_kind(prompts)
        if kind is not None:
            self.admission.observe(kind, done.ran_s / len(prompts))
        timings.queued_s += done.queued_s
        timings.decode_s = done.ran_s
        self.metrics.decode_seconds.observe(done.ran_s)
        self.metrics.queue_seconds.observe(timings.queued_s)
        prediction: Prediction = done.result
        return prediction, scan

    async def read(self, what: Callable[[], T]) -> T:
        """Run something that reads files, in a thread for it."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, what)

    async def _embedded(
        self, image: Image, frame: int, order: int, ticket: Ticket, timings: Timings
    ) -> tuple[EmbeddedFrame, Scan]:
        """The embedding of a frame: that for which another request waits already, or a new one."""
        key = image.digest, frame
        making = self._making.get(key)
        if making is None:
            own = ticket.take("encode")
            task = asyncio.create_task(self._make(image, frame, order, own, timings))
            making = self._making[key] = _Making(task, timings)
            task.add_done_callback(lambda _: self._forget(key, making))
        else:
            timings.source = "joined"
        making.waiters += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiters -= 1
            if not making.waiters and not making.task.done():
                self._forget(key, making)
                making.task.cancel()
                self.metrics.dropped.inc()

    def _forget(self, key: tuple[str, int], making: _Making) -> None:
        if self._making.get(key) is making:
            del self._making[key]

    async def _make(
        self, image: Image, frame: int, order: int, ticket: Ticket, timings: Timings
    ) -> tuple[EmbeddedFrame, Scan]:
        model = self.model
        try:
            async with self._ahead:  # no more decoded frames in memory than the model takes soon
                found = await self.read(lambda: self._read(image, frame, model))
                embedded, timings.source = found.embedded, found.source
                if embedded is None:
                    assert found.inputs is not None
                    done = await _canceled_with(self._worker.encode(order, found.inputs))
                    self.admission.observe("encode", done.ran_s)
                    self.metrics.encode_seconds.observe(done.ran_s)
                    timings.queued_s, timings.encode_s = done.queued_s, done.ran_s
                    embedded = EmbeddedFrame(found.pixels, done.result)
                    self._save(found.key, embedded)
            self.cache.put(image.digest, frame, found.key, found.scan, embedded)
            return embedded, found.scan
        finally:
            ticket.close()

    def _read(self, image: Image, frame: int, model: ServedModel) -> _Read:
        """A frame with its embedding, or what is encoded of it; called in a reader's thread."""
        scan = image.open()
        check_frame(scan, frame)
        pixels = scan.frame(frame)
        read = _Read(scan, pixels, pixels_key(pixels))
        read.embedded = self.cache.find_pixels(read.key)
        if read.embedded is not None:
            read.source = "memory"
            return read
        saved = None if self._files is None else self._files.read(read.key, 0, model.views)
        if saved is not None:
            read.embedded, read.source = EmbeddedFrame(pixels, saved), "disk"
            return read
        read.inputs = model.inputs(pixels)
        return read

    def _save(self, key: str, embedded: EmbeddedFrame) -> None:
        """Write embeddings to the disk when there is time; those that would wait for long are left out."""
        files = self._files
        if files is None or self._writing >= _WRITING:
            return
        self._writing += 1

        def written(_: Future[None]) -> None:
            self._writing -= 1

        self._writer.submit(files.write, key, 0, embedded.embeddings).add_done_callback(written)

    def _prepare(self) -> tuple[Encode, int]:
        model = self._load()
        model.measure()
        for kind, seconds in model.expected.items():
            self.admission.observe(kind, seconds)
        weights = model.info.weights
        if self._disk_bytes and weights is not None:
            self._files = EmbeddingFiles(
                model.backend, weights, model.info.runtime, limit=self._disk_bytes
            )
        self._model = model
        self._ahead = asyncio.Semaphore(2 * model.batch + 2)
        return model.backend.encode, model.batch

    def _began(self, error: BaseException | None) -> None:
        if error is None:
            assert self._model is not None
            self.is_ready = True
            self.metrics.model_is(self._model)
            logger.info(
                "Ready: %s in %s, %d ms per image in batches of up to %d.", self._model.info.title,
                self._model.info.runtime, 1000 * self._model.expected["encode"], self._model.batch,
            )  # fmt: skip
        else:
            self._failed(error)


async def _canceled_with(future: Future[Done]) -> Done:
    """The result of a job of the worker, which is canceled with who waits for it."""
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if future.cancelled() and not _is_canceled():
            raise stopping() from None
        raise


def _is_canceled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
