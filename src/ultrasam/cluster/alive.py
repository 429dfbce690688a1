"""A worker's sign of life while it is at one file for long, such as a cine of thousands of frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike

Alive = Callable[[], None]


class AlivePredictor(Predictor):
    """Says before each frame that work goes on.

    Attributes:
        alive: called before each frame; does nothing until it is set.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.alive: Alive = lambda: None

    def set_image(self, scan: ScanLike, **how: Any) -> None:
        """As in `Predictor`."""
        self.alive()
        super().set_image(scan, **how)
