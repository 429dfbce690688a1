"""Decode the masks of Label Studio's brush.

Format: the package rle-pack of thi.ng/umbrella; a stream of bits, highest first. Its head states the number
of values (32 bits), the bits of a value less one (5), and those of the four kinds of lengths, each less one
(4 each). Each part states whether it is a run (1), its kind of length (2), and its length less one; then
follows one value for a run, or else one for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.readers.annotations import BAD_RLE, UnusableError


class _Bits:
    """Reads numbers from a stream of bits."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def read(self, count: int) -> int:
        end = self.position + count
        if end > 8 * len(self.data):
            raise UnusableError(BAD_RLE)
        part = self.data[self.position // 8 : (end + 7) // 8]
        self.position = end
        return (int.from_bytes(part, "big") >> (-end % 8)) & ((1 << count) - 1)


def decode_brush(encoded: Sequence[int], count: int) -> npt.NDArray[np.uint32]:
    """Decode the values of a brush mask.

    Args:
        encoded: bytes, as a list in JSON.
        count: the number of values that there must be: 4 for each pixel, red, green, blue and alpha.

    Returns:
        [count] values.

    Raises:
        UnusableError: The bytes do not give exactly this number.
        ValueError: A number is not a byte.
    """
    bits = _Bits(bytes(encoded))
    if bits.read(32) != count:
        raise UnusableError(BAD_RLE)
    word = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint32)
    start = 0
    while start < count:
        is_run = bits.read(1)
        end = start + 1 + bits.read(lengths[bits.read(2)])
        if end > count:
            raise UnusableError(BAD_RLE)
        if is_run:
            values[start:end] = bits.read(word)
        else:
            values[start:end] = [bits.read(word) for _ in range(end - start)]
        start = end
    return values
