"""On which side of the split an image stands: the source's own side, else one by a hash of its subject.

A subject's images, and images that are the same or look the same, are one group, and a group stands
on one side. Where a source put two of a group on different sides, the test side is kept as published
and the others are excluded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError

EXCLUDED = "excluded"
# The source's own test images are known, but not which of the rest validate.
TRAINVAL = "trainval"


@dataclass(frozen=True, slots=True)
class SplitFractions:
    """SplitFractions of subjects on the validation and test sides, where the source doesn't say."""

    val: float = 0.05
    test: float = 0.05


def position(dataset: str, subject: str) -> float:
    """A number in [0, 1) that depends on the subject alone."""
    digest = hashlib.blake2b(f"{dataset}/{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def side_of(where: float, shares: SplitFractions, *, official: str | None = None) -> str:
    """train, val or test of one subject."""
    if official in ("train", "val", "test"):
        return official
    if where < shares.test:
        return "train" if official == TRAINVAL else "test"
    return "val" if where < shares.test + shares.val else "train"


def assign(
    groups: npt.NDArray[np.int64],
    datasets: Sequence[str],
    subjects: Sequence[str],
    official: Sequence[str | None],
    shares: SplitFractions,
) -> list[str]:
    """The side of each of N images: train, val, test or excluded.

    Args:
        groups: [N], equal for images of one group.
        official: the source's side (train, val, test, trainval), or None.
    """
    ranks = {"test": 0, "val": 1, "train": 2, TRAINVAL: 3, None: 4}
    strongest: dict[int, str | None] = {}
    first: dict[int, tuple[str, str]] = {}
    for g, dataset, subject, own in zip(groups.tolist(), datasets, subjects, official, strict=True):
        if g not in strongest or ranks[own] < ranks[strongest[g]]:
            strongest[g] = own
        first[g] = min(first.get(g, (dataset, subject)), (dataset, subject))
    sides = {g: side_of(position(*first[g]), shares, official=strongest[g]) for g in strongest}
    out = []
    for g, own in zip(groups.tolist(), official, strict=True):
        side = sides[g]
        fits = own is None or own == side or (own == TRAINVAL and side != "test")
        out.append(side if fits else EXCLUDED)
    return out


def hold_out(subjects: Sequence[tuple[str, str]], share: float) -> npt.NDArray[np.bool_]:
    """[N]: which of N images are of the subjects held out: ``share`` of all subjects, at least one of them.

    Subjects are ranked by a hash, so that nearly the same ones are held out when images are added.

    Args:
        subjects: (data set, subject) of each image.

    Raises:
        DataError: there are fewer than two subjects.
    """
    ranked = sorted(set(subjects), key=lambda subject: position(*subject))
    if len(ranked) < 2:
        raise DataError(
            f"{len(subjects)} images of {len(ranked)} subject cannot be split; at least two subjects are "
            "needed."
        )
    count = min(len(ranked) - 1, max(1, round(share * len(ranked))))
    chosen = set(ranked[:count])
    return np.array([subject in chosen for subject in subjects])
