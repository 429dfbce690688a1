"""Routes of several readers: leases, each other's reads, agreement and adjudication."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Query
    from pydantic import Field

from ultrasam.annotate import requests as asked
from ultrasam.annotate.leases import LONGEST_S
from ultrasam.annotate.project.images import image_row
from ultrasam.annotate.project.masks import masks_in
from ultrasam.annotate.project.objects import objects_of
from ultrasam.annotate.project.readers import readers_of
from ultrasam.annotate.reads import adjudicate, adjudications, agreement
from ultrasam.annotate.server.dependencies import App, ImageId, Reader
from ultrasam.annotate.wire import entry_json, object_json

router = APIRouter(prefix="/images")


class LeaseRequest(asked.Request):
    """For how long an image is open, at most 600 seconds; renew it before."""

    seconds: Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)] = 60.0


class AdjudicateRequest(asked.Request):
    """Objects of readers to decide for, and objects of the adjudication to take back."""

    choices: Annotated[tuple[asked.ObjectId, ...], Field(max_length=1000)] = ()
    remove: Annotated[tuple[asked.ObjectId, ...], Field(max_length=1000)] = ()


@router.post("/{id}/lease")
def take_lease(app: App, reader: Reader, id: ImageId, request: LeaseRequest) -> dict[str, Any]:
    """Take or renew the lease of an image; 423 if another reader holds it."""
    image_row(app.project, id, reader)
    return {"seconds": app.leases.take(id, reader, request.seconds), "reader": reader}


@router.delete("/{id}/lease", status_code=204)
def give_lease_back(app: App, reader: Reader, id: ImageId) -> None:
    """Give a lease back."""
    app.leases.give_back(id, reader)


@router.get("/{id}/reads")
def reads(
    app: App,
    reader: Reader,
    id: ImageId,
    frame: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:
    """What each reader has in a frame, and what was decided."""
    image_row(app.project, id, reader)
    scan = app.scans.scan(id)
    found = []
    for name in readers_of(app.project):
        objects = objects_of(app.project, id, name)
        row = image_row(app.project, id, name)
        if not objects and row["state"] == "new":
            continue
        masks = {
            mask.object: mask for mask in masks_in(app.project, id, name, first=frame, last=frame)
        }
        found.append(
            {
                "reader": name, "state": row["state"], "note": row["note"],
                "objects": [
                    object_json(one, entry_json(masks[one.id], scan) if one.id in masks else None)
                    for one in objects
                ],
            }
        )  # fmt: skip
    return {"reads": found, "adjudications": adjudications(app.project, id)}


@router.get("/{id}/agreement")
def image_agreement(app: App, reader: Reader, id: ImageId) -> dict[str, Any]:
    """How far each pair of readers agrees on each label: Dice, and the distance of borders (HD95)."""
    image_row(app.project, id, reader)
    return {"agreement": [asdict(one) for one in agreement(app.project, app.scans, id)]}


@router.post("/{id}/adjudicate")
def decide(app: App, reader: Reader, id: ImageId, request: AdjudicateRequest) -> dict[str, Any]:
    """Decide for objects of readers; their own stay as they are."""
    image_row(app.project, id, reader)
    made = adjudicate(app.project, id, reader, choices=request.choices, remove=request.remove)
    app.events.publish("image", id=id, reader=reader)
    return {"objects": made, "adjudications": adjudications(app.project, id)}
