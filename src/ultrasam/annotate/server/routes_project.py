"""Routes of the project: what it is, its settings, labels and readers, and sessions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Path, Request, Response
    from fastapi.responses import StreamingResponse
    from pydantic import Field

from ultrasam._version import __version__
from ultrasam.annotate import requests as asked
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project import labels
from ultrasam.annotate.project.images import state_counts, update_images
from ultrasam.annotate.project.readers import add_reader, reader_name, readers_of
from ultrasam.annotate.server.dependencies import App, Reader, Rules

router = APIRouter()
LabelId = Annotated[int, Path(ge=1, le=2**53)]
ReaderName = Annotated[str, Field(min_length=1, max_length=60)]
Color = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]


class NewLabel(asked.Request):
    """A label to add."""

    name: asked.LabelName
    color: Color | None = None
    key: Annotated[str, Field(min_length=1, max_length=20)] | None = None


class LabelChanges(asked.Request):
    """What to change of a label."""

    name: asked.LabelName | None = None
    color: Color | None = None
    key: Annotated[str, Field(min_length=1, max_length=20)] | None = None


class SettingsChanges(asked.Request):
    """What to change of the project's settings."""

    views: bool | None = None
    key_stride: Annotated[int, Field(ge=1, le=1000)] | None = None
    shortcuts: (
        Annotated[
            dict[Annotated[str, Field(max_length=60)], Annotated[str, Field(max_length=60)] | None],
            Field(max_length=500),
        ]
        | None
    ) = None


class NewSession(asked.Request):
    """A token, where one is needed, and who works."""

    token: Annotated[str, Field(max_length=200)] | None = None
    reader: ReaderName | None = None


class NewReader(asked.Request):
    """A reader by name."""

    name: ReaderName


@router.get("/project")
def project(app: App, reader: Reader) -> dict[str, Any]:
    """The project, its labels and readers, the model, and how much is ready."""
    opened = app.project
    return {
        "name": opened.folder.name,
        "folder_name": opened.folder.name,
        "images": sum(state_counts(opened, reader).values()),
        "counts": state_counts(opened, reader),
        "labels": [asdict(label) for label in labels.labels_of(opened)],
        "model": model_json(app),
        "reader": reader,
        "readers": readers_of(opened),
        "settings": opened.settings,
        "version": __version__,
        "notes": list(app.listing.notes),
        "preparing": app.worker.waiting,
    }


@router.post("/project/refresh")
def refresh(app: App, reader: Reader) -> dict[str, Any]:
    """Look at the folder again for new, changed and missing files."""
    return asdict(update_images(app.project))


@router.patch("/settings")
def change_settings(app: App, reader: Reader, changes: SettingsChanges) -> dict[str, Any]:
    """Change the project's settings; returns all."""
    settings = app.project.change_settings(changes.model_dump(exclude_none=True))
    app.segmentation.views = bool(settings["views"])
    return settings


@router.post("/labels", status_code=201)
def add_label(app: App, reader: Reader, label: NewLabel) -> dict[str, Any]:
    """Add a label."""
    return asdict(labels.add_label(app.project, label.name, color=label.color, key=label.key))


@router.patch("/labels/{id}")
def change_label(app: App, reader: Reader, id: LabelId, changes: LabelChanges) -> dict[str, Any]:
    """Change a label's name, color or key."""
    values = changes.model_dump(exclude_unset=True)
    return asdict(labels.change_label(app.project, id, values))


@router.delete("/labels/{id}", status_code=204)
def delete_label(app: App, reader: Reader, id: LabelId) -> None:
    """Delete a label that no object has or had."""
    labels.delete_label(app.project, id)


@router.get("/readers")
def readers(app: App, reader: Reader) -> dict[str, Any]:
    """All readers, and who asks."""
    return {"reader": reader, "readers": readers_of(app.project)}


@router.post("/readers", status_code=201)
def new_reader(
    app: App, rules: Rules, reader: Reader, named: NewReader, response: Response
) -> dict[str, Any]:
    """Work under a name from now on; it is added if it is new."""
    name = add_reader(app.project, named.name)
    _set_cookie(response, rules.cookie, rules.signed(name), secure=rules.scheme == "https")
    return {"reader": name, "readers": readers_of(app.project)}


@router.post("/session")
def log_in(
    app: App, rules: Rules, request: Request, session: NewSession, response: Response
) -> dict[str, Any]:
    """Exchange a token for a session cookie."""
    address = request.client.host if request.client else ""
    name = reader_name(session.reader or rules.default_reader)
    cookie = rules.log_in(session.token, name, address)
    add_reader(app.project, name)
    _set_cookie(response, rules.cookie, cookie, secure=rules.scheme == "https")
    return {"reader": name}


@router.delete("/session", status_code=204)
def log_out(rules: Rules, response: Response) -> None:
    """Forget who works."""
    response.delete_cookie(rules.cookie, path="/", httponly=True, samesite="strict")


@router.get("/events", response_class=StreamingResponse)
async def events(app: App, reader: Reader) -> StreamingResponse:
    """What happens, as server-sent events: progress of jobs, states of images, the model."""

    async def lines() -> AsyncIterator[str]:
        yield ": connected\n\n"
        async for event in app.events.listen():
            if event is None:
                yield ": \n\n"
            else:
                yield f"event: {event['event']}\ndata: {json.dumps(event['data'])}\n\n"

    return StreamingResponse(
        lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


def model_json(app: Annotator) -> dict[str, Any]:
    """The model, as the page shows it."""
    info = app.segmentation.info
    return {
        "name": app.segmentation.name if info is None else info.title,
        "ready": info is not None,
        "runtime": None if info is None else info.runtime,
        "views": app.segmentation.views,
        "latency_ms": app.segmentation.latency_ms,
        "problem": app.model_problem,
    }


def _set_cookie(response: Response, name: str, value: str, *, secure: bool) -> None:
    response.set_cookie(
        name, value, path="/", httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400
    )
