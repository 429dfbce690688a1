"""RLE equals pycocotools in both directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from ultrasam.errors import DataError
from ultrasam.images.masks import decode_rle, encode_rle
from ultrasam.images.rle import decode, encode, is_empty

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def theirs(mask: npt.NDArray[np.bool_]) -> str:
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return str(encoded.decode("ascii"))


@settings(max_examples=300, deadline=None)
@given(masks)
def test_rle_equals_pycocotools_and_decodes_to_the_mask(mask: npt.NDArray[np.bool_]) -> None:
    assert encode(mask) == theirs(mask)
    assert np.array_equal(decode(encode(mask), mask.shape), mask)  # type: ignore[arg-type]
    assert np.array_equal(decode_rle(encode_rle(mask)), mask)
    assert is_empty(encode(mask)) is not mask.any()


@given(*[st.integers(0, 12)] * 4, masks)
def test_boxes_that_reach_the_frames_edges_are_encoded_as_pycocotools_does(
    left: int, top: int, width: int, height: int, mask: npt.NDArray[np.bool_]
) -> None:
    """Where a run goes on at the top of the next column, and where it ends with the frame."""
    framed = np.zeros((12, 12), bool)
    framed[top : top + height, left : left + width] = True
    inside = framed[: mask.shape[0], : mask.shape[1]]
    for one in (framed, framed ^ np.resize(mask, framed.shape), inside):
        assert encode(one) == theirs(one)
        assert np.array_equal(decode(theirs(one), one.shape), one)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=8))
def test_runs_of_any_length_decode_from_lists_and_text(runs: list[int]) -> None:
    runs = [runs[0], *(max(1, run) for run in runs[1:])]
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(-1, 1)
    if mask.size == 0:
        return
    assert encode(mask) == theirs(mask)
    assert np.array_equal(decode(runs, (len(mask), 1)), mask)
    assert np.array_equal(decode(theirs(mask), (len(mask), 1)), mask)


def test_a_whole_and_an_empty_mask_are_encoded_as_pycocotools_does() -> None:
    for mask in (np.ones((7, 9), bool), np.zeros((7, 9), bool)):
        assert encode(mask) == theirs(mask)


@given(st.text(max_size=30))
def test_text_that_is_not_rle_is_refused(text: str) -> None:
    try:
        assert decode(text, (5, 6)).shape == (5, 6)
    except DataError as error:
        assert "6 × 5" in str(error)


@pytest.mark.parametrize("runs", [[31], [-1, 31], [[30]], ["x"], [], [10**30], None])
def test_lists_that_do_not_fill_the_mask_are_refused(runs: list[int]) -> None:
    with pytest.raises(DataError, match="does not describe a mask of 6 × 5 pixels"):
        decode(runs, (5, 6))
