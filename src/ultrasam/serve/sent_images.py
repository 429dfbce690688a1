"""SentImages: images that clients send or name, predicted in by the engine as long as the client waits."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request

from ultrasam.serve.answers import prediction_json
from ultrasam.serve.archive import Archive
from ultrasam.serve.engine import READERS, Engine, Image, Timings
from ultrasam.serve.http.problems import NotFoundError, RefusedError
from ultrasam.serve.requests import DicomWebSource, Instance, PathSource, PredictRequest
from ultrasam.serve.scans import RootFolder
from ultrasam.serve.uploads import Upload, Uploads

T = TypeVar("T")
_LARGE = 1_000_000


class SentImages:
    """What the routes need, over an engine.

    Args:
        engine: predicts.
        uploads: keeps what was sent.
        root: where images are that clients name by their paths; None if they cannot.
        archive: where instances are that clients name by their UIDs; None if they cannot.
    """

    def __init__(
        self,
        engine: Engine,
        uploads: Uploads,
        *,
        root: RootFolder | None = None,
        archive: Archive | None = None,
    ) -> None:
        self._engine, self._uploads = engine, uploads
        self._root, self._archive = root, archive

    async def add(self, content: bytes, name: str) -> Upload:
        """Keep an image.

        Raises:
            RefusedError: Too much is queued (429).
            ScanError: It is not a readable image.
        """
        if not content:
            raise RefusedError("The body is empty; send the image as the body.", 422)
        admission = self._engine.admission

        def keep() -> Upload:
            start = time.perf_counter()
            kept = self._uploads.add(content, name)
            admission.observe("read", (time.perf_counter() - start) / READERS)
            return kept

        ticket = admission.admit({"read": 1})
        try:
            return await self._engine.read(keep)
        finally:
            ticket.close()

    def get(self, id: str) -> Upload:
        """An image by its id, which is the SHA-256 of its content."""
        return self._uploads.get(id)

    def remove(self, id: str) -> None:
        """Forget an image."""
        self._uploads.remove(id)

    async def predict(
        self, upload: Upload, request: PredictRequest, about: Request
    ) -> dict[str, Any]:
        """The masks of prompts in an image."""
        image = Image(upload.digest, lambda: upload.scan)
        return await self._predicted(image, request, about)

    async def predict_in_content(
        self, content: bytes, name: str, request: PredictRequest, about: Request
    ) -> dict[str, Any]:
        """The masks of prompts in an image that comes with the request; it is kept as an upload."""
        if not content:
            raise RefusedError("The part 'image' is empty; send the image's file.", 422)
        digest = await _digest(content)
        add = partial(self._uploads.add, content, name, digest=digest)
        image = Image(digest, lambda: add().scan)
        return {**await self._predicted(image, request, about), "image": digest}

    async def predict_in_source(
        self, source: PathSource | DicomWebSource, request: PredictRequest, about: Request
    ) -> dict[str, Any]:
        """The masks of prompts in an image that the server fetches by itself.

        Raises:
            NotFoundError: It is not there, or the server was given no such place.
            RefusedError: Too many wait for the archive (429), or it fails (502).
        """
        if isinstance(source, DicomWebSource):
            kept = await while_connected(about, self._from_archive(source.dicomweb))
            return await self.predict(kept, request, about)
        if self._root is None:
            raise NotFoundError(
                "This server reads no files; start it with --root FOLDER, or send the image."
            )
        path, digest = await self._engine.read(partial(self._root.find, source.path))
        reader = self._uploads.read
        return await self._predicted(Image(digest, lambda: reader(path)), request, about)

    async def _from_archive(self, named: Instance) -> Upload:
        """An instance of the archive, which is kept as if it was sent."""
        if self._archive is None:
            raise NotFoundError(
                "This server has no archive; start it with --dicomweb ADDRESS, or send the image."
            )
        uids = named.study, named.series, named.instance
        known = self._archive.digest(uids)
        if known is not None:
            with suppress(NotFoundError):  # forgotten by now
                return self._uploads.get(known)
        kept = await self.add(await self._archive.retrieve(uids), "instance.dcm")
        self._archive.remember(uids, kept.digest)
        return kept

    async def _predicted(
        self, image: Image, request: PredictRequest, about: Request
    ) -> dict[str, Any]:
        prompts = request.all_prompts()
        timings: Timings = about.state.timings
        prediction, scan = await while_connected(
            about,
            self._engine.predict(
                image, request.frame, prompts, multimask=request.multimask, timings=timings
            ),
        )
        return await run_in_threadpool(prediction_json, prediction, scan, request)


async def _digest(content: bytes) -> str:
    """SHA-256, hexadecimal; in another thread if that takes longer than to get there."""
    if len(content) > _LARGE:
        return await run_in_threadpool(lambda: hashlib.sha256(content).hexdigest())
    return hashlib.sha256(content).hexdigest()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is canceled if the client closes the connection.

    Raises:
        RefusedError: It did; nobody reads the answer.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RefusedError("The client closed the connection.", 499)
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
