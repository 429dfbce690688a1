"""Read clips with outlines traced on a few frames."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.polygons import Polygon
from ultrasam.errors import ScanError
from ultrasam.images.cine import read_cine
from ultrasam.images.masks import polygon_mask
from ultrasam.images.pixels import gray_if_colorless


def read_tracings(
    clip: FileEntry, name: str, tracings: tuple[tuple[int, Polygon], ...]
) -> Iterator[CaseImage | Skip]:
    """Read the traced frames of a clip.

    Args:
        clip: the video file.
        name: name of the traced structure.
        tracings: pairs of a 0-based frame and a polygon in pixels.
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
            yield CaseImage(
                pixels, (Instance(name, polygon_mask([polygon], pixels.shape[:2])),), frame
            )
