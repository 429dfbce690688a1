"""Masks, objects and measurements as JSON that the page reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ultrasam.annotate.project.history import History, Stroke
from ultrasam.annotate.project.masks import Content
from ultrasam.annotate.project.objects import Object
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.scan import Scan
from ultrasam.serve.measures import decoded, measured_json

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


@lru_cache(maxsize=4096)
def mask_json_of(rle: str, shape: tuple[int, int]) -> Json:
    """`mask_json` of a mask that is kept, which is asked for again and again; it must not be changed."""
    return mask_json(decoded(rle, shape))


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
        entry["mask"] = mask_json_of(content.rle, (scan.height, scan.width))
        if measured:
            entry["measure"] = measured_json(content.rle, scan)
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
