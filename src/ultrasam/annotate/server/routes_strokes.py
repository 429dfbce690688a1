"""Routes that change masks: previews, strokes, undo and redo."""

from __future__ import annotations

import time
from typing import Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter

from ultrasam.annotate import requests as asked
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.history import (
    changed_by,
    content_after,
    history_of,
    undo,
)
from ultrasam.annotate.project.images import image_row
from ultrasam.annotate.project.masks import content_by_id, mask_of
from ultrasam.annotate.project.objects import object_by_id
from ultrasam.annotate.project.project import now
from ultrasam.annotate.prompting import prompted
from ultrasam.annotate.server.dependencies import App, ImageId, Reader
from ultrasam.annotate.server.routes_images import waited_for
from ultrasam.annotate.strokes import Outcome, apply_stroke, own_object
from ultrasam.annotate.wire import entry_json, history_json, mask_json, object_json, stroke_json
from ultrasam.annotate.worker import Priority

router = APIRouter(prefix="/images")


@router.post("/{id}/preview")
def preview(app: App, reader: Reader, id: ImageId, request: asked.PreviewRequest) -> dict[str, Any]:
    """What prompts would make of an object's mask, or of a new one's; nothing is kept.

    A newer preview of the same reader cancels those that wait, which answer 409.
    """
    image_row(app.project, id, reader)
    so_far = None
    if request.object is not None:
        own_object(app.project, request.object, id, reader)
        so_far = mask_of(app.project, request.object, request.frame)

    def run() -> dict[str, Any]:
        found = prompted(
            app.segmentation, id, request.frame, [one.as_dict() for one in request.prompts],
            object="", so_far=so_far,
        )  # fmt: skip
        return {
            "mask": mask_json(found.mask),
            "candidates": [
                {"mask": mask_json(mask), "predicted_iou": round(float(iou), 4)}
                for mask, iou in zip(found.offered, found.predicted_iou, strict=True)
            ],
        }

    found: dict[str, Any] = waited_for(
        app.worker.submit(Priority.preview, run, group=f"preview {reader}")
    )
    return found


@router.post("/{id}/strokes")
def stroke(app: App, reader: Reader, id: ImageId, request: asked.StrokeRequest) -> dict[str, Any]:
    """Apply one action of a person; it is on disk when the answer comes.

    The same key again gives the same answer. 409, with the object as it is, if `base_version` is not the
    version of the mask.
    """
    start = time.perf_counter()
    app.leases.check(id, reader)
    app.worker.cancel(f"preview {reader}")
    outcome: Outcome = waited_for(
        app.worker.submit(Priority.stroke, lambda: apply_stroke(app.tools, id, reader, request))
    )
    if outcome.stroke is not None:
        app.events.publish("image", reader=reader, **_reading(app, id, reader))
    saved = None if outcome.stroke is None else outcome.stroke.time
    return {
        "object": _object_after(app, outcome),
        "changed": list(outcome.changed),
        "stroke": None if outcome.stroke is None else stroke_json(outcome.stroke),
        "image": _reading(app, id, reader),
        "history": history_json(history_of(app.project, id, reader)),
        "saved": saved,
        "ms": round(1000 * (time.perf_counter() - start), 1),
    }


@router.post("/{id}/undo")
def undo_stroke(
    app: App, reader: Reader, id: ImageId, request: asked.UndoRequest
) -> dict[str, Any]:
    """Undo the latest action in the image, or the latest stroke of one object."""
    return _undone(app, reader, id, request, again=False)


@router.post("/{id}/redo")
def redo_stroke(
    app: App, reader: Reader, id: ImageId, request: asked.UndoRequest
) -> dict[str, Any]:
    """Redo what was undone last, in the image or of one object."""
    return _undone(app, reader, id, request, again=True)


def object_as_it_is(app: Annotator, object: str, frame: int) -> dict[str, Any]:
    """An object with its present mask in a frame."""
    mask = mask_of(app.project, object, frame)
    one = object_by_id(app.project, object, deleted=True)
    scan = app.scans.scan(one.image)
    return object_json(one, None if mask is None else entry_json(mask, scan))


def _object_after(app: Annotator, outcome: Outcome) -> dict[str, Any] | None:
    """The object of a stroke with the mask that the stroke gave it."""
    if outcome.object is None:
        return None
    content = None
    if outcome.stroke is not None:
        content = content_after(app.project, outcome.stroke.id, outcome.object, outcome.frame)
    if content is None:
        return object_as_it_is(app, outcome.object, outcome.frame)
    one = object_by_id(app.project, outcome.object, deleted=True)
    return object_json(
        one, entry_json(content_by_id(app.project, content), app.scans.scan(one.image))
    )


def _undone(
    app: Annotator, reader: str, id: int, request: asked.UndoRequest, *, again: bool
) -> dict[str, Any]:
    start = time.perf_counter()
    app.leases.check(id, reader)
    image_row(app.project, id, reader)
    if request.object is not None:
        object_by_id(app.project, request.object, deleted=True)
    strokes = waited_for(
        app.worker.submit(
            Priority.stroke,
            lambda: app.repeats.once(
                request.key, lambda: undo(app.project, id, reader, request.object, again=again)
            ),
        )
    )
    app.events.publish("image", reader=reader, **_reading(app, id, reader))
    changed = changed_by(app.project, [one.id for one in strokes])
    about = strokes[0]
    object, deleted = None, None
    if about.object is not None:
        frames = [frame for one, frame in changed if one == about.object and frame is not None]
        shown = about.frame if about.frame in frames or not frames else frames[0]
        object = object_as_it_is(app, about.object, shown or 0)
        deleted = about.object if object["deleted"] else None
    return {
        "object": object,
        "deleted": deleted,
        "frame": about.frame,
        "which": about.name,
        "all": len({(one, frame) for one, frame in changed if frame is not None}) > 1,
        "changed": [{"object": one, "frame": frame} for one, frame in changed],
        "strokes": [stroke_json(one) for one in strokes],
        "image": _reading(app, id, reader),
        "history": history_json(history_of(app.project, id, reader)),
        "saved": now(),
        "ms": round(1000 * (time.perf_counter() - start), 1),
    }


def _reading(app: Annotator, id: int, reader: str) -> dict[str, Any]:
    row = image_row(app.project, id, reader)
    flags = [name for name in ("flagged", "empty") if row[name]]
    return {
        "id": id, "state": row["state"], "flags": flags, "note": row["note"], "empty": bool(row["empty"]),
    }  # fmt: skip
