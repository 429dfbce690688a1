"""COCO's run-length encoding: the lengths of alternating runs of 0 and 1, column by column, starting with 0.

The compressed form is text. From the fourth on, each length is stored as the difference to the one two before
it. A number is split into groups of five bits, lowest first; a sixth bit marks all groups but the last; and
adding 48 makes each group an ASCII character.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError

BoolMask = npt.NDArray[np.bool_]
_GROUPS = 13  # groups of five bits in 64 bits


def encode(mask: BoolMask) -> str:
    """Encode a mask [H, W] as COCO's compressed RLE."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = [0, 0] if flat.size and flat[0] else [0]
    runs = np.diff(np.concatenate([start, edges, [flat.size]]))
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
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(shape, order="F"))


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
