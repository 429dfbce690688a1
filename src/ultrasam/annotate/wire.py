"""Masks, objects and measurements as JSON that the page reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ultrasam.annotate.project.history import History, Stroke
from ultrasam.annotate.project.masks import Content
from ultrasam.annotate.project.objects import Object
from ultrasam.errors import DataError, MeasurementError
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.rle import decode
from ultrasam.images.scan import Scan

Json = dict[str, Any]


def mask_json(mask: BoolMask) -> Json:
    """A mask [H, W] as its box x0, y0, x1, y1 and the runs of 0 and 1 in it, row by row, beginning with 0."""
    x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
    if not x1:
        return {"box": [0, 0, 0, 0], "runs": []}
    flat = mask[y0:y1, x0:x1].ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = [0, 0] if flat[0] else [0]
    return {
        "box": [x0, y0, x1, y1],
        "runs": np.diff(np.concatenate([starts, edges, [flat.size]])).astype(int).tolist(),
    }


def mask_from_json(box: Sequence[int], runs: Sequence[int], shape: tuple[int, int]) -> BoolMask:
    """A mask of a shape (height, width) from what `mask_json` writes.

    Raises:
        DataError: The box lies outside, or the runs do not fill it.
    """
    mask = np.zeros(shape, bool)
    if not any(box) and not runs:
        return mask
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]):
        raise DataError(
            f"The mask's box {', '.join(map(str, box))} is not inside the frame of {shape[1]} × {shape[0]} "
            "pixels."
        )
    size = (x1 - x0) * (y1 - y0)
    if any(run < 0 or run > size for run in runs) or sum(runs) != size:
        raise DataError(f"The mask's runs do not fill its box of {size} pixels; send it again.")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask[y0:y1, x0:x1] = flat.reshape(y1 - y0, x1 - x0)
    return mask


def entry_json(content: Content, scan: Scan | None, *, measured: bool = True) -> Json:
    """A mask entry with its mask and its measures; without both if there is no scan."""
    entry: Json = {
        "frame": content.frame, "state": content.state, "source": content.source,
        "confidence": content.confidence, "version": content.id, "hash": content.hash,
        "prompts": list(content.prompts), "candidate": content.candidate,
        "candidates": len(content.candidates), "edited": content.is_edited, "saved": content.saved,
        "model": content.model,
    }  # fmt: skip
    if scan is not None:
        entry["mask"] = mask_json(_decoded(content.rle, (scan.height, scan.width)))
        if measured:
            entry["measure"] = measured_json(content, scan)
    return entry


def object_json(object: Object, mask: Json | None, frames: Json | None = None) -> Json:
    """An object with its mask in the frame that was asked for."""
    found: Json = {
        "id": object.id, "number": object.number, "label": object.label_name, "color": object.color,
        "order": object.place, "reader": object.reader, "deleted": object.deleted, "mask": mask,
    }  # fmt: skip
    return found if frames is None else {**found, "frames": frames}


def stroke_json(stroke: Stroke) -> Json:
    """A stroke in a history."""
    return {
        "n": stroke.id, "name": stroke.name, "time": stroke.time, "undone": stroke.undone,
        "object": stroke.object, "frame": stroke.frame, "kind": stroke.kind,
    }  # fmt: skip


def history_json(history: History, *, entries: bool = False) -> Json:
    """A history; its entries only if asked for."""
    found: Json = {"undo": history.undo, "redo": history.redo}
    if entries:
        found["entries"] = [stroke_json(stroke) for stroke in history.entries]
    return found


def measured_json(content: Content, scan: Scan) -> Json:
    """Area, perimeter and axes of a mask, in mm where its place in the scan is calibrated; the axes' ends are
    in pixels of the frame."""
    regions = tuple((region.box, region.spacing, region.kind) for region in scan.regions)
    found: Json = json.loads(
        _measured(content.rle, (scan.height, scan.width), scan.spacing, regions, str(scan.source))
    )  # a copy for each caller
    return found


@lru_cache(maxsize=8)
def _decoded(rle: str, shape: tuple[int, int]) -> BoolMask:
    """A mask that is sent and measured in turn, or again at once; it must not be changed."""
    mask = decode(rle, shape)
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=4096)
def _measured(
    rle: str,
    shape: tuple[int, int],
    spacing: tuple[float, float] | None,
    regions: tuple[Any, ...],
    _source: str,
) -> str:
    from ultrasam.images.regions import Region
    from ultrasam.measure.calibration import calibration_of
    from ultrasam.measure.quantities import Measurement, Quantity
    from ultrasam.measure.shape import area, long_and_short_axis, perimeter, smooth_outline

    mask = _decoded(rle, shape)
    like = Scan(
        1, *shape, False, lambda _: np.zeros(shape, np.uint8), spacing,
        regions=tuple(Region(*one) for one in regions),
    )  # fmt: skip
    calibration = calibration_of(like, mask)
    try:
        outline = smooth_outline(mask, calibration.spacing)
        axes = long_and_short_axis(mask, calibration.spacing, outline=outline)
        quantities = {
            "area": Quantity("area", area(mask, calibration.spacing), "area"),
            "perimeter": Quantity(
                "perimeter", perimeter(mask, calibration.spacing, outline=outline)
            ),
            "long_axis": Quantity("long axis", axes.long),
            "short_axis": Quantity("short axis", axes.short),
        }
    except MeasurementError as error:
        names = ("area", "perimeter", "long_axis", "short_axis")
        return json.dumps({**dict.fromkeys(names), "why": str(error)})
    found: Json = {}
    for name, quantity in quantities.items():
        number = Measurement.of(quantity, calibrated=calibration.calibrated).as_json()
        found[name] = {key: number[key] for key in ("value", "unit", "low", "high")}
    row, column = calibration.spacing
    for name, ends in (("long_axis", axes.long_ends), ("short_axis", axes.short_ends)):
        found[name]["ends"] = ends and [[round(x / column, 2), round(y / row, 2)] for x, y in ends]
    found["why"] = None if calibration.calibrated else f"not calibrated: {calibration.note}"
    return json.dumps(found)
