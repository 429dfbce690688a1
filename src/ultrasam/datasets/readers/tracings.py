"""Read clips with outlines traced on a few frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.annotations import EMPTY, Canvas, UnusableError
from ultrasam.datasets.readers.polygons import polygons_mask
from ultrasam.errors import ScanError
from ultrasam.images.cine import read_cine
from ultrasam.images.pixels import gray_if_colorless

Polygon = tuple[tuple[float, float], ...]


def read_tracings(
    clip: FileEntry,
    name: str,
    tracings: tuple[tuple[int, Polygon], ...],
    *,
    measurements: Mapping[str, float] | None = None,
) -> Iterator[CaseImage | Skip]:
    """Read the traced frames of a clip.

    Args:
        clip: the video file.
        name: name of the traced structure.
        tracings: pairs of a 0-based frame and a polygon in pixels.
        measurements: what the source measured in the clip; each frame has it.
    """
    with clip.on_disk() as path:
        scan = read_cine(path)
        for frame, polygon in tracings:
            where = f"{clip.path} frame {frame}"
            if not 0 <= frame < len(scan):
                yield Skip(where, "frame does not exist")
                continue
            try:
                pixels = scan.frame(frame)
            except ScanError:
                yield Skip(where, "frame cannot be decoded", damage=True)
                continue
            pixels = gray_if_colorless(pixels)
            shape: Any = pixels.shape[:2]
            try:
                mask = polygons_mask([np.array(polygon)], Canvas(shape, shape))
                if not mask.any():
                    raise UnusableError(EMPTY)
            except UnusableError as error:
                yield Skip(where, str(error), damage=True)
                continue
            instances = (Instance(name, mask),)
            yield CaseImage(pixels, instances, frame, measurements=measurements or {})
