"""A clip with lists of mask files, the k-th of each for the k-th frame."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Instance, Picture
from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.datasets.readers.label_rules import LabelRule, require_shape
from ultrasam.errors import UltraSamError
from ultrasam.images.cine import read_cine
from ultrasam.images.pixels import grey_if_grey
from ultrasam.images.raster import decode_values


def read_masked_clip(
    clip: Entry, lists: tuple[tuple[LabelRule, tuple[Entry, ...]], ...]
) -> Iterator[Picture | Skip]:
    """Every frame that has a mask; the lists may differ in length.

    A damaged mask costs its frame, since the frame would be short of an object.
    """
    count = max(len(masks) for _, masks in lists)
    with clip.on_disk() as path:
        scan = read_cine(path)
        for surplus in range(len(scan), count):
            yield Skip(f"{clip.path} frame {surplus}", "mask beyond the clip's last frame")
        for frame in range(min(count, len(scan))):
            try:
                pixels = grey_if_grey(scan.frame(frame))
                instances: list[Instance] = []
                for rule, masks in lists:
                    if frame < len(masks):
                        values = decode_values(masks[frame].read(), masks[frame].path)
                        require_shape(values, pixels.shape[:2], masks[frame].path)
                        instances.extend(rule(values))
            except UltraSamError as error:
                yield Skip(f"{clip.path} frame {frame}", str(error), damage=True)
                continue
            yield Picture(pixels, tuple(instances), frame)
