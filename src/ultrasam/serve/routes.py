"""Routes of the inference server, besides `routes_uploads`: prediction in one request, and its state."""

from __future__ import annotations

from typing import Any, TypeVar

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from fastapi import APIRouter, Request, Response
    from pydantic import ValidationError
    from starlette.datastructures import UploadFile

from ultrasam._version import __version__
from ultrasam.serve.engine import Engine
from ultrasam.serve.http.drain import Drain
from ultrasam.serve.http.errors import invalid_sentence
from ultrasam.serve.http.problems import RefusedError, stopping
from ultrasam.serve.metrics import Metrics
from ultrasam.serve.requests import PredictRequest, SourcedRequest
from ultrasam.serve.routes_uploads import WHAT_GOES_WRONG, Predictions
from ultrasam.serve.sent_images import SentImages
from ultrasam.serve.served_model import state_of

M = TypeVar("M", bound=PredictRequest)
router = APIRouter(prefix="/v1")
state_router = APIRouter()
# What the description of the API has besides what FastAPI finds by itself.
SCHEMAS = (PredictRequest, SourcedRequest)
_REF = "#/components/schemas/"
_PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "request"],
                    "properties": {
                        "image": {
                            "type": "string", "format": "binary",
                            "description": "The file; of its name, only the suffix counts.",
                        },
                        "request": {"$ref": f"{_REF}PredictRequest"},
                    },
                },
                "encoding": {"request": {"contentType": "application/json"}},
            },
            "application/json": {"schema": {"$ref": f"{_REF}SourcedRequest"}},
        },
    }
}  # fmt: skip


@router.post(
    "/predict", response_model=Predictions, response_model_exclude_unset=True,
    openapi_extra=_PREDICT_BODY, responses=WHAT_GOES_WRONG,
)  # fmt: skip
async def predict(request: Request) -> Any:
    """The masks of prompts in an image: as a form with the parts ``image`` (its file) and ``request`` (JSON),
    or as JSON with a ``source`` from which the server reads it."""
    images: SentImages = request.app.state.images
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        sourced = _validated(SourcedRequest, await request.body())
        return await images.predict_in_source(sourced.source, sourced, request)
    if kind != "multipart/form-data":
        raise RefusedError(
            "Send multipart/form-data with the parts 'image' and 'request', or application/json.",
            415,
        )
    async with request.form(max_files=1, max_fields=1) as form:
        image, asked = form.get("image"), form.get("request")
        if not isinstance(image, UploadFile):
            raise RefusedError("The part 'image' is missing; send the image's file in it.", 422)
        if not isinstance(asked, str):
            raise RefusedError("The part 'request' is missing; send JSON in it.", 422)
        content, name = await image.read(), image.filename or ""
    return await images.predict_in_content(
        content, name, _validated(PredictRequest, asked), request
    )


@router.get("/model")
def model(request: Request) -> dict[str, Any]:
    """What runs: its name, the hash of its weights, and the types of prompts that it takes."""
    engine: Engine = request.app.state.engine
    return {**state_of(engine.model), "version": __version__}


@state_router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok", "version": __version__}


@state_router.get("/ready", responses={503: {"description": "It loads the model, or stops."}})
async def ready(request: Request) -> dict[str, str]:
    """The model is loaded, and the server does not stop: requests are accepted."""
    drain: Drain = request.app.state.drain
    engine: Engine = request.app.state.engine
    if drain.is_draining:
        raise stopping()
    return {"status": "ready", "model": engine.model.info.title}


@state_router.get(
    "/metrics", response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)  # fmt: skip
def metrics(request: Request) -> Response:
    """Counts and times, as Prometheus reads them."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _validated(kind: type[M], body: bytes | str) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RefusedError(invalid_sentence(error.errors()), 422) from error
