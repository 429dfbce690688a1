"""Write the masks of all frames of a file together, in the formats that hold them so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask, decode_rle
from ultrasam.images.scan import Scan
from ultrasam.images.writing.formats import MaskFormat, write_masks
from ultrasam.images.writing.segmentation import Provenance, Segmentation
from ultrasam.inference.processing import FileResult
from ultrasam.measure.report import shape_measurements

# What `predict` writes for each frame as it goes.
BY_FRAME = (MaskFormat.png, MaskFormat.coco)
_FACTS = (
    "prompt", "predicted_iou", "stability_score", "low_confidence", "class", "class_probabilities", "score",
)  # fmt: skip


@dataclass(slots=True)
class Exports:
    """Writes the results of one file after another; an instance is a `ultrasam.inference.processing.Finish`.

    Attributes:
        out: the folder.
        formats: which; those of `BY_FRAME` are left out.
        provenance: what made the masks.
        categories: found so far, in the order of their numbers in YOLO's files.
    """

    out: Path
    formats: Sequence[MaskFormat]
    provenance: Provenance
    categories: list[str] = field(default_factory=list)

    def __call__(
        self, scan: Scan, name: str, results: Sequence[FileResult]
    ) -> tuple[list[Path], tuple[str, ...]]:
        """Write the masks of one scan; see `ultrasam.images.writing.formats.write_masks`."""
        result = as_segmentation(scan, results, self.provenance)
        self.categories += [c for c in result.categories if c not in self.categories]
        wanted = [one for one in self.formats if one not in BY_FRAME]
        return write_masks(self.out, name, result, wanted, categories=self.categories)


def as_segmentation(
    scan: Scan, results: Sequence[FileResult], provenance: Provenance
) -> Segmentation:
    """The results of a scan's frames as one: objects are told apart by their prompts.

    Objects without prompts are told apart by their class and their rank in it, frame by frame: they need not
    be the same from one frame to the next.
    """
    found: dict[tuple[int, tuple[str, int]], tuple[BoolMask, Mapping[str, Any]]] = {}
    for result in results:
        ranks: Counter[str] = Counter()
        for entry in result.results:
            category = str(entry.get("category") or entry.get("class") or "object")
            number = int(entry.get("object", ranks[category]))
            ranks[category] += 1
            found[result.frame, (category, number)] = decode_rle(entry["segmentation"]), entry
    objects = sorted({key for _, key in found}, key=lambda key: (key[1], key[0]))
    alike = Counter(category for category, _ in objects)
    names = [f"{c} {number}" if alike[c] > 1 else c for c, number in objects]
    masks = MaskSequence(scan.num_frames, scan.height, scan.width, tuple(names))
    empty = np.zeros((scan.height, scan.width), bool)
    details = {}
    for result in results:
        if result.size is None:
            continue
        nothing: tuple[BoolMask, Mapping[str, Any]] = (empty, {})
        stack = [found.get((result.frame, key), nothing) for key in objects]
        masks.put(
            result.frame,
            np.stack([mask for mask, _ in stack]) if stack else np.zeros((0, *empty.shape)),
        )
        for number, (_, told) in enumerate(stack):
            details[result.frame, number] = {k: told[k] for k in _FACTS if k in told}
    return Segmentation(
        scan, masks, provenance, tuple(category for category, _ in objects), details,
        shape_measurements(masks, scan),
    )  # fmt: skip
