"""Our brush RLE reads what Label Studio writes, and Label Studio reads what ours writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ultrasam.annotate.protocols.brush_rle import decode, encode
from ultrasam.errors import DataError

masks = arrays.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@pytest.fixture(scope="module")
def reference() -> Any:
    return pytest.importorskip(
        "label_studio_sdk.converter.brush",
        reason="label-studio-sdk is not installed: make test-tools",
    )


def disk(height: int, width: int) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:height, :width]
    return np.asarray((rows - height / 2) ** 2 + (columns - width / 3) ** 2 < (height / 4) ** 2)


@settings(max_examples=100, deadline=None)
@given(masks)
def test_a_mask_outlasts_the_round_trip(mask: Any) -> None:
    assert np.array_equal(decode(encode(mask), mask.shape), mask)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_label_studio_reads_the_same_mask(reference: Any, mask: Any) -> None:
    values = reference.decode_rle(list(encode(mask)))
    assert np.array_equal(values.reshape(*mask.shape, 4), np.repeat(mask[..., None], 4, 2) * 255)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_the_stream_is_label_studios_own(reference: Any, mask: Any) -> None:
    """Bit for bit, but for a byte of padding that theirs adds to whole bytes."""
    theirs = reference.encode_rle(np.repeat(mask.ravel().astype(np.uint8) * 255, 4))
    ours = list(encode(mask))
    assert theirs[: len(ours)] == ours
    assert theirs[len(ours) :] in ([], [0])


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4))),
)
def test_soft_edges_count_from_half_opaque(reference: Any, picture: Any) -> None:
    """Pictures of a brush with any values, encoded by Label Studio, runs of single values among them."""
    mask = decode(reference.encode_rle(picture.ravel()), picture.shape[:2])
    assert np.array_equal(mask, picture[..., 3] >= 128)


@pytest.mark.parametrize("value", [False, True])
def test_runs_longer_than_the_format_counts_are_split(reference: Any, value: bool) -> None:
    mask = np.full((300, 257), value)
    rle = encode(mask)
    assert np.array_equal(reference.decode_rle(list(rle)) > 0, np.full(mask.size * 4, value))
    assert np.array_equal(decode(rle, mask.shape), mask)


def test_runs_of_unrepeated_values_are_read() -> None:
    """As Label Studio's page writes them: one run of 8 values without repetition."""
    bits = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16)) + "0" + "00"
    bits += f"{7:03b}" + "".join(f"{value:08b}" for value in (1, 2, 3, 200, 4, 5, 6, 90))
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decode(rle, (1, 2)).tolist() == [[True, False]]


def test_a_large_mask_is_small() -> None:
    mask = disk(1000, 1400)
    assert len(encode(mask)) < 6000
    assert np.array_equal(decode(encode(mask), mask.shape), mask)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_damaged_streams_are_refused_or_read_never_worse(data: bytes) -> None:
    try:
        assert decode(data, (3, 3)).shape == (3, 3)
    except DataError as error:
        assert "brush" in str(error)


@pytest.mark.parametrize(
    ("rle", "shape", "says"),
    [
        (encode(np.ones((4, 4), bool)), (4, 5), "4 × 5|5 × 4"),
        (encode(np.ones((40, 40), bool))[:-2], (40, 40), "ends within a run"),
        ([1, 2, 300], (1, 1), "from 0 to 255"),
        ("abc", (1, 1), "from 0 to 255"),
    ],
)
def test_what_is_no_brush_of_this_size_is_refused(rle: Any, shape: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        decode(rle, shape)


def test_an_empty_mask_cannot_be_a_brush() -> None:
    with pytest.raises(DataError, match="0 pixels"):
        encode(np.zeros((0, 5), bool))
