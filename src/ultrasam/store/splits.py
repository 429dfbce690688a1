"""Assign images to splits: the source's own split if it has one, else by a hash of the subject.

All images of a subject, and all identical or similar images, form a group, and a group stays in one split. If
a source puts images of one group in different splits, its test images stay and the others are excluded.

A hash below the fraction decides for itself, so more subjects move none. Of few subjects, it often chooses
none at all, or all: fewer than 20 groups are therefore ranked by it, and no wanted split of a larger data set
stays empty.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import SPLITS
from ultrasam.errors import DataError

EXCLUDED = "excluded"
# A source split that does not separate training from validation images.
TRAINVAL = "trainval"
FEW_GROUPS = 20


@dataclass(frozen=True, slots=True)
class SplitFractions:
    """Fractions of subjects assigned to validation and test, for data sets without their own split."""

    val: float = 0.05
    test: float = 0.05


def hash_position(dataset: str, subject: str) -> float:
    """Deterministic position in [0, 1) derived from the ids of the data set and the subject."""
    digest = hashlib.blake2b(f"{dataset}/{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def splits_of_groups(
    positions: Sequence[float], fractions: SplitFractions, *, test: bool = True
) -> list[str]:
    """Assign each of N groups of one data set, which has no split of its own, to train, val or test.

    A wanted split gets at least one group, first the test split, as long as one is left for training.

    Args:
        positions: of each group (see `hash_position`).
        fractions: fractions of groups for validation and test.
        test: whether test groups are wanted; without them, their fraction is trained on.
    """
    count = len(positions)
    ranked = sorted(range(count), key=lambda index: (positions[index], index))
    shares = {"test": fractions.test if test else 0.0, "val": fractions.val}
    splits = ["train"] * count
    if count >= FEW_GROUPS:
        for index, position in enumerate(positions):
            if position < fractions.test:
                splits[index] = "test" if test else "train"
            elif position < fractions.test + fractions.val:
                splits[index] = "val"
    for name, fraction in shares.items():
        if not fraction or name in splits:
            continue
        free = [index for index in ranked if splits[index] == "train"]
        size = max(1, round(fraction * count)) if count < FEW_GROUPS else 1
        for index in free[: min(size, len(free) - 1)]:
            splits[index] = name
    return splits


def assign_splits(
    groups: npt.NDArray[np.int64],
    datasets: Sequence[str],
    subjects: Sequence[str],
    source_splits: Sequence[str | None],
    fractions: SplitFractions,
) -> list[str]:
    """Assign each of N images to a split: train, val, test or excluded.

    Args:
        groups: [N] int64, equal for images of one group.
        datasets: id of each image's data set.
        subjects: subject of each image.
        source_splits: split assigned by the source (train, val, test, trainval), or None.
        fractions: fractions of subjects for validation and test, where the source assigns no split.
    """
    ranks = {"test": 0, "val": 1, "train": 2, TRAINVAL: 3, None: 4}
    strongest: dict[int, str | None] = {}
    first: dict[int, tuple[str, str]] = {}
    rows = zip(groups.tolist(), datasets, subjects, source_splits, strict=True)
    for g, dataset, subject, source_split in rows:
        if g not in strongest or ranks[source_split] < ranks[strongest[g]]:
            strongest[g] = source_split
        first[g] = min(first.get(g, (dataset, subject)), (dataset, subject))
    split_of_group = {
        g: split for g, split in strongest.items() if split is not None and split in SPLITS
    }
    without: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for g, split in strongest.items():
        if g not in split_of_group:
            without[first[g][0], split].append(g)
    for (_, split), members in without.items():
        positions = [hash_position(*first[g]) for g in members]
        group_splits = splits_of_groups(positions, fractions, test=split != TRAINVAL)
        split_of_group |= dict(zip(members, group_splits, strict=True))
    splits = []
    for g, source_split in zip(groups.tolist(), source_splits, strict=True):
        split = split_of_group[g]
        compatible = source_split in (None, split) or (source_split == TRAINVAL and split != "test")
        splits.append(split if compatible else EXCLUDED)
    return splits


def held_out_images(subjects: Sequence[tuple[str, str]], fraction: float) -> npt.NDArray[np.bool_]:
    """Hold out a fraction of the subjects, but at least one and not all.

    Subjects are ranked by a hash, so that adding images changes few of the held-out subjects.

    Args:
        subjects: (data set, subject) of each of N images.
        fraction: fraction of the subjects to hold out.

    Returns:
        [N] bool, true for images of held-out subjects.

    Raises:
        DataError: There are fewer than two subjects.
    """
    ranked = sorted(set(subjects), key=lambda subject: hash_position(*subject))
    if len(ranked) < 2:
        raise DataError(
            f"Cannot hold out a subject: the {len(subjects)} images show only {len(ranked)} subject; at "
            "least two are needed."
        )
    count = min(len(ranked) - 1, max(1, round(fraction * len(ranked))))
    held_out = set(ranked[:count])
    return np.array([subject in held_out for subject in subjects])
