"""What the source measured in an image, as a cell of a store's image table: a JSON object, or null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from ultrasam.errors import DataError


def to_json(measurements: Mapping[str, float]) -> str | None:
    """The cell of an image: a JSON object, sorted by name; None if nothing was measured.

    Raises:
        DataError: A value is not finite.
    """
    for name, value in measurements.items():
        if not math.isfinite(value):
            raise DataError(f"The measurement {name} is {value}; a finite number is needed.")
    if not measurements:
        return None
    values = {name: float(value) for name, value in sorted(measurements.items())}
    return json.dumps(values, ensure_ascii=False)


def from_json(cell: str | None, *, where: object) -> dict[str, float]:
    """The measurements in a cell; empty for null.

    Args:
        cell: the cell.
        where: the store, for the error message.

    Raises:
        DataError: The cell is no JSON object of finite numbers.
    """
    if cell is None:
        return {}
    try:
        values = json.loads(cell)
        if isinstance(values, dict) and all(_is_finite_number(v) for v in values.values()):
            return {name: float(value) for name, value in values.items()}
    except ValueError:
        pass
    raise DataError(f"{where} has damaged measurements ({cell!r}); build the store again.")


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
