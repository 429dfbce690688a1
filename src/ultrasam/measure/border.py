"""What the border's doubt does to a number: the mask at other levels of its probability."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ultrasam.images.masks import BoolMask
from ultrasam.measure.outline import largest_part

WIDE, TIGHT = 0.3, 0.7  # levels of the probability; the mask itself is at 0.5


@dataclass(frozen=True, slots=True, eq=False)
class LevelMasks:
    """A mask, and what it would be at other levels of its probability.

    Attributes:
        mask: [H, W], at 0.5.
        wide, tight: [H, W], at 0.3 and 0.7; None for a mask without probabilities, as one that was drawn.
    """

    mask: BoolMask
    wide: BoolMask | None = None
    tight: BoolMask | None = None

    def others(self) -> tuple[BoolMask, BoolMask] | None:
        """The wide and the tight mask of what is measured: of the mask's largest part.

        Of the wide mask, these are the pieces that meet that part; of the tight mask, what lies in it.

        Raises:
            MeasurementError: The mask is empty.
        """
        if self.wide is None or self.tight is None:
            return None
        part = largest_part(self.mask)
        _, pieces = cv2.connectedComponents((self.wide | part).astype(np.uint8))
        wide = np.isin(pieces, np.setdiff1d(pieces[part], [0]))
        return wide, self.tight & part
