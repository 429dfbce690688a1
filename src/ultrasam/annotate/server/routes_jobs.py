"""Routes of work beyond a click: propagation, interpolation, suggestions, and the jobs that run it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Path
    from pydantic import Field

from ultrasam.annotate import requests as asked
from ultrasam.annotate.project.images import image_row
from ultrasam.annotate.propagation import interpolate, propagate_objects
from ultrasam.annotate.server.dependencies import App, ImageId, Reader
from ultrasam.annotate.server.routes_images import waited_for
from ultrasam.annotate.suggestions import rank_images, reuse_prompts, suggest_masks
from ultrasam.annotate.training import TrainSettings, train_on_project
from ultrasam.annotate.worker import Priority

router = APIRouter()
JobId = Annotated[int, Path(ge=1, le=2**53)]


class PropagateRequest(asked.Request):
    """Objects to carry from a frame; None takes all that have a mask there."""

    objects: Annotated[tuple[asked.ObjectId, ...], Field(max_length=1000)] | None = None
    frame: asked.FrameIndex = 0
    direction: Literal["both", "forward", "backward"] = "both"


class InterpolateRequest(asked.Request):
    """An object, and the range of frames whose gaps are filled."""

    object: asked.ObjectId
    first: Annotated[int, Field(alias="from", ge=0, le=1_000_000)]
    last: Annotated[int, Field(alias="to", ge=0, le=1_000_000)]
    key: asked.Key | None = None


class AutomaticRequest(asked.Request):
    """The frame to look for regions in, with a grid of clicks."""

    frame: asked.FrameIndex = 0
    points_per_side: Annotated[int, Field(ge=1, le=64)] = 16


class ReuseRequest(asked.Request):
    """The image whose prompts are used again."""

    source: Annotated[int, Field(alias="from", ge=1, le=2**53)]
    frame: asked.FrameIndex = 0


class RankRequest(asked.Request):
    """How many images to rate, new ones first."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 1000


class TrainRequest(asked.Request):
    """Whose masks to train on, and for how many steps; null takes all, and leaves it to their number."""

    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    readers: (
        Annotated[
            tuple[Annotated[str, Field(max_length=60)], ...], Field(min_length=1, max_length=100)
        ]
        | None
    ) = None


@router.post("/images/{id}/propagate", status_code=202)
def start_propagation(
    app: App, reader: Reader, id: ImageId, request: PropagateRequest
) -> dict[str, Any]:
    """Carry objects to other frames, as drafts; drawn and accepted frames are never changed."""
    image_row(app.project, id, reader)
    app.leases.check(id, reader)
    return app.jobs.start(
        "propagate", reader, request.model_dump(), image=id,
        run=lambda job: propagate_objects(
            app.project, app.scans, job, image=id, reader=reader, objects=request.objects,
            frame=request.frame, direction=request.direction,
        ),
    )  # fmt: skip


@router.post("/images/{id}/interpolate")
def fill_between(
    app: App, reader: Reader, id: ImageId, request: InterpolateRequest
) -> dict[str, Any]:
    """Fill the frames between accepted masks of an object, as drafts."""
    image_row(app.project, id, reader)
    app.leases.check(id, reader)
    frames = waited_for(
        app.worker.submit(
            Priority.stroke,
            lambda: interpolate(
                app.project, app.scans, image=id, reader=reader, object=request.object,
                first=request.first, last=request.last, key=request.key or str(uuid.uuid4()),
            ),
        )
    )  # fmt: skip
    app.events.publish("image", id=id, reader=reader)
    return {"frames": frames}


@router.post("/images/{id}/automatic", status_code=202)
def start_suggestions(
    app: App, reader: Reader, id: ImageId, request: AutomaticRequest
) -> dict[str, Any]:
    """Suggest objects for a frame."""
    image_row(app.project, id, reader)
    app.leases.check(id, reader)
    return app.jobs.start(
        "automatic", reader, request.model_dump(), image=id,
        run=lambda job: suggest_masks(
            app.tools, job, image=id, reader=reader, frame=request.frame,
            points_per_side=request.points_per_side,
        ),
    )  # fmt: skip


@router.post("/images/{id}/reuse")
def reuse(app: App, reader: Reader, id: ImageId, request: ReuseRequest) -> dict[str, Any]:
    """Suggest objects by the prompts of another image."""
    image_row(app.project, id, reader)
    image_row(app.project, request.source, reader)
    app.leases.check(id, reader)
    objects, notes = waited_for(
        app.worker.submit(
            Priority.stroke,
            lambda: reuse_prompts(
                app.tools, image=id, reader=reader, frame=request.frame, source=request.source
            ),
        )
    )
    app.events.publish("image", id=id, reader=reader)
    return {"objects": objects, "notes": notes}


@router.post("/train", status_code=202)
def start_training(app: App, reader: Reader, request: TrainRequest) -> dict[str, Any]:
    """Train on the accepted masks, and go on with the new weights if they are better on held-out images."""
    settings = TrainSettings(app.segmentation.name, request.steps, request.readers)
    return app.jobs.start(
        "train", reader, request.model_dump(),
        run=lambda job: train_on_project(
            app.project, app.scans, app.segmentation, job, settings, out=app.runs_folder,
            swap=app.use_model,
        ),
    )  # fmt: skip


@router.post("/rank", status_code=202)
def start_ranking(app: App, reader: Reader, request: RankRequest) -> dict[str, Any]:
    """Rate images by the model's uncertainty, for their order."""
    rows = app.project.rows(
        "SELECT i.id FROM images i LEFT JOIN readings r ON r.image = i.id AND r.reader = ? "
        "WHERE i.missing = 0 AND i.uncertainty IS NULL AND coalesce(r.state, 'new') != 'done' "
        "ORDER BY i.path LIMIT ?",
        reader, request.limit,
    )  # fmt: skip
    images = [int(row["id"]) for row in rows]
    return app.jobs.start(
        "rank", reader, request.model_dump(), run=lambda job: rank_images(app.tools, job, images)
    )


@router.get("/jobs")
def jobs(app: App, reader: Reader) -> dict[str, Any]:
    """The latest jobs, newest first."""
    return {"jobs": app.jobs.all()}


@router.get("/jobs/{id}")
def job(app: App, reader: Reader, id: JobId) -> dict[str, Any]:
    """One job."""
    return app.jobs.job(id)


@router.delete("/jobs/{id}")
def cancel_job(app: App, reader: Reader, id: JobId) -> dict[str, Any]:
    """Cancel a job; what it has written stays."""
    return app.jobs.cancel(id)
