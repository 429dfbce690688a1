"""Postprocessor: what is removed from a network's masks. It is saved with the weights."""

from __future__ import annotations

from dataclasses import dataclass

from ultrasam.model.preprocessing import SavedSettings


@dataclass(frozen=True, slots=True)
class Postprocessor(SavedSettings):
    """What is removed from a network's masks of clicks alone; by default nothing, as in SAM.

    Attributes:
        clicked_piece: keep only the connected pieces that hold a foreground click; all of them, if none does.
        within_scan: remove what lies in the black around the scanned sector, unless a click does, too.
    """

    clicked_piece: bool = False
    within_scan: bool = False
