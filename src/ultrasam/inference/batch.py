"""Segment many files; a file that fails is reported and does not stop the others."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultrasam.errors import PromptError, ScanError, UltraSamError
from ultrasam.files import write_json
from ultrasam.images.masks import coco_result
from ultrasam.images.reading import read_scan, scan_suffixes
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_mask
from ultrasam.inference.segmenter import ClassifyingSegmenter, Segmenter
from ultrasam.prompts import Prompt


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file.

    Attributes:
        path: the input file.
        overlay: the overlay image; None if the file failed.
        results: its entries in the COCO results file.
        error: one sentence if the file failed, else None.
    """

    path: Path
    overlay: Path | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


def find_inputs(names: Sequence[str]) -> list[Path]:
    """Expand files, folders (searched recursively) and globs into a list of files without duplicates.

    Raises:
        ScanError: A name matches nothing, or a folder holds no image.
    """
    inputs: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(
                p
                for p in path.rglob("*")
                if p.name.lower().endswith(scan_suffixes())
                and not p.name.startswith(".")
                and p.is_file()
            )
            if not inside:
                raise ScanError(f"The folder {path} holds no images.")
            inputs |= dict.fromkeys(inside)
        elif glob.has_magic(name) and not path.exists():
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            if not matches:
                raise ScanError(f"No file matches {name}.")
            inputs |= dict.fromkeys(p for p in matches if p.is_file())
        else:
            inputs[path] = None
    return list(inputs)


def read_prompts(path: Path) -> dict[str, list[Prompt]]:
    """Read a prompts file: a JSON object from image names to lists of prompts; ``*`` means all other images.

    ``{"a.png": [{"box": [x0, y0, x1, y1]}, {"points": [[x, y], …], "labels": [1, 0, …]}]}``

    Raises:
        PromptError: The file cannot be read, or is not of this form.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise PromptError(f"Cannot read the prompts file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise PromptError(f"The prompts file {path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise PromptError(f"The prompts file {path} must map image names to lists of prompts.")
    out: dict[str, list[Prompt]] = {}
    for name, entries in content.items():
        if not isinstance(entries, list) or not entries:
            raise PromptError(f"{path}: '{name}' must be a list of at least one prompt.")
        out[name] = []
        for entry in entries:
            if not isinstance(entry, dict) or set(entry) - {"box", "points", "labels"}:
                raise PromptError(
                    f"{path}: '{name}': a prompt may have only the keys box, points and labels."
                )
            try:
                out[name].append(Prompt(**entry))
            except PromptError as error:
                raise PromptError(f"{path}: '{name}': {error}") from error
    return out


def prompts_for(path: Path, prompts: Mapping[str, list[Prompt]]) -> list[Prompt]:
    """The prompts for one image, by its path, its name or ``*``.

    Raises:
        PromptError: There are no prompts for the image.
    """
    for name in (str(path), path.name, "*"):
        if name in prompts:
            return prompts[name]
    raise PromptError(
        f"The prompts file has no prompts for {path.name}; add an entry for it, or '*' for all images."
    )


def predict_files(
    segmenter: Segmenter,
    paths: Sequence[Path],
    prompts: Mapping[str, list[Prompt]],
    out: Path,
    *,
    frame: int = 0,
    provenance: Mapping[str, Any],
) -> Iterator[FileResult]:
    """Segment each file, and write ``<stem>_mask_<n>.png`` and ``<stem>_overlay.png`` to ``out``.

    If several inputs have the same stem, a number is appended to it. Pass the results to `write_results`.

    Args:
        provenance: keys to add to each entry of the results, such as the model's name.
    """
    yield from process_files(
        paths,
        lambda path, image_id, name: _predict_file(
            segmenter, path, image_id, name, prompts_for(path, prompts), out, frame, provenance
        ),
    )


def process_files(
    paths: Sequence[Path], process: Callable[[Path, int, str], FileResult]
) -> Iterator[FileResult]:
    """Call ``process(path, image ID from 1, unique stem)`` for each file; errors become results."""
    stems: dict[str, int] = {}
    for image_id, path in enumerate(paths, start=1):
        stem = path.name.removesuffix(".gz").rsplit(".", 1)[0] or path.name
        stems[stem.lower()] = stems.get(stem.lower(), 0) + 1
        name = stem if stems[stem.lower()] == 1 else f"{stem}_{stems[stem.lower()]}"
        try:
            yield process(path, image_id, name)
        except UltraSamError as error:
            yield FileResult(path, error=str(error))
        except Exception as error:  # a bug must not stop the other files
            yield FileResult(path, error=f"{path}: {type(error).__name__}: {error}")


def write_results(results: Sequence[FileResult], out: Path) -> Path:
    """Write one COCO results file, ``predictions.json``, for all inputs; returns its path."""
    path = out / "predictions.json"
    write_json(path, [entry for result in results for entry in result.results])
    return path


def _predict_file(
    segmenter: Segmenter,
    path: Path,
    image_id: int,
    name: str,
    prompts: list[Prompt],
    out: Path,
    frame: int,
    provenance: Mapping[str, Any],
) -> FileResult:
    scan = read_scan(path)
    try:
        segmenter.set_image(scan, frame=frame)
        prediction = segmenter.predict(prompts)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error
    probabilities = (
        segmenter.classify(prompts) if isinstance(segmenter, ClassifyingSegmenter) else None
    )
    entries = []
    for index, prompt in enumerate(prompts):
        mask = prediction.masks[index, 0]
        write_mask(out / f"{name}_mask_{index}.png", mask)
        extra = {
            "file_name": str(path), "frame": frame, "prompt": _as_json(prompt),
            "predicted_iou": round(float(prediction.predicted_iou[index, 0]), 4),
            "stability_score": round(float(prediction.stability_score[index, 0]), 4), **provenance,
        }  # fmt: skip
        if probabilities is not None and isinstance(segmenter, ClassifyingSegmenter):
            rounded = (round(float(p), 4) for p in probabilities[index])
            by_class = dict(zip(segmenter.classes, rounded, strict=True))
            extra |= {
                "class": max(by_class, key=by_class.__getitem__),
                "class_probabilities": by_class,
            }
        score = float(prediction.predicted_iou[index, 0])
        entries.append(coco_result(mask, image_id=image_id, score=score, extra=extra))
    overlay = out / f"{name}_overlay.png"
    points = [
        (float(x), float(y), int(label))
        for prompt in prompts
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True)
    ]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    write_overlay(
        overlay, scan.frame(frame), list(prediction.masks[:, 0]), boxes=boxes, points=points
    )
    return FileResult(path, overlay, entries)


def _as_json(prompt: Prompt) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if prompt.box is not None:
        entry["box"] = prompt.box.tolist()
    if len(prompt.points):
        entry["points"] = prompt.points.tolist()
        entry["labels"] = prompt.labels.tolist()
    return entry
