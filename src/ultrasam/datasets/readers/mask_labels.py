"""`MaskLabels`: which structure each code of a mask file is, as a user says or as a data set's masks show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Instance
from ultrasam.datasets.readers.mask_profiles import (
    INVERTED,
    LOSSY,
    near_binary_threshold,
    profile_of,
)
from ultrasam.errors import DataError
from ultrasam.images.mask_files import COLOR, MaskFile, brightness, code_name, distance

IGNORE = "ignore"
_TOLERANCE = 24  # how far JPEG moves a value inside a region


@dataclass(frozen=True, slots=True)
class MaskLabels:
    """Maps codes (see `images.mask_files`) to structures.

    Attributes:
        names: the structure of each code; ``IGNORE`` for a region to ignore. Other codes are background.
        stated: whether a user gave them; then a mask that looks inverted is what it should be.
    """

    names: Mapping[int, str]
    stated: bool = False

    def __call__(self, mask: MaskFile) -> tuple[Instance, ...]:
        """The instances of a mask file, one for each structure.

        Raises:
            DataError: What the values mean is not certain.
        """
        codes = self._settled(mask)
        present: dict[str, npt.NDArray[np.bool_]] = {}
        for code, name in self.names.items():
            where = codes == code
            present[name] = present[name] | where if name in present else where
        return tuple(Instance(name, m, ignore=name == IGNORE) for name, m in present.items())

    def _settled(self, mask: MaskFile) -> npt.NDArray[np.int64]:
        """The code of each pixel without soft edges."""
        found = profile_of(mask)
        problem = found.problem
        if problem == INVERTED and self.stated:
            problem = None
        if problem == LOSSY and self.stated:
            return _snapped(mask, [0, *self.names])
        if problem is not None:
            raise DataError(problem)
        bright = brightness(mask.codes)
        if found.near_binary:
            level = next(iter(found.levels))
            above = bright >= near_binary_threshold(level)
            return np.where(above, self.nominal(level), 0)
        known = [code for code in (0, *found.levels) if code or found.has_zero]
        settled = np.isin(mask.codes, known)
        if settled.all():
            return mask.codes
        if len(known) == 2:
            low, high = sorted(known, key=lambda code: _bright(code))
            middle = (_bright(low) + _bright(high)) / 2
            return np.where(settled, mask.codes, np.where(bright >= middle, high, low))
        return _nearest(mask.codes, mask.codes, settled)

    def nominal(self, level: int) -> int:
        """The named code that a level stands for, whose value blur or compression has moved."""
        named = [code for code in self.names if code]
        moved = {code: float(distance(np.array(level), code)) for code in named}
        near = min(moved, key=lambda code: moved[code], default=level)
        return near if moved.get(near, 0) <= 2 * _TOLERANCE else level


def parse_labels(text: str) -> dict[int, str]:
    """Read ``1=cyst,2=wall``, ``#ff0000=cyst`` or ``255=ignore``.

    Raises:
        DataError: It is none of these.
    """
    names: dict[int, str] = {}
    for part in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"(?:(\d{1,5})|#([0-9a-fA-F]{6}))\s*=\s*(\S(?:.*\S)?)", part)
        if match is None:
            raise DataError(
                f"--labels has '{part}'; write VALUE=NAME, for example 1=cyst,2=wall or '#ff0000=cyst'."
            )
        code = int(match[1]) if match[1] else _color(match[2])
        if code in names:
            raise DataError(f"--labels names {code_name(code)} twice.")
        names[code] = match[3]
    if set(names.values()) == {IGNORE}:
        raise DataError("--labels names no structure, only regions to ignore.")
    return names


def _color(digits: str) -> int:
    value = int(digits, 16)
    red, green, blue = value >> 16, value >> 8 & 255, value & 255
    return red if red == green == blue else COLOR + value


def _bright(code: int) -> float:
    return float(brightness(np.array([code]))[0])


def _nearest(
    mask: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], settled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Give each pixel that is not settled the code, among those of settled pixels within two pixels, whose
    brightness is the nearest to its own; or that of the nearest settled pixel."""
    _, labels = cv2.distanceTransformWithLabels(
        (~settled).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(labels.max()) + 1, np.int64)
    of_label[labels[settled]] = codes[settled]
    result = np.where(settled, codes, of_label[labels])
    best = np.full(mask.shape, np.inf, np.float32)
    square = np.ones((5, 5), np.uint8)
    for code in np.unique(codes[settled]):
        near = cv2.dilate(((codes == code) & settled).astype(np.uint8), square) > 0
        apart = distance(mask, int(code))
        closer = near & ~settled & (apart < best)
        result[closer], best[closer] = code, apart[closer]
    return np.asarray(result)


def _snapped(mask: MaskFile, known: list[int]) -> npt.NDArray[np.int64]:
    """Codes of a mask compressed with loss: the nearest known ones; regions without an inside are edges."""
    levels = np.array(sorted(set(known)), np.int64)
    apart = np.stack([distance(mask.codes, int(level)) for level in levels])
    codes = levels[apart.argmin(axis=0)]
    gaps = [distance(levels[levels != level], int(level)).min(initial=255) for level in levels]
    settled = apart.min(axis=0) <= min(_TOLERANCE, *(float(gap) / 3 for gap in gaps))
    square = np.ones((3, 3), np.uint8)
    for code in levels:
        region = ((codes == code) & settled).astype(np.uint8)
        inside = cv2.erode(region, square, borderType=cv2.BORDER_REPLICATE)
        _, parts = cv2.connectedComponents(region)
        kept = np.unique(parts[inside > 0])
        settled &= (region == 0) | np.isin(parts, kept[kept > 0])
    if not settled.any():
        raise DataError(LOSSY)
    return _nearest(mask.codes, codes, settled)
