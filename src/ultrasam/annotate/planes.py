"""Planes across the slices of a volume, with the masks that are drawn in its slices."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from ultrasam.annotate.project.masks import masks_in
from ultrasam.annotate.project.objects import objects_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.wire import mask_json, object_json
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.pixels import Frame
from ultrasam.images.reslice import along_axis
from ultrasam.images.rle import decode
from ultrasam.images.scan import Scan

MOST_BYTES = 1_000_000_000
"""Of a volume that is cut; all of it is kept in memory."""


class Planes:
    """Cuts the volumes of a project; the last one is kept.

    A plane of axis 1 holds one row of each slice, one of axis 2 one column of each: both have as many rows as
    there are slices, the first slice on top.
    """

    def __init__(self, project: Project, scans: Scans) -> None:
        self._project, self._scans = project, scans
        self._kept: tuple[Scan, Frame] | None = None
        self._lock = threading.Lock()

    def pixels(self, image: int, axis: int, index: int) -> Frame:
        """The pixels of a plane, [T, W] or [T, W, 3] along axis 1 and [T, H] or [T, H, 3] along axis 2.

        Raises:
            DataError: There is no such image or plane, the image has one frame, or the volume is too large.
            ScanError: The file cannot be read.
        """
        scan = self._scans.scan(image)
        _checked_along(scan, axis, index)
        return np.ascontiguousarray(np.take(self._voxels(scan), index, axis))

    def plane(self, image: int, reader: str, axis: int, index: int) -> dict[str, Any]:
        """A plane as an answer's JSON.

        Returns:
            Its ``width``, ``height`` and ``spacing`` in mm, or None; and the reader's ``objects`` that it
            meets, each with its mask in it.

        Raises:
            DataError, ScanError: As in `pixels`, whatever the volume's size.
        """
        scan = self._scans.scan(image)
        along = _checked_along(scan, axis, index)
        met: dict[str, BoolMask] = {}
        for content in masks_in(self._project, image, reader, first=0, last=scan.num_frames - 1):
            (x, y), crop = _cropped(content.rle, (scan.height, scan.width))
            place, start, count = (
                (index - y, x, crop.shape[1]) if axis == 1 else (index - x, y, crop.shape[0])
            )
            if not 0 <= place < crop.shape[axis - 1]:
                continue
            line = crop.take(place, axis - 1)
            if line.any():
                mask = met.setdefault(content.object, np.zeros((along.height, along.width), bool))
                mask[content.frame, start : start + count] = line
        objects = [
            object_json(one, {"mask": mask_json(met[one.id])})
            for one in objects_of(self._project, image, reader)
            if one.id in met
        ]
        return {
            "width": along.width, "height": along.height, "spacing": along.spacing, "objects": objects,
        }  # fmt: skip

    def _voxels(self, scan: Scan) -> Frame:
        size = scan.num_frames * scan.height * scan.width * (3 if scan.is_rgb else 1)
        if size > MOST_BYTES:
            raise DataError(
                f"The volume has {size / 1e9:.1f} GB; planes across are shown up to "
                f"{MOST_BYTES / 1e9:g} GB. Crop it, or save it at half the size."
            )
        with self._lock:
            if self._kept is None or self._kept[0] is not scan:
                self._kept = None  # before another is read
                self._kept = scan, scan.read_all()
            return self._kept[1]


def _checked_along(scan: Scan, axis: int, index: int) -> Scan:
    """The planes along an axis as a scan, once it is checked that there is one of this index."""
    if scan.num_frames == 1:
        raise DataError("The image has one frame; planes across are for volumes and cines.")
    along = along_axis(scan, axis)
    if index >= along.num_frames:
        raise DataError(
            f"Plane {index} of axis {axis} does not exist; the image has {along.num_frames}, numbered from 0."
        )
    return along


@lru_cache(maxsize=4096)
def _cropped(rle: str, shape: tuple[int, int]) -> tuple[tuple[int, int], BoolMask]:
    """Where a mask's box begins, (x, y), and what is in it."""
    mask = decode(rle, shape)
    x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
    return (x0, y0), mask[y0:y1, x0:x1].copy()
