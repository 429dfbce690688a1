"""Routes of images: their list, frames, thumbnails, objects and masks."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Header, Query, Response
    from pydantic import Field

from ultrasam.annotate import requests as asked
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.history import history_of
from ultrasam.annotate.project.images import find_images, image_row
from ultrasam.annotate.project.masks import basis_of, drawn_frames, masks_in
from ultrasam.annotate.project.objects import objects_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.rendering import jpeg, png
from ultrasam.annotate.server.dependencies import App, Frame, ImageId, Reader
from ultrasam.annotate.wire import entry_json, history_json, object_json
from ultrasam.annotate.worker import Priority
from ultrasam.errors import DataError, UltraSamError

router = APIRouter(prefix="/images")
_MOST_FRAMES = 200  # whose masks one answer holds


class OpenRequest(asked.Request):
    """The frame to prepare."""

    frame: asked.FrameIndex = 0


class Window(asked.Request):
    """How gray values are shown."""

    level: asked.Coordinate
    width: asked.Coordinate
    gamma: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0


class View(asked.Request):
    """How a reader looks at an image; x, y is the point of the picture in the middle of the page."""

    frame: asked.FrameIndex = 0
    x: asked.Coordinate | None = None
    y: asked.Coordinate | None = None
    scale: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    tool: Annotated[str, Field(max_length=40)] | None = None
    window: Window | None = None
    active: asked.ObjectId | None = None


@router.get("")
def images(
    app: App,
    reader: Reader,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    state: Literal["new", "started", "done"] | None = None,
    flag: bool | None = None,
    label: Annotated[str, Query(max_length=100)] | None = None,
    text: Annotated[str, Query(max_length=200)] | None = None,
    order: Literal["name", "uncertainty", "changed"] = "name",
) -> dict[str, Any]:
    """The images, by name, by the model's uncertainty, or the latest changed first."""
    total, rows = find_images(
        app.project, reader, state=state, flagged=flag, label=label, text=text, order=order,
        offset=offset, limit=limit,
    )  # fmt: skip
    return {"total": total, "images": [image_json(app, row, reader) for row in rows]}


@router.get("/{id}")
def image(app: App, reader: Reader, id: ImageId) -> dict[str, Any]:
    """One image with its objects, without their masks, and its history."""
    try:
        scan = app.scans.scan(id)
    except UltraSamError:
        if image_row(app.project, id, reader)["problem"] is None:
            raise  # the file is gone
        scan = None
    row = image_row(app.project, id, reader)
    view = app.project.row("SELECT view FROM views WHERE image = ? AND reader = ?", id, reader)
    frames, by_object = frames_json(app.project, id, reader)
    found = image_json(app, row, reader)
    objects = objects_of(app.project, id, reader)
    return {
        **found,
        "objects": [object_json(one, None, by_object.get(one.id, {})) for one in objects],
        "frame_time": row["frame_time"],
        "spacing": None if scan is None else scan.spacing,
        "spacing_why": _why_no_spacing(scan),
        "regions": [] if scan is None else [asdict(region) for region in scan.regions],
        "notes": [] if scan is None else list(scan.notes),
        "history": history_json(history_of(app.project, id, reader, entries=True), entries=True),
        "frame_states": frames,
        "view": None if view is None else json.loads(view["view"]),
    }


