"""`create_app`: the inference server as an ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from fastapi import FastAPI
    from fastapi.openapi.utils import get_openapi

from ultrasam._version import __version__
from ultrasam.serve import routes, routes_uploads
from ultrasam.serve.admission import Admission
from ultrasam.serve.archive import Archive
from ultrasam.serve.cache import EmbeddingCache
from ultrasam.serve.engine import Engine
from ultrasam.serve.guard import OPEN, UPLOADS, ServeGuard
from ultrasam.serve.http.access import HostAccess
from ultrasam.serve.http.drain import Drain, Draining
from ultrasam.serve.http.errors import add_error_handlers
from ultrasam.serve.metrics import Metrics
from ultrasam.serve.request_log import RequestLog
from ultrasam.serve.scans import RootFolder, ScanReader
from ultrasam.serve.sent_images import SentImages
from ultrasam.serve.served_model import ServedModel
from ultrasam.serve.uploads import Uploads

_STATE = (*OPEN, "/metrics")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes at most.

    Attributes:
        queued_s: seconds of queued work.
        upload_bytes: of an image's file.
        pixels, frames: of an image, by its header.
        bodies: bytes of requests that arrive or are answered.
        memory: bytes of frames and embeddings in memory.
        disk: bytes of embeddings on the disk; 0 keeps none.
        uploads: bytes of images that were sent, in the temporary folder.
    """

    queued_s: float = 10.0
    upload_bytes: int = 64_000_000
    pixels: int = 25_000_000
    frames: int = 10_000
    bodies: int = 512_000_000
    memory: int = 1_000_000_000
    disk: int = 2_000_000_000
    uploads: int = 1_000_000_000


def create_app(
    load: Callable[[], ServedModel],
    access: HostAccess,
    *,
    limits: Limits = Limits(),
    root: Path | None = None,
    archive: Archive | None = None,
    drain: Drain | None = None,
    failed: Callable[[BaseException], object] = lambda error: None,
) -> FastAPI:
    """The app; it loads its model when it starts.

    Args:
        load: loads the model, in the thread that will use it.
        access: who may ask.
        limits: what is taken at most.
        root: a folder whose files clients may name; None for none.
        archive: whose instances clients may name; None for none. It is closed with the app.
        drain: told when the server stops.
        failed: is called with why the model cannot be loaded.
    """
    drain, metrics = drain or Drain(), Metrics()
    admission, cache = Admission(limits.queued_s), EmbeddingCache(limits.memory)
    reader = ScanReader(pixels=limits.pixels, frames=limits.frames)

    uploads = Uploads(most_bytes=limits.uploads, read=reader.open)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        engine = Engine(
            load, admission=admission, cache=cache, disk_bytes=limits.disk, metrics=metrics,
            failed=failed,
        )  # fmt: skip
        folder = None if root is None else RootFolder(root, most_bytes=limits.upload_bytes)
        app.state.engine, app.state.images = (
            engine,
            SentImages(engine, uploads, root=folder, archive=archive),
        )
        engine.start()
        try:
            yield
        finally:
            engine.close()
            uploads.close()
            if archive is not None:
                archive.close()

    app = FastAPI(
        title="UltraSam", version=__version__, docs_url=None, redoc_url=None, lifespan=running,
        description="Segments what prompts point at in ultrasound images. Masks are in the image's pixels.",
    )  # fmt: skip
    app.state.drain, app.state.metrics, app.state.uploads = drain, metrics, uploads
    metrics.gauge("queued_seconds", "Seconds of queued work.", lambda: admission.queued_s)
    metrics.gauge("answering", "Requests that are being answered.", lambda: drain.answering)
    metrics.gauge("cache_bytes", "Bytes of embeddings in memory.", lambda: cache.bytes)
    metrics.gauge("cache_frames", "Frames in memory.", lambda: len(cache))
    app.include_router(routes.router)
    app.include_router(routes_uploads.router)
    app.include_router(routes.state_router)
    add_error_handlers(app, traces=False)
    app.add_middleware(Draining, drain=drain, always=_STATE)
    app.add_middleware(
        ServeGuard, access=access, bodies=limits.bodies, check_room=admission.check_room
    )
    app.add_middleware(RequestLog, metrics=metrics, quiet=_STATE, known=UPLOADS)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """OpenAPI's description, with the bodies that a route reads by itself."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = found["components"]["schemas"]
        for kind in routes.SCHEMAS:
            schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[kind.__name__] = schema
        app.openapi_schema = found
    return app.openapi_schema
