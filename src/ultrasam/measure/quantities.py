"""Quantity and Measurement: a number with what it measures, its unit and its doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Dimension = Literal["length", "area", "volume", "percent", "angle", "count"]
_UNITS: Mapping[Dimension, tuple[str, str]] = {  # calibrated, in pixels
    "length": ("mm", "px"),
    "area": ("mm²", "px²"),
    "volume": ("ml", "px³"),
    "percent": ("%", "%"),
    "angle": ("°", "°"),
    "count": ("", ""),
}
_MM3_PER_ML = 1000.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as a formula gives it, in powers of the spacing's unit.

    Attributes:
        name: such as ``head circumference``.
        value: in mm, mm² or mm³ if the spacing was in mm, else in pixels; a share in percent, an angle in
            degrees.
        dimension: what kind of number it is.
    """

    name: str
    value: float
    dimension: Dimension = "length"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured number.

    Attributes:
        name: what is measured, such as ``head circumference``.
        value: the number; volumes are in ml.
        unit: ``mm``, ``mm²``, ``ml``, ``px``, ``px²``, ``px³``, ``%``, ``°``, or empty for a count.
        low, high: the smallest and the largest number that the mask gives at the levels 0.3, 0.5 and 0.7 of
            its probability; None if the mask has no probabilities, or a level has no such measure.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(
        cls, quantity: Quantity, *, calibrated: bool, others: tuple[float, ...] | None = None
    ) -> Measurement:
        """A quantity with its unit.

        Args:
            calibrated: whether the spacing was in mm.
            others: the same quantity at other levels of the mask's probability; None if there are none.
        """
        unit = _UNITS[quantity.dimension][0 if calibrated else 1]
        scale = _MM3_PER_ML if unit == "ml" else 1.0
        value = quantity.value / scale
        if others is None or not all(math.isfinite(other) for other in others):
            return cls(quantity.name, value, unit)
        if quantity.dimension == "angle":  # of an axis, which is the same after half a turn
            others = tuple(value + (other - value + 90) % 180 - 90 for other in others)
        levels = (value, *(other / scale for other in others))
        return cls(quantity.name, value, unit, min(levels), max(levels))

    @property
    def doubt(self) -> float | None:
        """The larger of the distances to ``low`` and ``high``; None if they are unknown."""
        if self.low is None or self.high is None:
            return None
        return max(self.high - self.value, self.value - self.low)

    def __str__(self) -> str:
        """As people read it: ``24.3 ± 0.6 mm``."""
        digits = 0 if self.unit == "" else 1
        doubt = "" if self.doubt is None else f" ± {self.doubt:.{digits}f}"
        return f"{self.value:.{digits}f}{doubt} {self.unit}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """For JSON: name, value, unit, low and high, to six significant digits."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        rounded = {key: None if v is None else float(f"{v:.6g}") for key, v in numbers.items()}
        return {"quantity": self.name, "unit": self.unit, **rounded}
