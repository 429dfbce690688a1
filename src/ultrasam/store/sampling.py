"""A few rows that stand for many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spread(rows: npt.NDArray[np.int64], count: int) -> list[int]:
    """``count`` rows spread evenly over all, so that a sheet shows every part of a data set."""
    if len(rows) <= count:
        return [int(r) for r in rows]
    return [int(rows[i]) for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
