"""Segment files without prompts: instances and a label map for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultrasam.downstream.instances.model import InstanceSegmenter
from ultrasam.images.masks import coco_result
from ultrasam.images.reading import read_scan
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import write_labels, write_mask
from ultrasam.inference.batch import FileResult, process_files


def find_files(
    segmenter: InstanceSegmenter,
    paths: Sequence[Path],
    out: Path,
    *,
    frame: int = 0,
    score: float = 0.5,
    provenance: Mapping[str, Any],
) -> Iterator[FileResult]:
    """Find the objects in each file, and write them to ``out``.

    Writes ``<stem>_mask_<n>.png`` (most confident first), ``<stem>_labels.png`` (0 is background, k the k-th
    class) and ``<stem>_overlay.png``. Pass the results to `ultrasam.inference.batch.write_results`.

    Args:
        score: minimum score of a detection.
        provenance: keys to add to each result.
    """
    classes = segmenter.head_config.classes

    def find(path: Path, image_id: int, name: str) -> FileResult:
        pixels = read_scan(path).frame(frame)
        detections, labels = segmenter.predict(pixels)
        found = detections.above(score)
        write_labels(out / f"{name}_labels.png", labels)
        entries = []
        triples = zip(found.masks, found.labels.tolist(), found.scores.tolist(), strict=True)
        for index, (mask, label, confidence) in enumerate(triples):
            write_mask(out / f"{name}_mask_{index}.png", mask)
            extra = {"file_name": str(path), "frame": frame, "class": classes[label], **provenance}
            entries.append(
                coco_result(
                    mask, image_id=image_id, score=confidence, extra=extra, category_id=label + 1
                )
            )
        overlay = out / f"{name}_overlay.png"
        write_overlay(overlay, pixels, list(found.masks), colors=found.labels.tolist())
        return FileResult(path, overlay, entries)

    yield from process_files(paths, find)
