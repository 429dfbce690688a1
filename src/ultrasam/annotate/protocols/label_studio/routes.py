"""Routes of an ML backend, below ``/label-studio``: that is the address to give to Label Studio.

Sources: label_studio_ml/api.py of HumanSignal/label-studio-ml-backend, and label_studio/ml/api_connector.py
of HumanSignal/label-studio, which calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Request
    from pydantic import BaseModel, Field

from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.images import image_by_path
from ultrasam.annotate.protocols.label_studio.labeling_config import LabelingConfig
from ultrasam.annotate.protocols.label_studio.media import Media
from ultrasam.annotate.protocols.label_studio.prompts import Context, asked_for
from ultrasam.annotate.protocols.label_studio.results import regions_of
from ultrasam.annotate.server.dependencies import App, Reader
from ultrasam.annotate.server.routes_images import waited_for
from ultrasam.annotate.worker import Priority
from ultrasam.errors import DataError, PromptError
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prediction

PREFIX = "/label-studio"
Predict = Callable[..., Prediction]
router = APIRouter(prefix=PREFIX, include_in_schema=False)
Config = Annotated[str, Field(max_length=1_000_000)]


class _Body(BaseModel):
    """A body of Label Studio, which adds keys from version to version."""


class _Task(_Body):
    data: dict[str, Any] = {}


class _Params(_Body):
    context: Context | None = None


class PredictRequest(_Body):
    """Tasks to predict; interactively, one task with what was clicked."""

    tasks: Annotated[list[_Task], Field(max_length=10_000)]
    label_config: Config = ""
    params: _Params | None = None


class SetupRequest(_Body):
    """A project that is connected. Its ``hostname`` and ``access_token`` are not used: who may be asked for
    images is decided where the server is started."""

    schema_: Annotated[Config, Field(alias="schema")] = ""


class WebhookRequest(_Body):
    """Something has happened in Label Studio."""

    action: Annotated[str, Field(max_length=100)]


@router.get("/health")
@router.get("/")
def health(app: App, reader: Reader) -> dict[str, str]:
    """That the backend is up."""
    return {"status": "UP", "model_class": "UltraSam"}


@router.get("/metrics")
def metrics(app: App, reader: Reader) -> dict[str, Any]:
    """Nothing is measured here."""
    return {}


@router.get("/versions")
def versions(app: App, reader: Reader) -> dict[str, list[str]]:
    """The version of the model, which results name."""
    return {"versions": [_version(app)]}


@router.post("/setup")
def setup(app: App, reader: Reader, body: SetupRequest) -> dict[str, str]:
    """Check a project's labeling configuration."""
    if body.schema_.strip():
        LabelingConfig.parse(body.schema_)
    return {"model_version": _version(app)}


@router.post("/webhook", status_code=201)
def webhook(app: App, reader: Reader, body: WebhookRequest) -> dict[str, str]:
    """Take note of an event. Nothing is trained: Label Studio's annotations are not in this project."""
    return {
        "status": "ignored", "action": body.action,
        "detail": "Export the annotations and import them here to train on them.",
    }  # fmt: skip


@router.post("/predict")
def predict(app: App, reader: Reader, request: Request, body: PredictRequest) -> dict[str, Any]:
    """The mask of what was clicked; without clicks, an empty result for each task."""
    version = _version(app)
    context = body.params.context if body.params else None
    if context is None or not context.result:
        empty = {"result": [], "score": 0.0, "model_version": version}
        return {"results": [empty] * len(body.tasks), "model_version": version}
    if len(body.tasks) != 1:
        raise DataError(f"Clicks belong to one task, but {len(body.tasks)} were sent.")
    config = LabelingConfig.parse(body.label_config)
    name = _image_name(context, config)
    reference = body.tasks[0].data.get(config.images.get(name, ""))
    if not isinstance(reference, str) or not reference:
        raise DataError(
            f"The task has no data '{config.images.get(name, '')[:80]}' with the address of an image."
        )
    scan, run = _image(app, request.app.state.media, reference)
    asked = asked_for(context, scan.width, scan.height)
    control = config.control_for(name, asked.label)
    multimask = asked.prompt.is_single_click
    prediction: Prediction = waited_for(
        app.worker.submit(Priority.preview, partial(run, asked.prompt, multimask=multimask))
    )
    mask, score = prediction.masks[0, 0], round(float(prediction.predicted_iou[0, 0]), 4)
    if not mask.any():
        raise PromptError(
            "The model found nothing there; click elsewhere, or draw a rectangle around it."
        )
    regions = regions_of(mask, control, asked.label, score)
    result = {"result": regions, "score": score, "model_version": version}
    return {"results": [result], "model_version": version}


def _version(app: Annotator) -> str:
    info = app.segmentation.info
    return app.segmentation.name if info is None else info.title


def _image_name(context: Context, config: LabelingConfig) -> str:
    """Which image of the configuration was clicked in."""
    named = [region.to_name for region in context.result if region.to_name in config.images]
    if named:
        return named[-1]
    if len(config.images) != 1:
        raise DataError(
            f"The labeling configuration has {len(config.images)} <Image> tags; one is needed."
        )
    return next(iter(config.images))


def _image(app: Annotator, media: Media, reference: str) -> tuple[Scan, Predict]:
    """The image of a task, and what predicts in it.

    Raises:
        DataError: It has several frames.
    """
    path = media.local_path(reference)
    id = None if path is None else image_by_path(app.project, path)
    if id is not None:
        scan, predict = app.scans.scan(id), partial(app.segmentation.predict, id, 0)
    else:
        content, name = media.fetch(reference) if path is None else (path.read_bytes(), path.name)
        upload = app.uploads.add(content, name)
        scan, predict = upload.scan, partial(app.uploads.predict, upload.id, 0)
    if scan.num_frames != 1:
        raise DataError(
            "The task's image has several frames, which Label Studio does not show; use 'ultrasam annotate'."
        )
    return scan, predict
