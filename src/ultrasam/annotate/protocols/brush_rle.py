"""Label Studio's run-length encoding of brush masks, the format ``rle`` of its brush labels.

A bit stream, most significant bit first (``rle-pack`` of thi.ng/umbrella). It begins with the count of values
(32 bits), the word size - 1 (5 bits), and four run sizes - 1 (4 bits each). A run is one bit that says if it
repeats one value, the index of a run size (2 bits), its length - 1 in as many bits as that run size says,
and then the value, or as many values as its length. The values are the bytes of an RGBA picture, row by row;
the mask is where the picture is opaque.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask

_SIZES = (3, 4, 8, 16)  # bits of a run's length, those that Label Studio itself writes
_WORD = 8
_CHANNELS = 4
_HEADER_BITS = 32 + 5 + 4 * 4
_LONGEST = 1 << _SIZES[-1]
_LONGEST_RUN_BITS = 3 + 16 + _WORD  # a size of four bits is at most 16
_OPAQUE = 128  # of 255: half of the pixel, as brushes of Label Studio have soft edges


def encode(mask: BoolMask) -> bytes:
    """Encode a mask [H, W]; JSON takes it as ``list(encode(mask))``.

    Raises:
        DataError: The mask has no pixel, or more than the format can count (2³⁰).
    """
    flat = np.ascontiguousarray(mask, dtype=bool).ravel()
    if not 0 < flat.size < 1 << 30:
        raise DataError(
            f"A mask of {flat.size} pixels cannot be written as a brush of Label Studio."
        )
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    values = np.where(flat[starts], 255, 0)
    parts = -(-lengths // _LONGEST)
    if (parts > 1).any():
        last = np.cumsum(parts) - 1
        rest = lengths - (parts - 1) * _LONGEST
        values, lengths = np.repeat(values, parts), np.full(int(parts.sum()), _LONGEST)
        lengths[last] = rest
    index = np.searchsorted([1 << size for size in _SIZES[:-1]], lengths)
    size = np.array(_SIZES)[index]
    codes = (((4 | index) << size | (lengths - 1)) << _WORD) | values
    return _packed(_header(_CHANNELS * flat.size), codes, 3 + size + _WORD)


def decode(rle: Sequence[int] | bytes, shape: tuple[int, int]) -> BoolMask:
    """Decode a brush to a mask; a pixel belongs to it if it is at least half opaque.

    Args:
        rle: the bytes, as numbers from 0 to 255.
        shape: (height, width) of the mask, ``original_height`` and ``original_width`` of the brush.

    Raises:
        DataError: The brush is damaged, or not of this size.
    """
    try:
        stream = _Stream(bytes(rle))
    except (TypeError, ValueError) as error:
        raise DataError("The brush's 'rle' is not a list of numbers from 0 to 255.") from error
    count, expected = stream.read(32), shape[0] * shape[1] * _CHANNELS
    word = stream.read(5) + 1
    if word != _WORD or count != expected:
        raise DataError(
            f"The brush is of {count} values of {word} bits; {expected} of {_WORD} bits belong to "
            f"{shape[1]} × {shape[0]} pixels."
        )
    sizes = [stream.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    at = 0
    while at < count:
        head = stream.peek(_LONGEST_RUN_BITS)
        size = sizes[head >> (_LONGEST_RUN_BITS - 3) & 3]
        length = (head >> (_LONGEST_RUN_BITS - 3 - size) & ((1 << size) - 1)) + 1
        stream.skip(3 + size)
        end = at + length
        if end > count:
            raise DataError("The brush's 'rle' is damaged: its last run is too long.")
        if head >> (_LONGEST_RUN_BITS - 1):
            stream.skip(_WORD)
            values[at:end] = head >> (_LONGEST_RUN_BITS - 3 - size - _WORD) & 0xFF
        else:
            values[at:end] = stream.octets(length)
        at = end
    return np.ascontiguousarray(values.reshape(*shape, _CHANNELS)[..., 3] >= _OPAQUE)


def _header(count: int) -> npt.NDArray[np.uint8]:
    value = count << 5 | (_WORD - 1)
    for size in _SIZES:
        value = value << 4 | (size - 1)
    whole = value << (64 - _HEADER_BITS)
    return np.unpackbits(np.frombuffer(whole.to_bytes(8, "big"), np.uint8))[:_HEADER_BITS]


def _packed(
    header: npt.NDArray[np.uint8], codes: npt.NDArray[np.int64], bits: npt.NDArray[np.int64]
) -> bytes:
    """Codes of some bits each, at most 32, as one bit stream after a header; zeros fill the last byte."""
    aligned = (codes << (32 - bits)).astype(">u4")
    spread = np.unpackbits(aligned.view(np.uint8).reshape(-1, 4), axis=1)
    return np.packbits(np.concatenate([header, spread[np.arange(32) < bits[:, None]]])).tobytes()


class _Stream:
    """Reads numbers of some bits each."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._end = data, 0, 8 * len(data)

    def peek(self, bits: int) -> int:
        """The next bits, at most 57, with zeros after the end; stay in place."""
        start = self._at >> 3
        window = int.from_bytes(self._data[start : start + 8].ljust(8, b"\0"), "big")
        return window >> (64 - (self._at & 7) - bits) & ((1 << bits) - 1)

    def skip(self, bits: int) -> None:
        self._at += bits
        if self._at > self._end:
            raise DataError("The brush's 'rle' is damaged: it ends within a run.")

    def read(self, bits: int) -> int:
        value = self.peek(bits)
        self.skip(bits)
        return value

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        start, shift = self._at >> 3, self._at & 7
        self.skip(8 * count)
        octets = np.frombuffer(self._data[start : start + count + 1] + b"\0", np.uint8)
        pairs = octets[:count].astype(np.uint16) << 8 | octets[1 : count + 1]
        return (pairs >> (8 - shift)).astype(np.uint8)
