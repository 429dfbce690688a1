"""Errors as answers: ``{"detail": "one sentence"}``, with a status."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

from ultrasam.errors import (
    CheckpointError,
    DeviceError,
    DiskFullError,
    MissingDependencyError,
    UltraSamError,
)
from ultrasam.images.scan import TooLargeError
from ultrasam.serve.http.problems import GoneError, NotFoundError, RefusedError

logger = logging.getLogger(__name__)
Statuses = Sequence[tuple[type[Exception], int]]
_STATUSES: Statuses = (
    (GoneError, 410),
    (NotFoundError, 404),
    (TooLargeError, 413),
    (DiskFullError, 507),
    (MissingDependencyError, 501),
    (CheckpointError, 503),
    (DeviceError, 503),
)


def add_error_handlers(
    app: FastAPI,
    *,
    statuses: Statuses = (),
    said: Callable[[str], str] = str,
    more: Callable[[Request, UltraSamError], dict[str, Any]] = lambda request, error: {},
    traces: bool = True,
) -> None:
    """Answer every error with a sentence; an `UltraSamError` that nothing else is said of is a 422.

    Args:
        statuses: further classes of errors and their statuses, looked at first.
        said: what is told of a message, such as without the names of folders.
        more: what else the answer holds.
        traces: log a bug with its message; otherwise only where it is, as a message may hold names of files.
    """
    table = (*statuses, *_STATUSES)

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, UltraSamError)
        content = {"detail": said(str(error)), **more(request, error)}
        if isinstance(error, RefusedError):
            return JSONResponse(content, error.status, headers=error.headers)
        status = next((code for kind, code in table if isinstance(error, kind)), 422)
        return JSONResponse(content, status)

    async def bug(request: Request, error: Exception) -> JSONResponse:
        if traces:
            logger.error(
                "Internal error at %s %s", request.method, request.url.path, exc_info=error
            )
        else:
            logger.error("Internal error: %s at %s", type(error).__name__, _place(error))
        detail = f"Internal error: {type(error).__name__}; please report it, with what the terminal shows."
        return JSONResponse({"detail": detail}, 500)

    app.add_exception_handler(UltraSamError, refuse)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, bug)


def invalid_sentence(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors of a request as a sentence."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{where or 'The body'}: {message}."


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": invalid_sentence(error.errors())}, 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentences = {
        404: f"There is nothing at {request.url.path[:100]}.",
        405: f"{request.method} is not possible at {request.url.path[:100]}.",
    }
    detail = sentences.get(error.status_code, str(error.detail))
    return JSONResponse({"detail": detail}, error.status_code, headers=error.headers)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
