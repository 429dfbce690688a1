"""Read clips whose masks are lists of files, one file per frame."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.label_rules import LabelRule, require_shape
from ultrasam.errors import UltraSamError
from ultrasam.images.cine import read_cine
from ultrasam.images.pixels import gray_if_colorless
from ultrasam.images.raster import decode_values


def read_masked_clip(
    clip: FileEntry, lists: tuple[tuple[LabelRule, tuple[FileEntry, ...]], ...]
) -> Iterator[CaseImage | Skip]:
    """Read all frames of a clip that have a mask.

    A frame with a damaged mask is skipped, since it would be only partly annotated.

    Args:
        clip: the video file.
        lists: pairs of a label rule and mask files; the k-th file belongs to frame k. Lists may differ in
            length.
    """
    count = max(len(masks) for _, masks in lists)
    with clip.on_disk() as path:
        scan = read_cine(path)
        for extra in range(len(scan), count):
            yield Skip(f"{clip.path} frame {extra}", "mask after the last frame of the clip")
        for frame in range(min(count, len(scan))):
            try:
                pixels = gray_if_colorless(scan.frame(frame))
                instances: list[Instance] = []
                for rule, masks in lists:
                    if frame < len(masks):
                        values = decode_values(masks[frame].read(), masks[frame].path)
                        require_shape(values, pixels.shape[:2], masks[frame].path)
                        instances.extend(rule(values))
            except UltraSamError as error:
                yield Skip(f"{clip.path} frame {frame}", str(error), damage=True)
                continue
            yield CaseImage(pixels, tuple(instances), frame)
