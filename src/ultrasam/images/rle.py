"""COCO's run lengths: a mask's columns, one after the other, as lengths of runs of 0, 1, 0, …

Compressed, they are text: from the fourth on each length less the one two before, in groups of five bits,
lowest first, of which each but a number's last carries a sixth bit; 48 is added to make characters of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError

BoolMask = npt.NDArray[np.bool_]
_GROUPS = 13  # of five bits, as many as 64 bits have


def encode(mask: BoolMask) -> str:
    """[H, W] bool to COCO's compressed run lengths."""
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
    """COCO's run lengths, compressed or as a list, to [H, W] bool.

    Raises:
        DataError: they are malformed, or not of a mask of this size.
    """
    try:
        runs = _parsed(counts) if isinstance(counts, str) else np.asarray(counts, dtype=np.int64)
        whole = runs.ndim == 1 and (runs >= 0).all() and runs.sum() == shape[0] * shape[1]
    except (ValueError, TypeError, OverflowError):
        whole = False
    if not whole:
        raise DataError(f"The run lengths are not of a mask of {shape[1]} × {shape[0]} pixels.")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(shape, order="F"))


def _parsed(text: str) -> npt.NDArray[np.int64]:
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size:
        return codes
    last = (codes & 32) == 0
    if not last[-1] or codes.min() < 0 or codes.max() > 63:
        raise ValueError("not run lengths")
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    places = np.arange(len(codes)) - np.repeat(starts, np.diff([*starts, len(codes)]))
    if places.max() >= _GROUPS:
        raise ValueError("a number of too many digits")
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    negative = (codes[last] & 16) != 0
    runs -= negative.astype(np.int64) << (5 * (places[last] + 1))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
