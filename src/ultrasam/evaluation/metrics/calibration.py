"""Does a model know how good its masks are: predicted against true IoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of the predicted IoU.

    Attributes:
        error: expected calibration error: |mean predicted - mean true| over ten equal-width bins of the
            predicted IoU, weighted by count (Guo et al. 2017, equation 3, with IoU in place of accuracy).
        bias: mean predicted IoU minus mean true IoU.
        predicted, true, counts: per non-empty bin.
    """

    error: float
    bias: float
    predicted: Floats
    true: Floats
    counts: npt.NDArray[np.int64]


def calibration(
    predicted: Sequence[float] | Floats, true: Sequence[float] | Floats, *, bins: int = 10
) -> Calibration:
    """Compare predicted IoU (0 to 1) with true IoU, bin by bin."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    bin_index = np.clip((predicted * bins).astype(int), 0, bins - 1)
    counts = np.bincount(bin_index, minlength=bins)
    filled = counts > 0
    predicted_means, true_means = (
        np.bincount(bin_index, weights=values, minlength=bins)[filled] / counts[filled]
        for values in (predicted, true)
    )
    gaps = np.abs(predicted_means - true_means)
    return Calibration(
        float((gaps * counts[filled]).sum() / max(1, len(predicted))),
        float((predicted - true).mean()) if len(predicted) else float("nan"),
        predicted_means,
        true_means,
        counts[filled],
    )
