"""Slices of a volume along another axis than the one that it is stored along."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ultrasam.errors import ConfigError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan

_MOST_BYTES = 4_000_000_000


def along_axis(scan: Scan, axis: int) -> Scan:
    """The slices of a volume along an axis; for axis 0, the scan itself.

    Axis 1 runs along the rows of the stored slices: slice ``r`` holds row ``r`` of each, from top to bottom.
    Axis 2 runs along their columns: slice ``c`` holds column ``c`` of each, from left to right. Their rows
    are the stored slices; they have a spacing if the distance between those is known. All of the volume is
    kept in memory.

    Raises:
        ConfigError: The axis does not exist, or the scan has too few frames or is too large.
    """
    if axis == 0:
        return scan
    where = scan.source or "The scan"
    if axis not in (1, 2):
        raise ConfigError(f"Axis {axis} does not exist; choose 0, 1 or 2.")
    if scan.num_frames == 1:
        raise ConfigError(f"{where} has one frame; axis {axis} is for volumes.")
    if scan.num_frames * scan.height * scan.width * (3 if scan.is_rgb else 1) > _MOST_BYTES:
        raise ConfigError(
            f"{where} is too large to be cut along axis {axis}; use axis 0, or crop the volume."
        )

    @lru_cache(maxsize=1)
    def whole() -> Frame:
        return scan.read_all()

    def read(index: int) -> Frame:
        return np.ascontiguousarray(np.take(whole(), index, axis=axis))

    count, width = (scan.height, scan.width) if axis == 1 else (scan.width, scan.height)
    spacing = distance = None
    if scan.spacing is not None and scan.slice_spacing is not None:
        spacing = scan.slice_spacing, scan.spacing[2 - axis]
        distance = scan.spacing[axis - 1]
    return replace(
        scan,
        num_frames=count,
        height=scan.num_frames,
        width=width,
        read_frame=read,
        spacing=spacing,
        slice_spacing=distance,
        frame_time=None,
        regions=(),  # rectangles of the stored frames
    )


def masks_as_stored(masks: MaskSequence, scan: Scan, axis: int) -> MaskSequence:
    """Masks in slices along an axis as masks in the stored slices of the scan; the inverse of `along_axis`.

    Args:
        masks: in the frames of ``along_axis(scan, axis)``.
        scan: as stored.
        axis: 1 or 2.
    """
    out = MaskSequence(scan.num_frames, scan.height, scan.width, masks.names)
    volume = np.zeros((len(masks.names), scan.num_frames, scan.height, scan.width), bool)
    for frame in masks.frames:
        np.moveaxis(volume, axis + 1, 0)[frame] = masks.masks(frame)
    for frame in range(scan.num_frames):
        if volume[:, frame].any():
            out.put(frame, volume[:, frame])
    return out
