"""Objects of the project as a label map, and a viewer's label map as objects."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.annotate import requests as asked
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.labels import add_label, labels_of
from ultrasam.annotate.project.masks import mask_of, masks_in, masks_of
from ultrasam.annotate.project.objects import Object, objects_of
from ultrasam.annotate.project.readers import add_reader
from ultrasam.annotate.protocols.monai_label.volumes import Labels, check_voxels
from ultrasam.annotate.strokes import apply_stroke
from ultrasam.annotate.wire import mask_json
from ultrasam.errors import DataError
from ultrasam.images.rle import decode
from ultrasam.serve.http.problems import NotFoundError

_MOST_OBJECTS = 1000


def label_map_of(app: Annotator, image: int, reader: str) -> tuple[Labels, dict[str, int]]:
    """The accepted masks of a reader, [T, H, W], with the value of each object; the topmost one counts.

    Raises:
        NotFoundError: There is none.
        DataError, ScanError: The image cannot be read.
    """
    scan = app.scans.scan(image)
    check_voxels(scan)
    objects = objects_of(app.project, image, reader)
    values = {one.id: value for value, one in enumerate(objects, 1)}
    masks = [
        mask
        for mask in masks_in(app.project, image, reader, first=0, last=scan.num_frames - 1)
        if mask.state == "accepted"
    ]
    if not masks:
        raise NotFoundError("The image has no accepted masks of yours.")
    kind = np.uint8 if len(objects) < 256 else np.uint16
    labels: Labels = np.zeros((scan.num_frames, scan.height, scan.width), kind)
    for mask in sorted(masks, key=lambda one: values[one.object]):
        labels[mask.frame][decode(mask.rle, (scan.height, scan.width))] = values[mask.object]
    return labels, {f"{one.title} {one.number}": values[one.id] for one in objects}


def save_label_map(
    app: Annotator,
    image: int,
    reader: str,
    labels: npt.NDArray[np.int64],
    names: Mapping[int, str],
) -> int:
    """Make a reader's objects what a label map says; call it on the worker's thread.

    Each value is an object, whose label is added to the project if it is new. The reader's object with that
    label is changed, and a new one made if there is none. Every change is a stroke, which can be undone.

    Args:
        labels: [T, H, W]; 0 is background.
        names: of values; the others are named after their value.

    Returns:
        How many objects the label map has.

    Raises:
        DataError: There are too many values, or several objects have a label, so that it is not clear which
        one
            is meant.
    """
    values = [int(value) for value in np.unique(labels) if value]
    if len(values) > _MOST_OBJECTS or any(value < 0 for value in values):
        raise DataError(f"The label map has {len(values)} values; a label map has few, from 0.")
    add_reader(app.project, reader)
    own = objects_of(app.project, image, reader)
    targets: list[tuple[int, str, Object | None]] = []
    for value in values:
        name = names.get(value) or f"label {value}"
        same = [one for one in own if one.label_name == name]
        if len(same) > 1:
            raise DataError(
                f"The image has {len(same)} objects with the label '{name}', which one label map cannot tell "
                "apart; change them on the page."
            )
        targets.append((value, name, same[0] if same else None))
    known = {label.name for label in labels_of(app.project)}
    for value, name, object in targets:
        if name not in known:
            add_label(app.project, name)
        _save_object(app, image, reader, labels == value, name, object)
    return len(values)


def _save_object(
    app: Annotator,
    image: int,
    reader: str,
    masks: npt.NDArray[np.bool_],
    name: str,
    object: Object | None,
) -> None:
    id = None if object is None else object.id
    before = set() if id is None else {mask.frame for mask in masks_of(app.project, id)}
    filled = {int(frame) for frame in np.flatnonzero(masks.any(axis=(1, 2)))}
    for frame in sorted(before | filled):
        stroke: dict[str, Any] = {"key": str(uuid.uuid4()), "frame": frame, "object": id}
        if frame in filled:
            base = None if id is None else mask_of(app.project, id, frame)
            outcome = apply_stroke(
                app.tools, image, reader,
                asked.MaskStroke(
                    **stroke, kind="mask", mask=asked.MaskRequest(**mask_json(masks[frame])),
                    base_version=base and base.id, label=None if id else name,
                ),
            )  # fmt: skip
            id = outcome.object
        else:
            apply_stroke(app.tools, image, reader, asked.ObjectStroke(**stroke, kind="clear"))
