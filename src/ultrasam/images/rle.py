"""COCO's run-length encoding: the lengths of alternating runs of 0 and 1, column by column, starting with 0.

The compressed form is text. From the fourth on, each length is stored as the difference to the one two before
it. A number is split into groups of five bits, lowest first; a sixth bit marks all groups but the last; and
adding 48 makes each group an ASCII character.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError
from ultrasam.morphology import bounding_box

BoolMask = npt.NDArray[np.bool_]
_GROUPS = 13  # groups of five bits in 64 bits


def encode(mask: BoolMask) -> str:
    """Encode a mask [H, W] as COCO's compressed RLE."""
    runs = _runs(np.asarray(mask, dtype=bool))
    left = runs.copy()
    left[3:] -= runs[1:-2]
    groups = np.empty((len(left), _GROUPS), dtype=np.uint8)
    lengths = np.zeros(len(left), dtype=np.int64)
    for place in range(_GROUPS):
        group = left & 31
        left = left >> 5
        last = np.where(group & 16, left == -1, left == 0)
        groups[:, place] = group + np.where(last, 48, 80)
        lengths[last & (lengths == 0)] = place + 1
        if lengths.all():
            break
    return groups[np.arange(_GROUPS) < lengths[:, None]].tobytes().decode("ascii")


def decode(counts: str | list[int], shape: tuple[int, int]) -> BoolMask:
    """Decode COCO's RLE, compressed or a list of lengths, to a mask [H, W].

    Raises:
        DataError: The RLE is malformed, or does not match ``shape``.
    """
    pixels = shape[0] * shape[1]
    try:
        runs = _parse(counts) if isinstance(counts, str) else _lengths(counts)
        # No run exceeds the mask, so the sum cannot overflow.
        valid = runs.ndim == 1 and ((runs >= 0) & (runs <= pixels)).all() and runs.sum() == pixels
    except (ValueError, TypeError, OverflowError):
        valid = False
    if not valid:
        raise DataError(f"The RLE does not describe a mask of {shape[1]} × {shape[0]} pixels.")
    mask = np.zeros(shape, bool)
    ends = np.cumsum(runs)
    marked = np.flatnonzero(runs[1::2])
    if len(marked):
        # Only the columns from the first to the last marked pixel are filled; most of a frame is empty.
        height = shape[0]
        first, last = ends[2 * marked[0]], ends[2 * marked[-1] + 1]
        left, right = int(first // height), int(-(-last // height))
        edges = np.clip(ends, left * height, right * height)
        inside = edges - np.concatenate([[left * height], edges[:-1]])
        flat = np.repeat(np.arange(len(inside)) % 2 == 1, inside)
        mask[:, left:right] = flat.reshape(right - left, height).T
    return mask


def is_empty(counts: str) -> bool:
    """Whether a compressed RLE, as `encode` gives it, marks no pixel."""
    return not _parse(counts)[1::2].any()


def _runs(mask: BoolMask) -> npt.NDArray[np.int64]:
    """The lengths of the runs of a mask [H, W], found within its box."""
    x0, y0, x1, y1 = bounding_box(mask).astype(int)
    height = mask.shape[0]
    columns = np.zeros((x1 - x0, y1 - y0 + 2), bool)  # each begins and ends with 0
    columns[:, 1:-1] = mask[y0:y1, x0:x1].T
    changes = np.flatnonzero(columns[:, 1:] != columns[:, :-1])
    column, row = np.divmod(changes, y1 - y0 + 1)
    edges = (x0 + column) * height + y0 + row
    # A run that goes on at the top of the next column ends in none.
    joined = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, [joined, joined + 1])
    if len(edges) and edges[-1] == mask.size:
        return np.diff(edges, prepend=0)
    return np.diff(edges, prepend=0, append=mask.size)


def _lengths(counts: list[int]) -> npt.NDArray[np.int64]:
    numbers = np.asarray(counts, dtype=np.float64)
    if not (np.abs(numbers) < 2**53).all() or (numbers != np.rint(numbers)).any():
        raise ValueError("not whole numbers")
    return numbers.astype(np.int64)


def _parse(text: str) -> npt.NDArray[np.int64]:
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size:
        return codes
    last = (codes & 32) == 0
    if not last[-1] or codes.min() < 0 or codes.max() > 63:
        raise ValueError("not compressed RLE")
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    places = np.arange(len(codes)) - np.repeat(starts, np.diff([*starts, len(codes)]))
    if places.max() >= _GROUPS:
        raise ValueError("a run length exceeds 64 bits")
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    negative = (codes[last] & 16) != 0
    runs -= negative.astype(np.int64) << (5 * (places[last] + 1))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
