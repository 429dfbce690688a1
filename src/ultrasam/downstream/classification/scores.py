"""How good class probabilities are: the paper's figures and those that imbalance calls for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs

with needs("Fine-tuning", extra="downstream"):
    from sklearn import metrics

Floats = npt.NDArray[np.float64]
NAMES = ("accuracy", "balanced accuracy", "precision", "recall", "F1", "AUROC", "calibration error")


@dataclass(frozen=True, slots=True)
class ScoreInterval:
    """One figure with its 95 % interval, by bootstrap over subjects."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def figures(truth: npt.NDArray[np.int64], probabilities: Floats) -> Floats:
    """All of ``NAMES``: precision, recall and F1 are means over the classes; AUROC of one class against the
    rest, mean over the classes; the expected calibration error of the winning class in ten bins."""
    said = probabilities.argmax(axis=1)
    count = probabilities.shape[1]
    labels = list(range(count))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, said, labels=labels, average="macro", zero_division=0.0
    )
    present = np.unique(truth)
    auroc = [
        metrics.roc_auc_score(truth == label, probabilities[:, label])
        for label in present
        if 0 < (truth == label).sum() < len(truth)
    ]
    sure = probabilities.max(axis=1)
    which = np.minimum((sure * 10).astype(int), 9)
    right = said == truth
    error = sum(
        abs(right[which == b].mean() - sure[which == b].mean()) * (which == b).mean()
        for b in np.unique(which)
    )
    balanced = np.mean([right[truth == label].mean() for label in present])
    area = float(np.mean(auroc)) if auroc else np.nan
    return np.array([right.mean(), balanced, precision, recall, f1, area, error])


def score(
    truth: npt.NDArray[np.int64],
    probabilities: Floats,
    subjects: Sequence[str],
    *,
    draws: int = 500,
) -> dict[str, ScoreInterval]:
    """Every figure with its interval."""
    return _with_intervals(lambda rows: figures(truth[rows], probabilities[rows]), subjects, draws)


def gain(
    truth: npt.NDArray[np.int64],
    ours: Floats,
    others: Floats,
    subjects: Sequence[str],
    *,
    draws: int = 500,
) -> dict[str, ScoreInterval]:
    """What one set of probabilities gains over another on the same images, paired."""
    return _with_intervals(
        lambda rows: figures(truth[rows], ours[rows]) - figures(truth[rows], others[rows]),
        subjects,
        draws,
    )


def _with_intervals(
    of: Callable[[npt.NDArray[np.int64]], Floats], subjects: Sequence[str], draws: int
) -> dict[str, ScoreInterval]:
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    members = [np.flatnonzero(index == i) for i in range(len(names))]
    rng = np.random.default_rng(0)
    drawn = np.array(
        [
            of(np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))]))
            for _ in range(draws)
        ]
    )
    whole = of(np.arange(len(index)))
    with warnings.catch_warnings():
        # A figure that no draw has (AUROC where one class alone is tested) is NaN, as it should be.
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return {
        n: ScoreInterval(float(whole[i]), float(low[i]), float(high[i]))
        for i, n in enumerate(NAMES)
    }
