"""Pick a representative sample of rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spread(rows: npt.NDArray[np.int64], count: int) -> list[int]:
    """Pick ``count`` of the rows [N] at even intervals, so that every part of a data set is represented."""
    if len(rows) <= count:
        return [int(r) for r in rows]
    return [int(rows[i]) for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
