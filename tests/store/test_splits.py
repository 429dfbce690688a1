"""Groups of subjects and similar images stay in one split; similar images are found by their hashes."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.layouts.truth import picture
from ultrasam.store.duplicates import connected_groups, perceptual_hashes, similar_pairs
from ultrasam.store.splits import EXCLUDED, FEW_GROUPS, SplitFractions, assign_splits

SOURCE_SPLITS = st.sampled_from([None, "train", "val", "test", "trainval"])
ROWS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from("abcdef"), SOURCE_SPLITS), min_size=1, max_size=40
)


@given(ROWS)
def test_no_group_is_ever_in_two_splits(rows: list[tuple[int, str, str | None]]) -> None:
    links = [(i, j) for i, a in enumerate(rows) for j, b in enumerate(rows) if i < j
             and (a[0] == b[0] or a[1] == b[1])]  # fmt: skip
    groups = connected_groups(len(rows), np.array(links, np.int64).reshape(-1, 2))
    splits = assign_splits(
        groups, ["d"] * len(rows), [r[1] for r in rows], [r[2] for r in rows], SplitFractions()
    )
    for g in set(groups.tolist()):
        assert (
            len({s for s, h in zip(splits, groups, strict=True) if h == g and s != EXCLUDED}) == 1
        )
    for split, (_, _, source_split) in zip(splits, rows, strict=True):
        assert (
            source_split != "test" or split == "test"
        )  # published test images stay in the test split
        assert split in ("train", "val", "test", EXCLUDED)


@given(st.integers(FEW_GROUPS, 300), st.integers(0, 300), st.text(max_size=3))
def test_more_subjects_move_none_to_another_split(first: int, more: int, prefix: str) -> None:
    """Only the one subject that a split would else lack goes back to training when others take its place."""

    def splits(count: int) -> list[str]:
        names = [f"{prefix}{i}" for i in range(count)]
        return assign_splits(
            np.arange(count), ["d"] * count, names, [None] * count, SplitFractions(0.2, 0.2)
        )

    before, after = splits(first), splits(first + more)
    for name in ("test", "val"):
        moved = [i for i in range(first) if (before[i] == name) != (after[i] == name)]
        assert not moved or (before.count(name) == 1 and moved == [before.index(name)])


def test_splits_have_about_the_requested_fractions() -> None:
    count = 20_000
    names = [str(i) for i in range(count)]
    splits = assign_splits(
        np.arange(count), ["d"] * count, names, [None] * count, SplitFractions(0.05, 0.1)
    )
    assert abs(splits.count("test") / count - 0.1) < 0.01
    assert abs(splits.count("val") / count - 0.05) < 0.01


def test_similar_pairs_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    shape = rng.integers(0, 256, (700, 32), dtype=np.uint8)
    texture = rng.integers(0, 256, (700, 32), dtype=np.uint8)
    for i, j in ((3, 4), (0, 699), (100, 400), (260, 261)):
        shape[j], texture[j] = shape[i], texture[i]
        shape[j, 5] ^= 7
    texture[400] = rng.integers(0, 256, 32)  # similar in one hash only
    found = {(int(i), int(j)) for i, j in similar_pairs(shape, texture, 16)}
    assert found == {(3, 4), (0, 699), (260, 261)}


def test_hashes_survive_what_keeps_an_image_the_same() -> None:
    smooth = cv2.GaussianBlur(picture(1, 200, 300), (0, 0), 8)
    image = np.asarray(cv2.normalize(smooth, None, 0, 240, cv2.NORM_MINMAX), np.uint8)
    scaled = np.asarray(cv2.resize(image, (250, 170), interpolation=cv2.INTER_AREA), np.uint8)
    for other in (scaled, (image * 0.9).astype(np.uint8)):
        for a, b in zip(perceptual_hashes(image), perceptual_hashes(other), strict=True):
            bits = np.bitwise_count(np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).sum()
            assert bits <= 24
