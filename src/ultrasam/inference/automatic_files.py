"""Segment everything in many files; a file or frame that fails is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultrasam.images.masks import bounding_box, coco_result
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_mask
from ultrasam.inference.automatic import segment_everything
from ultrasam.inference.batch import FileResult, ScanFrame, process_files
from ultrasam.inference.coco_ids import CocoIds
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.predictor import Predictor


def segment_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    frames: FrameChoice = None,
    provenance: Mapping[str, Any],
    coco: CocoIds | None = None,
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
    """

    def segment(frame: ScanFrame) -> FileResult:
        image_id = frame.number if coco is None else coco.image(frame.path, frame.scan)
        pixels = frame.scan.frame(frame.index)
        found = segment_everything(pixels, model=predictor)
        entries, texts = [], []
        for number, mask in enumerate(found.masks):
            mask_file = out / f"{frame.name}_mask_{number}.png"
            write_mask(mask_file, mask)
            extra = {
                "file_name": str(frame.path), "frame": frame.index, "mask": mask_file.name,
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
        overlay = out / f"{frame.name}_overlay.png"
        write_overlay(overlay, pixels, list(found.masks), texts=texts)
        notes = () if entries else (f"{frame.path}: no region is clear enough to be segmented.",)
        return FileResult(frame.path, overlay, entries, notes=notes)

    yield from process_files(paths, segment, frames=frames)
