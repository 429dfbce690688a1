"""Which data sets a model has seen that was trained on others: some have images or patients in common."""

from __future__ import annotations

from collections.abc import Iterable

from ultrasam.datasets.catalogue import catalogue, facts


def seen_by(trained_on: Iterable[str]) -> frozenset[str]:
    """The data sets of which a model has, or may have, seen images or patients.

    Args:
        trained_on: ids of the data sets that it was trained on; unknown ones count as themselves.

    Returns:
        These, and all that overlap with one of them (`DatasetInfo.overlaps`) or share its patients
        (`DatasetSpec.shares_subjects`). The images of each data set are those of all its neighbors at most,
        so an overlap is not followed further.
    """
    seen = frozenset(trained_on)
    neighbors = {(name, other) for name, info in facts().items() for other in info.overlaps}
    neighbors |= {
        (name, spec.shares_subjects)
        for name, spec in catalogue().items()
        if spec.shares_subjects is not None
    }
    both_ways = neighbors | {(other, name) for name, other in neighbors}
    return seen | {other for name, other in both_ways if name in seen}
