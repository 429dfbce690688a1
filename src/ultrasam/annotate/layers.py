"""A mask's layers: what the model says, with what a hand has added and removed on top.

Hand edits outlast later clicks, so that a click never undoes drawing. Only where a click itself lies in an
edit does the edit give way: a click that removes takes back, of what was drawn there, the piece that it hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ultrasam.images.masks import BoolMask
from ultrasam.morphology import label_components


@dataclass(frozen=True, slots=True, eq=False)
class Edits:
    """Pixels that a hand has added and removed, [H, W] each; no pixel is in both."""

    added: BoolMask
    removed: BoolMask

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Edits:
        """No edits."""
        return cls(np.zeros(shape, bool), np.zeros(shape, bool))

    def on(self, mask: BoolMask) -> BoolMask:
        """A mask [H, W] with the edits on top."""
        return (mask | self.added) & ~self.removed

    def with_added(self, drawn: BoolMask) -> Edits:
        """After drawing pixels [H, W]."""
        return Edits(self.added | drawn, self.removed & ~drawn)

    def with_removed(self, erased: BoolMask) -> Edits:
        """After erasing pixels [H, W]."""
        return Edits(self.added & ~erased, self.removed | erased)

    def yielding(
        self, before: BoolMask, model: BoolMask, clicks: Sequence[tuple[float, float, int]]
    ) -> Edits:
        """What stays of the edits when new clicks lie in them.

        Args:
            before: the mask so far, edits included, [H, W].
            model: what the model says now, [H, W].
            clicks: new ones, (x, y, label).
        """
        added, removed = self.added, self.removed
        for x, y, label in clicks:
            column = min(max(int(x), 0), before.shape[1] - 1)
            row = min(max(int(y), 0), before.shape[0] - 1)
            if label and removed[row, column]:
                removed = removed & ~_piece(model & ~before, row, column)
            elif not label and added[row, column]:
                added = added & ~_piece(before & ~model, row, column)
        return Edits(added, removed)


def _piece(mask: BoolMask, row: int, column: int) -> BoolMask:
    """The connected piece of a mask at a pixel; empty if the pixel is outside."""
    if not mask[row, column]:
        return np.zeros_like(mask)
    _, labels = label_components(mask)
    return np.asarray(labels == labels[row, column])
