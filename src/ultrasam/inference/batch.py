"""Segment many files; a file, frame or prompt that fails is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ultrasam.errors import ConfigError, PromptError
from ultrasam.files import write_json
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask, bounding_box, coco_result
from ultrasam.images.pixels import Frame, gray
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_mask
from ultrasam.inference.candidates import Offer, offered, offers_candidates, write_offer
from ultrasam.inference.coco_ids import CocoIds, Id
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.processing import (
    FileResult,
    Finish,
    Pipeline,
    ScanFrame,
    process_files,
)
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry, mask_entries
from ultrasam.inference.segmenter import ClassifyingSegmenter, Segmenter
from ultrasam.prompts import LOW_CONFIDENCE, FloatArray, Prediction, Prompt

T = TypeVar("T")

_BLANK = 3  # gray values; JPEG's noise in a black margin is about as large


@dataclass(frozen=True, slots=True, eq=False)
class _Predicted:
    """What a segmenter found in a frame.

    Attributes:
        used, prompts: the accepted entries and their prompts.
        prediction: the masks, one for each prompt.
        refused: a sentence for each of the other entries.
        classes: of each object, if the segmenter tells them.
        offers: the candidates of clicks, by row.
    """

    used: list[PromptEntry]
    prompts: list[Prompt]
    prediction: Prediction
    refused: list[str]
    classes: list[dict[str, Any]]
    offers: Mapping[int, Offer]


def predict_files(
    segmenter: Segmenter,
    paths: Sequence[Path],
    prompts: AssignedPrompts,
    out: Path,
    *,
    frames: FrameChoice = None,
    provenance: Mapping[str, Any],
    coco: CocoIds | None = None,
    candidates: bool = False,
    masks: Mapping[Path, MaskSequence] | None = None,
    png: bool = True,
    overlay: bool = True,
    finish: Finish | None = None,
    pipeline: Pipeline | None = None,
) -> Iterator[FileResult]:
    """Segment each file, and write ``<name>_mask_<n>.png`` and ``<name>_overlay.png`` to ``out``.

    The name is the file's without its suffix, for a cine or volume with ``_frame_<index>``; if several inputs
    have the same, a number is appended to it. ``n`` is the number of the prompt. Pass the results to
    `write_results`.

    Args:
        provenance: keys to add to each entry of the results, such as the model's name.
        coco: IDs for the results. By default, ``image_id`` counts the frames from 1 and ``category_id`` is 1.
        candidates: write the three masks that a single click may mean, too: ``<name>_mask_<n>_small.png``,
            ``_medium`` and ``_large``, drawn side by side in ``<name>_candidates_<n>.png``.
        masks: of files: each mask of a frame is a further prompt, with its box. A file with masks needs no
            other prompts; frames without any are passed over.
        png: write the masks as PNG.
        overlay: write the overlays.
        finish, pipeline: as `ultrasam.inference.processing.process_files` takes them.

    Raises:
        ConfigError: Candidates are asked for, and the segmenter has one mask only.
        DiskFullError: A result could not be written.
    """
    if candidates and not offers_candidates(segmenter):
        raise ConfigError("This segmenter offers no candidates; it has one mask for a click.")

    def predict(frame: ScanFrame) -> _Predicted | None:
        known = (masks or {}).get(frame.path)
        if frame.path in prompts.missing and known is None:
            raise PromptError(prompts.missing[frame.path])
        if coco is not None:
            coco.image(frame.path, frame.scan)  # what has no place in the results costs no encoding
        entries = list(prompts.entries.get(frame.path, ()))
        if known is not None:
            entries += mask_entries(known, frame.index, first=len(entries))
            if not entries:
                return None
        return _predict_frame(segmenter, frame, entries, candidates=candidates)

    def write(frame: ScanFrame, found: _Predicted | None) -> FileResult:
        if found is None:
            return FileResult(frame.path)
        return _write_frame(frame, found, out, provenance, coco, png=png, overlay=overlay)

    yield from process_files(paths, predict, write, frames=frames, finish=finish, pipeline=pipeline)


def write_results(results: Sequence[FileResult], out: Path) -> Path:
    """Write one COCO results file, ``predictions.json``, for all inputs; returns its path."""
    path = out / "predictions.json"
    write_json(path, [entry for result in results for entry in result.results])
    return path


def _predict_frame(
    segmenter: Segmenter, frame: ScanFrame, entries: Sequence[PromptEntry], *, candidates: bool
) -> _Predicted:
    segmenter.set_image(frame.pixels)
    used, prediction, refused = call_with_prompts(segmenter.predict, entries, frame.path)
    prompts = [entry.prompt for entry in used if entry.prompt is not None]
    offers = offered(segmenter, prompts, prediction) if candidates else {}
    return _Predicted(used, prompts, prediction, refused, _classes(segmenter, prompts), offers)


def _write_frame(
    frame: ScanFrame,
    found: _Predicted,
    out: Path,
    provenance: Mapping[str, Any],
    coco: CocoIds | None,
    *,
    png: bool,
    overlay: bool,
) -> FileResult:
    image_id: Id = frame.number if coco is None else coco.image(frame.path, frame.scan)
    pixels, prompts, prediction, classes = (
        frame.pixels,
        found.prompts,
        found.prediction,
        found.classes,
    )
    results, notes, texts, pictures = [], [], [], []
    for row, (entry, prompt) in enumerate(zip(found.used, prompts, strict=True)):
        mask = prediction.masks[row, 0]
        iou, stability = (
            round(float(scores[row, 0]), 4)
            for scores in (prediction.predicted_iou, prediction.stability_score)
        )
        doubt = _doubt(mask, prompt, pixels, (iou, stability))
        mask_file = out / f"{frame.name}_mask_{entry.number}.png"
        of_class = classes[row].get("class") if classes else None
        category_id = 1 if coco is None else coco.category(entry.category or of_class)
        extra = {
            "file_name": str(frame.path), "frame": frame.index, "object": entry.number,
            **({"mask": mask_file.name} if png else {}), "prompt": prompt_as_json(prompt),
            "predicted_iou": iou, "stability_score": stability,
            "low_confidence": doubt is not None, **provenance,
            **({} if entry.category is None else {"category": entry.category}),
            **(classes[row] if classes else {}),
        }  # fmt: skip
        if png:
            write_mask(mask_file, mask, told=extra)
        if row in found.offers:
            pictures.append(out / f"{frame.name}_candidates_{entry.number}.png")
            extra["candidates"] = write_offer(
                found.offers[row], prompt, pixels, mask_file=mask_file, picture=pictures[-1],
                number=entry.number,
            )  # fmt: skip
        results.append(
            coco_result(mask, image_id=image_id, score=iou, category_id=category_id, extra=extra)
        )
        what = f"{frame.path}: {_where(frame, entry)}"
        notes += [f"{what}: {text}" for text in prompt.questions(*pixels.shape[:2])]
        if doubt:
            notes.append(f"{what}: the mask {doubt[0]}.")
        x, y = bounding_box(mask)[:2] if mask.any() else _corner(prompt)
        texts.append((f"{entry.number}{doubt[1] if doubt else ''}", float(x), float(y)))
    picture = out / f"{frame.name}_overlay.png" if overlay else None
    if picture is not None:
        _draw(picture, pixels, prompts, prediction, texts)
    return FileResult(
        frame.path, picture, results, refused=tuple(found.refused),
        notes=tuple(dict.fromkeys(notes)), pictures=tuple(pictures), size=pixels.shape[:2],
    )  # fmt: skip


def _draw(
    file: Path,
    pixels: Frame,
    prompts: Sequence[Prompt],
    prediction: Prediction,
    texts: Sequence[tuple[str, float, float]],
) -> None:
    points = [
        (float(x), float(y), int(label))
        for prompt in prompts
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True)
    ]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    write_overlay(
        file, pixels, list(prediction.masks[:, 0]), boxes=boxes, points=points, texts=texts
    )


def call_with_prompts(
    call: Callable[[list[Prompt]], T], entries: Sequence[PromptEntry], path: Path
) -> tuple[list[PromptEntry], T, list[str]]:
    """Call a function with the prompts that it accepts.

    Returns:
        The accepted entries, what the function returned for them, and a sentence for each of the others that
        is a prompt.

    Raises:
        PromptError: It accepts none.
    """
    valid = [entry for entry in entries if entry.prompt is not None]

    def called(some: Sequence[PromptEntry]) -> T:
        return call([entry.prompt for entry in some if entry.prompt is not None])

    if not valid:
        raise PromptError(f"{path}: none of its entries in the prompts file is a prompt.")
    try:
        return valid, called(valid), []
    except PromptError:
        used, refused = [], []
        for entry in valid:
            try:
                called([entry])
                used.append(entry)
            except PromptError as error:
                which = "" if len(entries) == 1 else f"prompt {entry.number}: "
                refused.append(f"{path}: {which}{error}")
        if not used:
            raise PromptError(" ".join(refused)) from None
        return used, called(used), refused


def _classes(segmenter: Segmenter, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """The class of each prompted object, if the segmenter tells it."""
    if not isinstance(segmenter, ClassifyingSegmenter):
        return []
    out = []
    for row in segmenter.classify(prompts):
        rounded = (round(float(p), 4) for p in row)
        by_class = dict(zip(segmenter.classes, rounded, strict=True))
        name = segmenter.classes[int(np.argmax(row))]
        out.append({"class": name, "class_probabilities": by_class})
    return out


def _doubt(
    mask: BoolMask, prompt: Prompt, pixels: Frame, scores: tuple[float, float]
) -> tuple[str, str] | None:
    """Why a mask should be looked at: as the end of a sentence, and for the picture.

    Args:
        scores: predicted IoU and stability.
    """
    if not mask.any():
        return "is empty; the model found no object for this prompt", ": empty"
    if prompt.box is not None and _is_blank(pixels, prompt.box):
        return (
            "is unreliable, because the image is blank inside the box; check the box",
            ": blank box",
        )
    iou, stability = scores
    if min(scores) >= LOW_CONFIDENCE:
        return None
    text = f"predicted IoU {iou:.2f}, stability {stability:.2f}"
    return f"has low confidence ({text}); check it in the overlay", ": low confidence"


def _is_blank(pixels: Frame, box: FloatArray) -> bool:
    """Whether a box shows one gray value, as the margin does; models may be sure of masks even there."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = np.clip(np.round(box), 0, [width, height] * 2).astype(int)
    inside = gray(pixels[y0:y1, x0:x1]).astype(int)
    return inside.size > 0 and int(np.ptp(np.percentile(inside, [1, 99]))) <= _BLANK


def _where(frame: ScanFrame, entry: PromptEntry) -> str:
    prefix = f"frame {frame.index}, " if frame.scan.num_frames > 1 else ""
    return f"{prefix}prompt {entry.number}"


def _corner(prompt: Prompt) -> tuple[float, float]:
    """Where to write about a prompt without a mask."""
    if prompt.box is not None:
        return float(prompt.box[0]), float(prompt.box[1])
    return (
        (float(prompt.points[0, 0]), float(prompt.points[0, 1])) if len(prompt.points) else (0, 0)
    )


def prompt_as_json(prompt: Prompt) -> dict[str, Any]:
    """A prompt as an entry of a prompts file."""
    entry: dict[str, Any] = {}
    if prompt.box is not None:
        entry["box"] = prompt.box.tolist()
    if len(prompt.points):
        entry["points"] = prompt.points.tolist()
        entry["labels"] = prompt.labels.tolist()
    if prompt.mask is not None:
        entry["mask"] = True  # a given one, too long to repeat
    return entry
