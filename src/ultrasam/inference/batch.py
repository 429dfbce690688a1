"""Many files, one after another: one that is bad is reported, and the others go on."""

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
from ultrasam.inference.segmenter import Classifying, Segmenter
from ultrasam.prompts import Prompt


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    Attributes:
        path: the input.
        overlay: the overlay picture, or None where the file failed.
        results: entries for the COCO results file.
        error: one sentence, or None.
    """

    path: Path
    overlay: Path | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


def find_inputs(given: Sequence[str]) -> list[Path]:
    """Files, folders (all images below them) and globs to files, each once, in order.

    Raises:
        ScanError: a name that matches nothing, or a folder without an image.
    """
    found: dict[Path, None] = {}
    for name in given:
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
                raise ScanError(f"The folder {path} holds no image.")
            found |= dict.fromkeys(inside)
        elif glob.has_magic(name) and not path.exists():
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            if not matches:
                raise ScanError(f"Nothing matches {name}.")
            found |= dict.fromkeys(p for p in matches if p.is_file())
        else:
            found[path] = None
    return list(found)


def read_prompts(path: Path) -> dict[str, list[Prompt]]:
    """A prompts file: image names to lists of prompts; the name ``*`` stands for every other image.

    ``{"a.png": [{"box": [x0, y0, x1, y1]}, {"points": [[x, y], …], "labels": [1, 0, …]}]}``

    Raises:
        PromptError: not such a file.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise PromptError(f"The prompts file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise PromptError(f"The prompts file {path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise PromptError(f"The prompts file {path} must map image names to lists of prompts.")
    out: dict[str, list[Prompt]] = {}
    for name, entries in content.items():
        if not isinstance(entries, list) or not entries:
            raise PromptError(f"{path}: '{name}' needs a list of prompts.")
        out[name] = []
        for entry in entries:
            if not isinstance(entry, dict) or set(entry) - {"box", "points", "labels"}:
                raise PromptError(
                    f"{path}: '{name}': a prompt has the keys box, points and labels."
                )
            try:
                out[name].append(Prompt(**entry))
            except PromptError as error:
                raise PromptError(f"{path}: '{name}': {error}") from error
    return out


def prompts_for(path: Path, prompts: Mapping[str, list[Prompt]]) -> list[Prompt]:
    """The prompts of one image, by its path, its name, or ``*``.

    Raises:
        PromptError: there are none.
    """
    for name in (str(path), path.name, "*"):
        if name in prompts:
            return prompts[name]
    raise PromptError(f"The prompts file says nothing of {path.name}; add it, or a '*' for all.")


def predict_files(
    segmenter: Segmenter,
    paths: Sequence[Path],
    prompts: Mapping[str, list[Prompt]],
    out: Path,
    *,
    frame: int = 0,
    provenance: Mapping[str, Any],
) -> Iterator[FileResult]:
    """Segment each file and write its masks and overlay.

    ``<stem>_mask_<n>.png`` and ``<stem>_overlay.png`` in ``out``; where two inputs share a stem, their
    number is added. Call `write_results` with what comes back.
    """
    yield from process_files(
        paths,
        lambda path, image_id, name: _predict_file(
            segmenter, path, image_id, name, prompts_for(path, prompts), out, frame, provenance
        ),
    )


def process_files(
    paths: Sequence[Path], do: Callable[[Path, int, str], FileResult]
) -> Iterator[FileResult]:
    """What ``do(path, image id from 1, stem that no other has)`` gives of each file, or why it failed."""
    stems: dict[str, int] = {}
    for image_id, path in enumerate(paths, start=1):
        stem = path.name.removesuffix(".gz").rsplit(".", 1)[0] or path.name
        stems[stem.lower()] = stems.get(stem.lower(), 0) + 1
        name = stem if stems[stem.lower()] == 1 else f"{stem}_{stems[stem.lower()]}"
        try:
            yield do(path, image_id, name)
        except UltraSamError as error:
            yield FileResult(path, error=str(error))
        except Exception as error:  # a fault of ours must not cost the other files
            yield FileResult(path, error=f"{path}: {type(error).__name__}: {error}")


def write_results(results: Sequence[FileResult], out: Path) -> Path:
    """One COCO results file for all inputs."""
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
    told = segmenter.classify(prompts) if isinstance(segmenter, Classifying) else None
    entries = []
    for index, prompt in enumerate(prompts):
        mask = prediction.masks[index, 0]
        write_mask(out / f"{name}_mask_{index}.png", mask)
        said = {
            "file_name": str(path), "frame": frame, "prompt": _as_json(prompt),
            "predicted_iou": round(float(prediction.predicted_iou[index, 0]), 4),
            "stability": round(float(prediction.stability_score[index, 0]), 4), **provenance,
        }  # fmt: skip
        if told is not None and isinstance(segmenter, Classifying):
            chances = dict(
                zip(segmenter.classes, (round(float(p), 4) for p in told[index]), strict=True)
            )
            said |= {"class": max(chances, key=chances.__getitem__), "class_probabilities": chances}
        score = float(prediction.predicted_iou[index, 0])
        entries.append(coco_result(mask, image_id=image_id, score=score, extra=said))
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
    said: dict[str, Any] = {}
    if prompt.box is not None:
        said["box"] = prompt.box.tolist()
    if len(prompt.points):
        said["points"] = prompt.points.tolist()
        said["labels"] = prompt.labels.tolist()
    return said
