"""`create_app`: the annotator's web server, as an ASGI app."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, PlainTextResponse
    from fastapi.staticfiles import StaticFiles

from ultrasam._version import __version__
from ultrasam.annotate import problems
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.protocols.label_studio.media import Media
from ultrasam.annotate.protocols.label_studio.routes import router as label_studio
from ultrasam.annotate.protocols.monai_label.routes import router as monai_label
from ultrasam.annotate.server import (
    routes_files,
    routes_images,
    routes_jobs,
    routes_planes,
    routes_predict,
    routes_project,
    routes_readers,
    routes_strokes,
)
from ultrasam.annotate.server.guard import Guard
from ultrasam.annotate.server.security import Access
from ultrasam.errors import UltraSamError, one_line
from ultrasam.files import is_disk_full, no_space
from ultrasam.serve import routes_uploads
from ultrasam.serve.http.errors import add_error_handlers

_STATIC = Path(str(files("ultrasam.annotate"))) / "static"
_SHARED = Path(str(files("ultrasam.web"))) / "site"
_STATUSES = (
    (problems.NothingToUndoError, 409),
    (problems.ConflictError, 409),
    (problems.ReplacedError, 409),
    (problems.LeasedError, 423),
    (problems.StorageError, 507),
)


def create_app(
    annotator: Annotator,
    access: Access,
    *,
    label_studio_address: str | None = None,
    label_studio_key: str | None = None,
) -> FastAPI:
    """The app that serves a project.

    Args:
        annotator: the open project.
        access: who may ask for what.
        label_studio_address, label_studio_key: where the images of Label Studio's tasks are, and an access
            token of its user.

    Raises:
        ConfigError: The address is no http or https address.
    """
    app = FastAPI(
        title="UltraSam annotator", version=__version__, openapi_url="/v1/openapi.json", docs_url=None,
        redoc_url=None,
        description="Label ultrasound images. Changes need the header `X-UltraSam: 1`.",
    )  # fmt: skip
    app.state.annotator, app.state.access = annotator, access
    for routes in (
        routes_project,
        routes_images,
        routes_planes,
        routes_strokes,
        routes_jobs,
        routes_files,
        routes_readers,
        routes_predict,
    ):
        app.include_router(routes.router, prefix="/v1")
    app.include_router(routes_uploads.router)
    app.state.images = routes_predict.SentImages(annotator)
    for tool in (label_studio, monai_label):
        app.include_router(tool)
    app.state.media = Media(
        annotator.project.folder, label_studio_address, label_studio_key,
        most_bytes=access.upload_bytes,
    )  # fmt: skip
    add_error_handlers(
        app, statuses=_STATUSES, said=annotator.scans.without_folder, more=_object_in_conflict
    )
    app.add_exception_handler(sqlite3.OperationalError, _storage)
    app.add_api_route("/healthz", _health, include_in_schema=False)
    app.mount("/shared", StaticFiles(directory=_SHARED), name="shared")
    if (_STATIC / "index.html").is_file():
        app.mount("/", StaticFiles(directory=_STATIC, html=True), name="page")
    else:
        app.add_api_route("/", _no_page, include_in_schema=False)
    app.add_middleware(Guard, access=access)
    return app


def _health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


def _no_page() -> PlainTextResponse:
    return PlainTextResponse("This installation has no page; the HTTP API is below /v1.\n")


def _object_in_conflict(request: Request, error: UltraSamError) -> dict[str, Any]:
    if not isinstance(error, problems.ConflictError):
        return {}
    annotator: Annotator = request.app.state.annotator
    return {"object": routes_strokes.object_as_it_is(annotator, error.object, error.frame)}


async def _storage(request: Request, error: Exception) -> JSONResponse:
    annotator: Annotator = request.app.state.annotator
    if is_disk_full(error) or "disk is full" in str(error):
        return JSONResponse({"detail": str(no_space(annotator.project.file, error))}, 507)
    detail = f"The project file cannot be used now: {one_line(error)}; try again."
    return JSONResponse({"detail": detail}, 503)
