"""Segment many files; a file, frame or prompt that fails is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ultrasam.errors import ConfigError, DiskFullError, PromptError, UltraSamError, one_line
from ultrasam.files import write_json
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask, bounding_box, coco_result
from ultrasam.images.pixels import Frame, gray
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_mask
from ultrasam.inference.candidates import offered, offers_candidates, write_offer
from ultrasam.inference.coco_ids import CocoIds, Id
from ultrasam.inference.frames import FrameChoice, choose_frames
from ultrasam.inference.inputs import ResultNames, stem_of
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry, mask_entries
from ultrasam.inference.segmenter import ClassifyingSegmenter, Segmenter
from ultrasam.prompts import LOW_CONFIDENCE, FloatArray, Prompt

T = TypeVar("T")
Finish = Callable[[Scan, str, Sequence["FileResult"]], tuple[Sequence[Path], Sequence[str]]]

_BLANK = 3  # gray values; JPEG's noise in a black margin is about as large


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one frame of a file, or of a file that failed.

    Attributes:
        path: the input file.
        overlay: the overlay image; None if the file or frame failed.
        results: its entries in the COCO results file.
        error: one sentence if the file or frame failed, else None.
        refused: a sentence for each prompt that could not be used.
        notes: sentences about what should be looked at.
        frame: index of the frame.
        pictures: of the candidates of clicks.
        size: height and width of the frame; None if it failed.
        files: what was written of all frames of a file together; the result then is of no frame.
    """

    path: Path
    overlay: Path | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    frame: int = 0
    pictures: tuple[Path, ...] = ()
    size: tuple[int, int] | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ScanFrame:
    """One frame to process.

    Attributes:
        path: the file.
        scan: its content.
        index: of the frame.
        name: for the results; no two frames of a run share it.
        number: counts the frames of a run from 1.
    """

    path: Path
    scan: Scan
    index: int
    name: str
    number: int


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
    finish: Finish | None = None,
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
        finish: called for each file after its frames, see `process_files`.

    Raises:
        ConfigError: Candidates are asked for, and the segmenter has one mask only.
        DiskFullError: A result could not be written.
    """
    if candidates and not offers_candidates(segmenter):
        raise ConfigError("This segmenter offers no candidates; it has one mask for a click.")

    def predict(frame: ScanFrame) -> FileResult:
        known = (masks or {}).get(frame.path)
        if frame.path in prompts.missing and known is None:
            raise PromptError(prompts.missing[frame.path])
        entries = list(prompts.entries.get(frame.path, ()))
        if known is not None:
            entries += mask_entries(known, frame.index, first=len(entries))
            if not entries:
                return FileResult(frame.path)
        return _predict_frame(
            segmenter, frame, entries, out, provenance, coco, candidates=candidates, png=png
        )

    yield from process_files(paths, predict, frames=frames, finish=finish)


def process_files(
    paths: Sequence[Path],
    process: Callable[[ScanFrame], FileResult],
    *,
    frames: FrameChoice = None,
    finish: Finish | None = None,
) -> Iterator[FileResult]:
    """Call ``process`` for the chosen frames of each file; errors become results.

    Args:
        finish: writes what all frames of a file make together. It gets the scan, the name of its results and
            those of its frames that did not fail, and returns the files and sentences about them.

    Raises:
        DiskFullError: A result could not be written.
    """
    names, number, renamed = ResultNames(), 0, False
    for path in paths:
        try:
            scan = read_scan(path)
            chosen, notes = choose_frames(scan, frames, path)
        except Exception as error:
            number += 1
            yield FileResult(path, error=describe_failure(path, error))
            continue
        name = names.take(stem := stem_of(path))
        if name != stem and not renamed:
            renamed = True
            text = f"its results are named {name}, because several inputs are called {stem}"
            notes = (*notes, f"{path}: {text}; predictions.json says which is which.")
        done: list[FileResult] = []
        for index in chosen:
            number += 1
            of_frame = name
            if scan.num_frames > 1:
                digits = len(str(scan.num_frames - 1))
                of_frame = names.take(f"{name}_frame_{index:0{digits}d}")
            try:
                result = process(ScanFrame(path, scan, index, of_frame, number))
                result = replace(result, notes=(*notes, *result.notes))
            except DiskFullError:
                raise  # no other result could be written
            except Exception as error:
                result = FileResult(path, error=describe_failure(path, error), notes=notes)
            result = replace(result, frame=index)
            yield result
            notes = ()
            if result.error is None:
                done.append(replace(result, overlay=None))
        if finish is not None and any(result.size for result in done):
            yield _finished(finish, path, scan, name, done)


def _finished(
    finish: Finish, path: Path, scan: Scan, name: str, done: Sequence[FileResult]
) -> FileResult:
    try:
        files, notes = finish(scan, name, done)
    except DiskFullError:
        raise
    except Exception as error:
        return FileResult(path, error=describe_failure(path, error))
    return FileResult(path, files=tuple(files), notes=tuple(notes))


def describe_failure(path: Path, error: Exception) -> str:
    """An error of a file as a sentence that names it; an unexpected one must not stop the other files."""
    if isinstance(error, UltraSamError):
        return str(error)
    return f"{path}: {type(error).__name__}: {one_line(error)}"


def write_results(results: Sequence[FileResult], out: Path) -> Path:
    """Write one COCO results file, ``predictions.json``, for all inputs; returns its path."""
    path = out / "predictions.json"
    write_json(path, [entry for result in results for entry in result.results])
    return path


def _predict_frame(
    segmenter: Segmenter,
    frame: ScanFrame,
    entries: Sequence[PromptEntry],
    out: Path,
    provenance: Mapping[str, Any],
    coco: CocoIds | None,
    *,
    candidates: bool,
    png: bool,
) -> FileResult:
    image_id: Id = frame.number if coco is None else coco.image(frame.path, frame.scan)
    pixels = frame.scan.frame(frame.index)
    segmenter.set_image(pixels)
    used, prediction, refused = call_with_prompts(segmenter.predict, entries, frame.path)
    prompts = [entry.prompt for entry in used if entry.prompt is not None]
    classes = _classes(segmenter, prompts)
    offers = offered(segmenter, prompts, prediction) if candidates else {}
    results, notes, texts, pictures = [], [], [], []
    for row, (entry, prompt) in enumerate(zip(used, prompts, strict=True)):
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
            **({"mask": mask_file.name} if png else {}), "prompt": _as_json(prompt),
            "predicted_iou": iou, "stability_score": stability,
            "low_confidence": doubt is not None, **provenance,
            **({} if entry.category is None else {"category": entry.category}),
            **(classes[row] if classes else {}),
        }  # fmt: skip
        if png:
            write_mask(mask_file, mask, told=extra)
        if row in offers:
            pictures.append(out / f"{frame.name}_candidates_{entry.number}.png")
            extra["candidates"] = write_offer(
                offers[row], prompt, pixels, mask_file=mask_file, picture=pictures[-1],
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
    overlay = out / f"{frame.name}_overlay.png"
    points = [
        (float(x), float(y), int(label))
        for prompt in prompts
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True)
    ]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    write_overlay(
        overlay, pixels, list(prediction.masks[:, 0]), boxes=boxes, points=points, texts=texts
    )
    return FileResult(
        frame.path, overlay, results, refused=tuple(refused), notes=tuple(dict.fromkeys(notes)),
        pictures=tuple(pictures), size=pixels.shape[:2],
    )  # fmt: skip


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


def _as_json(prompt: Prompt) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if prompt.box is not None:
        entry["box"] = prompt.box.tolist()
    if len(prompt.points):
        entry["points"] = prompt.points.tolist()
        entry["labels"] = prompt.labels.tolist()
    if prompt.mask is not None:
        entry["mask"] = True  # a given one, too long to repeat
    return entry
