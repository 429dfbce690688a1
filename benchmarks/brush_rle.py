"""Brush masks of Label Studio: ours against label-studio-sdk's own code, which a backend would use.

Claim: encoding a mask of a megapixel takes milliseconds, so that a click is not slower for it.
Peer: `label_studio_sdk.converter.brush`, measured in the same run, in turns.
Command: python benchmarks/brush_rle.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from label_studio_sdk.converter import brush

from ultrasam.annotate.protocols.brush_rle import decode, encode

SHAPES = ((600, 800), (1000, 1400))
TURNS = 5


def disk(height: int, width: int) -> np.ndarray[Any, Any]:
    """A round object with a rough outline, as in speckle."""
    rows, columns = np.mgrid[:height, :width]
    rough = np.random.default_rng(0).normal(0, 4, (height, width))
    radius = np.hypot(rows - height / 2, columns - width / 2)
    return np.asarray(radius + rough < height / 3)


def seconds(call: Callable[[], object]) -> float:
    """Of the processor, as both run in one thread and others may use the machine."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    for shape in SHAPES:
        mask = disk(*shape)
        values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
        ours = encode(mask)
        listed = list(ours)
        assert np.array_equal(brush.decode_rle(listed), values)
        pairs = {
            "encode": (lambda: encode(mask), lambda: brush.encode_rle(values)),  # noqa: B023
            "decode": (lambda: decode(listed, shape), lambda: brush.decode_rle(listed)),  # noqa: B023
        }
        for name, (mine, theirs) in pairs.items():
            times = [(seconds(mine), seconds(theirs)) for _ in range(TURNS)]
            own, other = (1000 * median(column) for column in zip(*times, strict=True))
            print(
                f"{name} {shape[1]} x {shape[0]}, {len(ours)} bytes: {own:.1f} ms, label-studio-sdk "
                f"{other:.0f} ms, {other / own:.0f} times"
            )


if __name__ == "__main__":
    main()