@router.get("/{id}/objects")
def objects(
    app: App,
    reader: Reader,
    id: ImageId,
    frame: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:
    """The reader's objects with their masks in a frame."""
    scan = app.scans.scan(id)
    _check_frame(scan.num_frames, frame)
    masks = {
        mask.object: mask for mask in masks_in(app.project, id, reader, first=frame, last=frame)
    }
    return {
        "objects": [
            object_json(one, entry_json(masks[one.id], scan) if one.id in masks else None)
            for one in objects_of(app.project, id, reader)
        ]
    }


@router.get("/{id}/masks")
def masks(
    app: App,
    reader: Reader,
    id: ImageId,
    first: Annotated[int, Query(alias="from", ge=0, le=1_000_000)] = 0,
    last: Annotated[int, Query(alias="to", ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:
    """All masks of a range of frames, at most 200, for playback; without measures."""
    scan = app.scans.scan(id)
    last = min(last, scan.num_frames - 1, first + _MOST_FRAMES - 1)
    by_object: dict[str, list[dict[str, Any]]] = {}
    for mask in masks_in(app.project, id, reader, first=first, last=last):
        by_object.setdefault(mask.object, []).append(entry_json(mask, scan, measured=False))
    found = [
        {**object_json(one, None), "masks": by_object[one.id]}
        for one in objects_of(app.project, id, reader)
        if one.id in by_object
    ]
    return {"from": first, "to": last, "objects": found}


@router.get("/{id}/frames/{frame}.png", response_class=Response)
def frame_png(
    app: App,
    reader: Reader,
    id: ImageId,
    frame: Frame,
    v: Annotated[str, Query(max_length=64)] | None = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A frame without loss, gray or RGB."""
    tag = tag_of(app, id, f"{frame}.png")
    if if_none_match == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return picture(png(app.scans.frame(id, frame)), "image/png", tag, versioned=v is not None)


@router.get("/{id}/frames/{frame}.jpg", response_class=Response)
def frame_jpeg(
    app: App,
    reader: Reader,
    id: ImageId,
    frame: Frame,
    quality: Annotated[int, Query(ge=1, le=100)] = 85,
    v: Annotated[str, Query(max_length=64)] | None = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A frame for playback, with some loss."""
    tag = tag_of(app, id, f"{frame}.{quality}.jpg")
    if if_none_match == tag:
        return Response(status_code=304, headers={"ETag": tag})
    content = jpeg(app.scans.frame(id, frame), quality)
    return picture(content, "image/jpeg", tag, versioned=v is not None)


@router.get("/{id}/thumbnail.jpg", response_class=Response)
def thumbnail(app: App, reader: Reader, id: ImageId) -> Response:
    """A small picture of the middle frame; 404 with Retry-After until it is made."""
    image_row(app.project, id, reader)
    content = app.background.thumbnail(id)
    if content is None:
        return Response(
            json.dumps({"detail": "The thumbnail is not made yet; ask again."}), 404,
            headers={"Retry-After": "1"}, media_type="application/json",
        )  # fmt: skip
    return picture(content, "image/jpeg", tag_of(app, id, "thumbnail"), versioned=False)


@router.post("/{id}/open")
def open_image(app: App, reader: Reader, id: ImageId, request: OpenRequest) -> dict[str, Any]:
    """Prepare a frame for clicks, and the next images after it; answers when it is ready."""
    import time

    _check_frame(app.scans.scan(id).num_frames, request.frame)
    start = time.perf_counter()
    task = app.worker.submit(
        Priority.open, lambda: app.segmentation.prepare(id, request.frame), group=f"open {reader}"
    )
    waited_for(task)
    app.background.prefetch(id, request.frame, reader)
    return {"ready": True, "ms": round(1000 * (time.perf_counter() - start), 1)}


@router.put("/{id}/view", status_code=204)
def save_view(app: App, reader: Reader, id: ImageId, view: View) -> None:
    """Keep how a reader looks at an image; the last one counts."""
    image_row(app.project, id, reader)
    with app.project.write() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO views VALUES (?, ?, ?)", (id, reader, view.model_dump_json())
        )


def tag_of(app: Annotator, id: int, what: str) -> str:
    """The ETag of a picture of an image; ``what`` tells it from the image's other pictures."""
    row = image_row(app.project, id, "")
    return f'"{row["mtime_ns"]:x}-{row["size"]:x}-{what}"'


def picture(content: bytes, kind: str, tag: str, *, versioned: bool) -> Response:
    """A picture as an answer.

    Args:
        content, kind: its bytes and their MIME type.
        tag: its ETag.
        versioned: its address holds the file's version, so that a browser may keep it.
    """
    lasting = "private, max-age=31536000, immutable" if versioned else "private, no-cache"
    return Response(content, media_type=kind, headers={"ETag": tag, "Cache-Control": lasting})


def waited_for(task: Any) -> Any:
    """The result of a task of the worker.

    Raises:
        ReplacedError: It was canceled: a newer one has taken its place, or the server stops.
    """
    from concurrent.futures import CancelledError

    from ultrasam.annotate.problems import ReplacedError

    try:
        return task.result()
    except CancelledError as error:
        raise ReplacedError("A newer request has taken this one's place.") from error


def image_json(app: Annotator, row: Any, reader: str) -> dict[str, Any]:
    """An image in a list."""
    keys = row.keys()
    return {
        "id": row["id"], "name": row["path"], "kind": row["kind"], "width": row["width"],
        "height": row["height"], "frames": row["frames"], "state": row["state"],
        "flags": [name for name in ("flagged", "empty") if row[name]], "note": row["note"],
        "objects": row["objects"] if "objects" in keys else None, "problem": row["problem"],
        "locked_by": app.leases.holder(row["id"], but=reader), "changed": row["changed"],
        "version": f"{row['mtime_ns']:x}-{row['size']:x}",
    }  # fmt: skip


def frames_json(
    project: Project, image: int, reader: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What is in which frame: of all objects together, and of each."""
    rows = project.rows(
        "SELECT m.object, m.frame, c.id, c.state, c.source, c.confidence, c.basis FROM masks m "
        "JOIN contents c ON c.id = m.content JOIN objects o ON o.id = m.object "
        "WHERE o.image = ? AND o.reader = ? AND o.deleted = 0 ORDER BY m.frame",
        image, reader,
    )  # fmt: skip
    drawn = {id: drawn_frames(project, id) for id in {row["object"] for row in rows}}
    together: dict[str, Any] = {}
    by_object: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["state"] == "accepted":
            shown = "drawn" if row["source"] in ("prompt", "hand") else "accepted"
        else:
            basis = row["basis"]
            fresh = basis is None or basis == basis_of(drawn[row["object"]], row["frame"])
            shown = "propagated" if fresh else "stale"
        by_object.setdefault(row["object"], {})[str(row["frame"])] = {
            "frame": row["frame"], "state": row["state"], "source": row["source"], "shown": shown,
            "version": row["id"], "stale": shown == "stale", "confidence": row["confidence"],
        }  # fmt: skip
        at = together.setdefault(str(row["frame"]), {"objects": 0, "state": shown})
        at["objects"] += 1
        at["state"] = max(at["state"], shown, key=_DOUBT.index)
    return together, by_object


_DOUBT = ("drawn", "accepted", "propagated", "stale")


def _why_no_spacing(scan: Any) -> str | None:
    if scan is None or scan.spacing is not None:
        return None
    return "the file states no pixel spacing"


def _check_frame(count: int, frame: int) -> None:
    if frame >= count:
        raise DataError(f"Frame {frame} does not exist; the image has {count}, numbered from 0.")
