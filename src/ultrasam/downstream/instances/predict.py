"""Segment files without prompts: instances and a label map for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.downstream.instances.detections import Detections
from ultrasam.downstream.instances.exported import ExportedInstanceSegmenter
from ultrasam.downstream.instances.model import InstanceSegmenter
from ultrasam.images.masks import bounding_box, coco_result
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_labels, write_mask
from ultrasam.inference.coco_ids import CocoIds
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.processing import (
    FileResult,
    Finish,
    Pipeline,
    ScanFrame,
    process_files,
)


def find_files(
    segmenter: InstanceSegmenter | ExportedInstanceSegmenter,
    paths: Sequence[Path],
    out: Path,
    *,
    frames: FrameChoice = None,
    score: float = 0.5,
    provenance: Mapping[str, Any],
    coco: CocoIds | None = None,
    png: bool = True,
    overlay: bool = True,
    finish: Finish | None = None,
    pipeline: Pipeline | None = None,
) -> Iterator[FileResult]:
    """Find the objects in each file, and write them to ``out``.

    Writes ``<name>_mask_<n>.png`` (most confident first), ``<name>_labels.png`` (0 is background, k the k-th
    class) and ``<name>_overlay.png``; see `ultrasam.inference.batch.predict_files` for names and IDs. Pass
    the results to `ultrasam.inference.batch.write_results`.

    Args:
        score: minimum score of a detection.
        provenance: keys to add to each result.
        coco: IDs for the results.
        png: write the masks and the label map as PNG.
        overlay: write the overlays.
        finish, pipeline: as `ultrasam.inference.processing.process_files` takes them.
    """
    classes = segmenter.classes

    def find(frame: ScanFrame) -> tuple[Detections, npt.NDArray[np.uint8]]:
        return segmenter.predict(frame.pixels)

    def write(frame: ScanFrame, predicted: tuple[Detections, npt.NDArray[np.uint8]]) -> FileResult:
        image_id = frame.number if coco is None else coco.image(frame.path, frame.scan)
        pixels, (detections, labels) = frame.pixels, predicted
        found = detections.above(score)
        if png:
            write_labels(out / f"{frame.name}_labels.png", labels)
        entries, texts = [], []
        triples = zip(found.masks, found.labels.tolist(), found.scores.tolist(), strict=True)
        for index, (mask, label, confidence) in enumerate(triples):
            mask_file = out / f"{frame.name}_mask_{index}.png"
            extra = {
                "file_name": str(frame.path), "frame": frame.index,
                **({"mask": mask_file.name} if png else {}), "class": classes[label], **provenance,
            }  # fmt: skip
            if png:
                write_mask(mask_file, mask, told=extra)
            category = label + 1 if coco is None else coco.category(classes[label])
            entries.append(
                coco_result(
                    mask, image_id=image_id, score=confidence, extra=extra, category_id=category
                )
            )
            x, y = bounding_box(mask)[:2].tolist()
            texts.append((str(index), x, y))
        picture = out / f"{frame.name}_overlay.png" if overlay else None
        if picture is not None:
            colors = found.labels.tolist()
            write_overlay(picture, pixels, list(found.masks), colors=colors, texts=texts)
        notes = () if entries else (f"{frame.path}: no object with a score of at least {score:g}.",)
        return FileResult(frame.path, picture, entries, notes=notes, size=pixels.shape[:2])

    yield from process_files(paths, find, write, frames=frames, finish=finish, pipeline=pipeline)
