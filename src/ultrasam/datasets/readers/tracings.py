"""Outlines traced on a few frames of a clip."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Instance, Picture
from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.datasets.readers.polygons import Polygon
from ultrasam.errors import ScanError
from ultrasam.images.cine import read_cine
from ultrasam.images.masks import polygon_mask
from ultrasam.images.pixels import grey_if_grey


def read_tracings(
    clip: Entry, name: str, tracings: tuple[tuple[int, Polygon], ...]
) -> Iterator[Picture | Skip]:
    """The traced frames of a clip: (0-based frame, polygon)."""
    with clip.on_disk() as path:
        scan = read_cine(path)
        for frame, polygon in tracings:
            where = f"{clip.path} frame {frame}"
            if not 0 <= frame < len(scan):
                yield Skip(where, "the clip has no such frame")
                continue
            try:
                pixels = scan.frame(frame)
            except ScanError:
                yield Skip(where, "frame cannot be decoded", damage=True)
                continue
            pixels = grey_if_grey(pixels)
            yield Picture(
                pixels, (Instance(name, polygon_mask([polygon], pixels.shape[:2])),), frame
            )
