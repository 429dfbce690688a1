"""Segment everything in many files; a file or frame that fails is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultrasam.images.masks import bounding_box, coco_result
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_mask
from ultrasam.inference.automatic import Regions, segment_everything
from ultrasam.inference.coco_ids import CocoIds
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.processing import FileResult, Pipeline, ScanFrame, process_files


def segment_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    frames: FrameChoice = None,
    provenance: Mapping[str, Any],
    coco: CocoIds | None = None,
    png: bool = True,
    overlay: bool = True,
    pipeline: Pipeline | None = None,
) -> Iterator[FileResult]:
    """Segment all regions of each file, and write them to ``out``.

    Writes ``<name>_mask_<n>.png`` (best first) and ``<name>_overlay.png``; see
    `ultrasam.inference.batch.predict_files` for names and IDs. Pass the results to
    `ultrasam.inference.batch.write_results`.

    Args:
        predictor: takes clicks.
        paths: the files.
        out: the folder.
        frames: of cines and volumes.
        provenance: keys to add to each result.
        coco: IDs for the results.
        png: write the masks as PNG.
        overlay: write the overlays.
        pipeline: as `ultrasam.inference.processing.process_files` takes it.
    """

    def segment(frame: ScanFrame) -> Regions:
        return segment_everything(frame.pixels, model=predictor)

    def write(frame: ScanFrame, found: Regions) -> FileResult:
        image_id = frame.number if coco is None else coco.image(frame.path, frame.scan)
        entries, texts = [], []
        for number, mask in enumerate(found.masks):
            mask_file = out / f"{frame.name}_mask_{number}.png"
            if png:
                write_mask(mask_file, mask)
            extra = {
                "file_name": str(frame.path), "frame": frame.index,
                **({"mask": mask_file.name} if png else {}),
                "prompt": "automatic", "point": found.points[number].tolist(),
                "predicted_iou": round(float(found.predicted_iou[number]), 4),
                "stability_score": round(float(found.stability_score[number]), 4),
                "inside": int(found.parents[number]), **provenance,
            }  # fmt: skip
            category = 1 if coco is None else coco.category(None)
            score = float(found.predicted_iou[number])
            entries.append(
                coco_result(mask, image_id=image_id, score=score, category_id=category, extra=extra)
            )
            x, y = bounding_box(mask)[:2].tolist()
            texts.append((str(number), x, y))
        picture = out / f"{frame.name}_overlay.png" if overlay else None
        if picture is not None:
            write_overlay(picture, frame.pixels, list(found.masks), texts=texts)
        notes = () if entries else (f"{frame.path}: no region is clear enough to be segmented.",)
        return FileResult(frame.path, picture, entries, notes=notes, size=frame.pixels.shape[:2])

    yield from process_files(paths, segment, write, frames=frames, pipeline=pipeline)
