"""What the machine proposes: automatic masks, the prompts of another image, and an order of images."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from ultrasam.annotate.jobs import CanceledError, Job
from ultrasam.annotate.project.history import recorded
from ultrasam.annotate.project.images import set_facts
from ultrasam.annotate.project.masks import Content, masks_in, masks_of
from ultrasam.annotate.project.objects import new_object, objects_of
from ultrasam.annotate.prompting import prompted
from ultrasam.annotate.strokes import Tools
from ultrasam.errors import DataError, PromptError, UltraSamError
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.rle import decode, encode
from ultrasam.text import counted

_SAME = 0.5  # IoU above which a suggestion is what an object already is
_SIDE = 6  # clicks across an image, to see how sure the model is of it


def suggest_masks(
    tools: Tools, job: Job, *, image: int, reader: str, frame: int, points_per_side: int
) -> dict[str, Any]:
    """Suggest objects for a frame: what `segment_everything` finds and no object covers yet.

    Returns:
        ``objects``: the ids of what was suggested, all under one action.

    Raises:
        DataError, ScanError: The frame cannot be read.
        CanceledError: The user canceled the job.
    """
    from ultrasam.inference.automatic import segment_everything
    from ultrasam.inference.predictor import Predictor

    pixels = tools.scans.frame(image, frame)
    job.progress(0, 1, "Looking for regions.")
    predictor = Predictor(tools.segmentation.backend, tta=False)
    regions = segment_everything(pixels, model=predictor, points_per_side=points_per_side)
    job.check()
    scan = tools.scans.scan(image)
    present = [
        decode(mask.rle, (scan.height, scan.width))
        for mask in masks_in(tools.project, image, reader, first=frame, last=frame)
    ]
    info = tools.segmentation.info
    made: list[str] = []
    action = None
    with tools.project.write():
        for mask, iou in zip(regions.masks, regions.predicted_iou, strict=True):
            if any(_iou(mask, other) > _SAME for other in present):
                continue
            content = Content(
                "", frame, encode(mask), "suggested", "draft", confidence=round(float(iou), 4),
                model=None if info is None else info.title,
            )  # fmt: skip
            object, stroke = _suggest(
                tools, image, reader, content, name=f"Suggestions in frame {frame}", action=action
            )
            action = action or stroke
            made.append(object)
    if made:
        sentence = f"{counted(len(made), 'suggestion')} in frame {frame}."
    elif len(regions.masks):
        sentence = f"Nothing new in frame {frame}: its objects cover all {len(regions.masks)} regions found."
    else:
        sentence = (
            f"No region in frame {frame} is certain enough to suggest; click on what you see."
        )
    return {"objects": made, "sentence": sentence}


def reuse_prompts(
    tools: Tools, *, image: int, reader: str, frame: int, source: int
) -> tuple[list[str], list[str]]:
    """Suggest objects by the prompts of another image, at the same places.

    An object that was drawn by hand is prompted by its box.

    Args:
        source: the other image.

    Returns:
        The ids of what was suggested, and sentences about what could not be.

    Raises:
        DataError: The images differ in size, or the other one has no objects of the reader.
    """
    here, there = tools.scans.scan(image), tools.scans.scan(source)
    if (here.height, here.width) != (there.height, there.width):
        raise DataError(
            f"The other image has {there.width} × {there.height} pixels, this one {here.width} × "
            f"{here.height}; prompts can be reused in images of one size."
        )
    made, notes, action = list[str](), list[str](), None
    for one in objects_of(tools.project, source, reader):
        masks = masks_of(tools.project, one.id)
        if not masks:
            continue
        from_frame = min(masks, key=lambda mask: abs(mask.frame - frame))
        prompts = from_frame.prompts
        if not prompts:
            box = bounding_box(decode(from_frame.rle, (there.height, there.width)))
            if not box.any():
                continue
            prompts = ({"points": [], "box": box.tolist()},)
        try:
            found = prompted(
                tools.segmentation, image, frame, prompts, object="", so_far=None
            ).content
        except PromptError as error:
            notes.append(f"{one.title}: {error}")
            continue
        content = Content(
            "", frame, found.rle, "suggested", "draft", confidence=found.confidence,
            prompts=found.prompts, candidates=found.candidates, logits=found.logits, model=found.model,
        )  # fmt: skip
        object, stroke = _suggest(
            tools, image, reader, content, name="Prompts of the previous image", action=action,
            label=one.label,
        )  # fmt: skip
        action = action or stroke
        made.append(object)
    if not made and not notes:
        raise DataError("The other image has no object of yours whose prompts could be reused.")
    return made, notes


def rank_images(tools: Tools, job: Job, images: list[int]) -> dict[str, Any]:
    """Note how uncertain the model is of images, for the order by uncertainty.

    It is 1 less the mean stability of the masks of a grid of clicks in the scanned sector of the middle
    frame: the masks of an image that the model knows barely change when its threshold moves (Kirillov et al.
    2023, section 5).

    Raises:
        CanceledError: The user canceled the job; images that were rated keep their number.
    """
    from ultrasam.inference.postprocessing import scanned_area
    from ultrasam.inference.predictor import Predictor
    from ultrasam.prompts import Prompt

    predictor = Predictor(tools.segmentation.backend, tta=False)
    rated, unread = 0, 0
    for number, image in enumerate(images):
        try:
            job.progress(number, len(images))
        except CanceledError as error:
            sentence = f"Canceled; {counted(rated, 'image')} rated."
            raise CanceledError({"rated": rated, "sentence": sentence}) from error
        try:
            scan = tools.scans.scan(image)
            pixels = scan.frame(scan.num_frames // 2)
        except UltraSamError:
            unread += 1
            continue
        sector = scanned_area(pixels)
        x0, y0, x1, y1 = (
            (0.0, 0.0, float(scan.width), float(scan.height))
            if sector is None
            else bounding_box(sector)
        )
        steps = (np.arange(_SIDE) + 0.5) / _SIDE
        points = [(x0 + u * (x1 - x0), y0 + v * (y1 - y0)) for v in steps for u in steps]
        if sector is not None:
            points = [(x, y) for x, y in points if sector[int(y), int(x)]] or points
        predictor.set_image(pixels)
        found = predictor.predict([Prompt(points=[point]) for point in points])
        uncertainty = 1 - float(found.stability_score.mean())
        set_facts(tools.project, image, {"uncertainty": round(uncertainty, 4)})
        rated += 1
    told = f" {counted(unread, 'file')} cannot be read." if unread else ""
    return {"rated": rated, "sentence": f"{counted(rated, 'image')} rated by uncertainty.{told}"}


def _suggest(
    tools: Tools,
    image: int,
    reader: str,
    content: Content,
    *,
    name: str,
    action: int | None,
    label: int | None = None,
) -> tuple[str, int]:
    """Make an object of a suggestion; returns its id and the stroke's action."""
    from dataclasses import replace

    with tools.project.write():
        object = new_object(tools.project, image, reader, label=label)
        with recorded(
            tools.project, image, reader, key=str(uuid.uuid4()), kind="suggest", name=name,
            object=object.id, frame=content.frame, action=action,
        ) as changes:  # fmt: skip
            changes.set_object(object.id, deleted=0)
            changes.put_mask(replace(content, object=object.id))
    return object.id, action or changes.id


def _iou(a: BoolMask, b: BoolMask) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0
