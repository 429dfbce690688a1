"""Folders of phantoms to annotate, with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from tests.web.test_dicom import dataset
from ultrasam.phantom.acquisition import simulate

SEED = 2018
SIZE = (680, 840)
SPACING_CM = 0.02
FRAME_TIME = 40.0  # ms
BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """The folder's files, and a structure in each.

    Attributes:
        folder: of the files.
        still: the structure of the PNG and of the DICOM still, [H, W].
        cine: the same in each frame of the cine, [T, H, W].
    """

    folder: Path
    still: BoolMask
    cine: BoolMask

    def point(self, frame: int | None = None) -> tuple[float, float]:
        """The place inside the structure that is farthest from its border, as x, y."""
        mask = self.still if frame is None else self.cine[frame]
        distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        return float(x) - 0.5, float(y) - 0.5


def phantom_folder(folder: Path, *, frames: int = 12, structure: str = "artery") -> Truth:
    """Write ``a_still.png``, ``b_still.dcm`` (calibrated), ``c_cine.dcm`` and ``d_broken.dcm``.

    Args:
        frames: of the cine, in which the scene sways by some pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    phantom = simulate(SEED, size=SIZE)
    mask = phantom.masks[phantom.names.index(structure)]
    pixels = phantom.pixels
    cv2.imwrite(str(folder / "a_still.png"), pixels)
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = SPACING_CM
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = SIZE[1] - 1, SIZE[0] - 1
    steps = [round(6 * np.sin(2 * np.pi * frame / 50)) for frame in range(frames)]
    shifted = np.stack([np.roll(pixels, step, axis=1) for step in steps])
    for name, array, more in (
        ("b_still.dcm", pixels[None], {}),
        ("c_cine.dcm", shifted, {"FrameTime": FRAME_TIME}),
    ):
        found = dataset(array, SequenceOfUltrasoundRegions=[region], **more)
        found.save_as(folder / name, enforce_file_format=True)
    (folder / "d_broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"no header")
    return Truth(folder, mask, np.stack([np.roll(mask, step, axis=1) for step in steps]))
