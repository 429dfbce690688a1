"""Region: a rectangle of a scan with one calibration, as an ultrasound scanner states it.

A screen may show several at once, such as two B-mode images side by side, or an image above a Doppler
spectrum, whose axes are time and velocity. A distance in mm exists within one two-dimensional region only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Spacing = tuple[float, float]
_SAME = 0.01  # relative difference up to which spacings count as equal


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of every frame of a scan, with one calibration.

    Attributes:
        box: x0, y0, x1, y1 in the scan's pixels; x1 and y1 are the outer edges of the last pixels.
        spacing: (row, column) distance between pixel centers in mm; None if its axes are no lengths, or its
            calibration is unknown.
        kind: what it shows, such as ``2-D``, ``M-mode`` or ``spectral Doppler``.
    """

    box: tuple[int, int, int, int]
    spacing: Spacing | None
    kind: str = "2-D"

    def holds(self, box: npt.ArrayLike) -> bool:
        """Whether a box x0, y0, x1, y1 lies within it."""
        x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
        left, top, right, bottom = self.box
        return left <= x0 and top <= y0 and x1 <= right and y1 <= bottom

    def meets(self, box: npt.ArrayLike) -> bool:
        """Whether a box x0, y0, x1, y1 shares pixels with it."""
        x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
        left, top, right, bottom = self.box
        return max(left, x0) < min(right, x1) and max(top, y0) < min(bottom, y1)


def same_spacing(a: Spacing | None, b: Spacing | None) -> bool:
    """Whether two spacings are equal to 1 %; unknown ones are equal to each other only."""
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= _SAME * y for x, y in zip(a, b, strict=True))
