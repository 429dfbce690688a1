"""A few images of one's own are enough: some subjects are always held out, however they are named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.errors import DataError
from ultrasam.store.splits import FEW_GROUPS, SplitFractions, assign_splits, held_out_images

NAMINGS: list[Callable[[int], str]] = [
    lambda i: f"{i:03d}",
    lambda i: f"img{i}",
    lambda i: f"scan_{i:02d}",
    lambda i: f"patient{i}",
    lambda i: f"IMG_{i:04d}",
    lambda i: f"1.2.840.113619.2.55.{i}.7",
    lambda i: f"Müller, Änne {i}",
    lambda i: f"检查{i}",
    lambda i: f"a/b/{i}.png",
]
NAMES = st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=60, unique=True) | st.builds(
    lambda naming, count: [naming(i) for i in range(count)],
    st.sampled_from(NAMINGS), st.integers(2, 60),
)  # fmt: skip
FRACTIONS = st.floats(0.01, 0.5)


@given(NAMES, FRACTIONS)
def test_a_share_of_the_subjects_is_held_out_and_never_none(
    names: list[str], fraction: float
) -> None:
    subjects = [("mine", name) for name in names for _ in range(2)]  # two images of each
    held = held_out_images(subjects, fraction)
    count = min(len(names) - 1, max(1, round(fraction * len(names))))
    assert {s for s, out in zip(subjects, held, strict=True) if out}.isdisjoint(
        {s for s, out in zip(subjects, held, strict=True) if not out}
    )
    assert int(held.sum()) == 2 * count


def test_one_subject_cannot_be_held_out_of_itself() -> None:
    with pytest.raises(DataError, match="5 images show only 1 subject; at least two are needed"):
        held_out_images([("mine", "p1")] * 5, 0.1)


@given(NAMES, st.floats(0, 0.4), st.floats(0, 0.4))
def test_a_store_of_few_subjects_has_the_splits_that_were_asked_for(
    names: list[str], val: float, test: float
) -> None:
    count = len(names)
    splits = assign_splits(
        np.arange(count), ["mine"] * count, names, [None] * count, SplitFractions(val, test)
    )
    left = count
    for name, fraction in (("test", test), ("val", val)):
        least = min(left - 1, 1) if fraction else 0
        assert splits.count(name) >= least
        if count < FEW_GROUPS:
            wanted = max(1, round(fraction * count)) if fraction else 0
            assert splits.count(name) == min(wanted, left - 1)
        left -= splits.count(name)
    if count < FEW_GROUPS:
        assert "train" in splits


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("count", [4, 5, 8, 12, 16, 30, 100])
def test_the_usual_fractions_leave_no_split_empty(naming: Callable[[int], str], count: int) -> None:
    names = [naming(i) for i in range(count)]
    splits = assign_splits(
        np.arange(count), ["mine"] * count, names, [None] * count, SplitFractions()
    )
    assert {"train", "val", "test"} == set(splits)
    assert splits.count("train") >= count * 0.5


def test_each_data_set_of_a_store_gets_its_splits() -> None:
    """A large data set beside a small one, and one with a test split of its own."""
    sizes = {"large": 200, "small": 6, "published": 10}
    datasets = [name for name, count in sizes.items() for _ in range(count)]
    subjects = [str(i) for count in sizes.values() for i in range(count)]
    own = [None] * 206 + ["test"] * 3 + ["trainval"] * 7
    splits = assign_splits(np.arange(216), datasets, subjects, own, SplitFractions())
    found = {
        name: {s: [x for x, d in zip(splits, datasets, strict=True) if d == name].count(s)
               for s in ("train", "val", "test", "excluded")}
        for name in sizes
    }  # fmt: skip
    assert found["small"] == {"train": 4, "val": 1, "test": 1, "excluded": 0}
    assert found["published"] == {"train": 6, "val": 1, "test": 3, "excluded": 0}
    assert found["large"]["train"] > 160
