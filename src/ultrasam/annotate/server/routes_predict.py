"""Routes that predict without storing anything: in images of the project, and in those that are sent."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Query, Request
    from pydantic import Field

from ultrasam.annotate import requests as asked
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.dependencies import App, ImageId, Reader
from ultrasam.annotate.server.routes_images import waited_for
from ultrasam.annotate.wire import mask_json
from ultrasam.annotate.worker import Priority
from ultrasam.errors import DataError, PromptError
from ultrasam.images.scan import Scan
from ultrasam.prompts import Float32, Prediction, Prompt

router = APIRouter()
_MOST_PROMPTS = 100
Side = Annotated[int, Field(ge=1, le=20_000)]
UploadId = Annotated[str, Field(max_length=100)]


class Logits(asked.Request):
    """A mask as logits: float16 by rows, zlib, base64."""

    shape: tuple[Side, Side]
    data: Annotated[str, Field(max_length=10_000_000)]


class PredictPrompt(asked.Request):
    """A prompt for one object: clicks, a box, a mask so far, or several of these."""

    points: Annotated[tuple[asked.Click, ...], Field(max_length=1000)] = ()
    box: tuple[asked.Coordinate, asked.Coordinate, asked.Coordinate, asked.Coordinate] | None = None
    mask: Logits | None = None


class PredictRequest(asked.Request):
    """What to predict. ``multimask`` is that of `Predictor.predict`."""

    frame: asked.FrameIndex = 0
    prompts: Annotated[tuple[PredictPrompt, ...], Field(min_length=1, max_length=_MOST_PROMPTS)]
    multimask: bool | None = None
    logits: bool = False


@router.post("/images/{id}/predict")
def predict(app: App, reader: Reader, id: ImageId, request: PredictRequest) -> dict[str, Any]:
    """The masks of prompts in an image of the project; nothing is stored."""
    return _predicted(
        app, app.scans.scan(id), request,
        lambda prompt, several: app.segmentation.predict(
            id, request.frame, prompt, multimask=several
        ),
    )  # fmt: skip


@router.post("/uploads", status_code=201)
async def upload(
    app: App, reader: Reader, request: Request, name: Annotated[str, Query(max_length=255)] = ""
) -> dict[str, Any]:
    """Send an image, as the body, to predict in it; it is kept for an hour after its last use."""
    from starlette.concurrency import run_in_threadpool

    kept = await run_in_threadpool(app.uploads.add, await request.body(), name)
    return {
        "id": kept.id, "frames": kept.scan.num_frames, "width": kept.scan.width,
        "height": kept.scan.height,
    }  # fmt: skip


@router.post("/uploads/{id}/predict")
def predict_in_upload(
    app: App, reader: Reader, id: UploadId, request: PredictRequest
) -> dict[str, Any]:
    """The masks of prompts in an image that was sent."""
    return _predicted(
        app, app.uploads.get(id).scan, request,
        lambda prompt, several: app.uploads.predict(id, request.frame, prompt, multimask=several),
    )  # fmt: skip


@router.delete("/uploads/{id}", status_code=204)
def forget(app: App, reader: Reader, id: UploadId) -> None:
    """Forget an image that was sent."""
    app.uploads.remove(id)


def _predicted(
    app: Annotator,
    scan: Scan,
    request: PredictRequest,
    run: Callable[[Prompt, bool], Prediction],
) -> dict[str, Any]:
    if request.frame >= scan.num_frames:
        raise DataError(
            f"Frame {request.frame} does not exist; the image has {scan.num_frames}, from 0."
        )
    prompts = [_prompt(one) for one in request.prompts]

    def predict_all() -> list[Prediction]:
        found = []
        for prompt in prompts:
            several = request.multimask
            prediction = run(prompt, prompt.is_single_click if several is None else several)
            found.append(prediction)
        return found

    predictions = waited_for(app.worker.submit(Priority.preview, predict_all))
    count = 1 if request.multimask is None else None
    return {
        "width": scan.width, "height": scan.height,
        "predictions": [_prediction_json(one, count, request.logits) for one in predictions],
    }  # fmt: skip


def _prediction_json(
    prediction: Prediction, count: int | None, logits: bool
) -> list[dict[str, Any]]:
    """The candidates of one prompt, best first."""
    found = []
    for k, mask in enumerate(prediction.masks[0][:count]):
        one: dict[str, Any] = {
            "mask": mask_json(mask), "predicted_iou": float(prediction.predicted_iou[0, k]),
            "stability_score": float(prediction.stability_score[0, k]),
        }  # fmt: skip
        if logits:
            values = np.ascontiguousarray(prediction.low_res_logits[0, k], np.float16)
            one["logits"] = {
                "shape": list(values.shape),
                "data": base64.b64encode(zlib.compress(values.tobytes(), 1)).decode(),
            }
        found.append(one)
    return found


def _prompt(one: PredictPrompt) -> Prompt:
    return Prompt(
        points=[point[:2] for point in one.points] or None,
        labels=[point[2] for point in one.points] or None,
        box=one.box,
        mask=None if one.mask is None else _values(one.mask),
    )


def _values(logits: Logits) -> Float32:
    """The numbers of logits, [h, w]; no more is unpacked than they take."""
    size = 2 * math.prod(logits.shape)
    try:
        raw = zlib.decompressobj().decompress(
            base64.b64decode(logits.data, validate=True), size + 1
        )
    except (binascii.Error, zlib.error, ValueError) as error:
        raise PromptError("The prompt's mask is damaged; send float16, zlib, base64.") from error
    if len(raw) != size:
        raise PromptError(f"The prompt's mask does not have the {size // 2} values of its shape.")
    return np.frombuffer(raw, np.float16).reshape(logits.shape).astype(np.float32)
