"""Colors of DICOM pixels: whether they are RGB or YBR, judged by the data where the header may be wrong.

Most pixels of an ultrasound image are gray. In RGB, gray pixels have three equal samples; in YBR, the last
two are 128.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]

_TOLERANCE = 4  # gray levels by which lossy coding separates the samples of a gray pixel
_UNLIKELY, _CERTAIN = 0.5, 0.8  # fractions of gray pixels
_AS_SMOOTH = 1.1  # ratio of differences between neighbors; in noise, it is about 1
_SMOOTHER = 0.75  # ratio of differences between next neighbors and between neighbors
_LIT = 16  # darker pixels are black under any reading, and tell nothing


def color_kind(samples: Samples, kind: str, notes: list[str], *, marked: str | None = None) -> str:
    """'RGB' or 'YBR_FULL', as which the decoded pixels of a frame are to be shown.

    Args:
        samples: one frame, [H, W, 3], as stored.
        kind: photometric interpretation in the header.
        notes: receives a sentence if the header is wrong.
        marked: the kind by the markers of a JPEG codestream.
    """
    stated = "YBR_FULL" if kind in ("YBR_FULL", "YBR_FULL_422") else "RGB"
    found = marked or stated
    if samples.dtype == np.uint8:
        found = _by_gray_pixels(samples, found)
    if found != stated:
        notes.append(
            f"PhotometricInterpretation is {kind}, but the pixels are {found}; {found} is used."
        )
    return found


def is_planar(samples: npt.NDArray[np.uint8], rows: int, planar: bool) -> bool:
    """Whether the samples of an uncompressed frame, in the order of the file, are three planes.

    Args:
        samples: 3 × H × W values.
        rows: H.
        planar: what the header says; it holds unless the data contradict it.
    """
    triples, planes = samples.reshape(rows, -1, 3), np.moveaxis(samples.reshape(3, rows, -1), 0, -1)
    own, other = (planes, triples) if planar else (triples, planes)
    is_other = max(_gray(own)) < _UNLIKELY and max(_gray(other)) > _CERTAIN
    # In a plane of one tone, three neighbors are equal as well, but would not continue each other.
    return planar != (is_other and _roughness(other) < _AS_SMOOTH * _roughness(own))


def looks_gray(samples: npt.NDArray[np.uint8]) -> bool:
    """Whether the samples of an uncompressed frame, in the order of the file, are mostly gray pixels."""
    return max(_gray(samples.reshape(-1, 3))) > _CERTAIN


def are_colors(samples: npt.NDArray[np.uint8]) -> bool:
    """Whether bytes that are said to be gray values are pixels of three equal or nearly equal samples.

    Neighbors in a smooth gray image are alike too, but there it does not matter where three begin.
    """
    shifted = [max(_gray(samples[k : len(samples) - 3 + k].reshape(-1, 3))) for k in range(3)]
    return shifted[0] > _CERTAIN and max(shifted[1:]) < _UNLIKELY


def are_wider(samples: npt.NDArray[np.uint8]) -> bool:
    """Whether bytes that are said to be gray values are the halves of values of 16 bits."""
    values = samples.astype(np.int16)
    neighbors, next_ones = np.abs(np.diff(values)), np.abs(values[2:] - values[:-2])
    return bool(next_ones.mean() < _SMOOTHER * neighbors.mean())


def _roughness(samples: Samples) -> float:
    """Mean difference from row to row and from column to column of [H, W, 3]."""
    values = samples.astype(np.int16)
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1) if values.shape[axis] > 1]
    return sum(float(step.mean()) for step in steps)


def _by_gray_pixels(samples: Samples, kind: str) -> str:
    rgb, ybr = _gray(samples)
    own, other = (rgb, ybr) if kind == "RGB" else (ybr, rgb)
    if own < _UNLIKELY and other > _CERTAIN:
        return "YBR_FULL" if kind == "RGB" else "RGB"
    return kind


def _gray(samples: Samples) -> tuple[float, float]:
    """The fractions of pixels [H, W, 3] that are gray as RGB and as YBR, of those that tell both apart."""
    values = samples.reshape(-1, 3)
    values = values[:: max(1, len(values) // 200_000)].astype(np.int16)
    lit = values[values.max(axis=1) >= _LIT]
    if not len(lit):
        return 0.0, 0.0
    rgb = (lit.max(axis=1) - lit.min(axis=1)) <= _TOLERANCE
    ybr = (np.abs(lit[:, 1:] - 128) <= _TOLERANCE).all(axis=1)
    tell = ~(rgb & ybr)
    if not tell.any():
        return 0.0, 0.0
    return float(rgb[tell].mean()), float(ybr[tell].mean())
