"""What a mask file shows by its values alone: which of them are regions, and which are only soft edges.

Masks of unknown making are 0 and 1, 0 and 255, class numbers, gray levels, palettes, colors, blurred, scaled
or compressed with loss. A value is a *level* if it fills a region; values that occur only between a lower and
a higher one are the soft edges of a region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.mask_files import COLOR, MaskFile, brightness

Codes = npt.NDArray[np.int64]
# Nobody blurs class numbers, so all values of a mask with no larger one are levels.
_MAX_CLASS_NUMBER = 15
_MANY = 24  # a mask with more levels is no map of classes, unless each fills a region
_FEW_VALUES = 8
_SCATTER = 16  # how far compression moves values

INVERTED = (
    "its mask has one value along its whole edge, as an inverted one has; invert the mask, or name the "
    "value of the object with --labels, for example --labels 0=cyst"
)
GRAY_TONES = "its mask has continuous gray tones, as an image has; replace it with a mask"
LOSSY = (
    "its mask is a JPEG, in which compression has mixed several values; save masks as PNG, or name the "
    "values with --labels, for example --labels 127=cyst,255=wall"
)


@dataclass(frozen=True, slots=True)
class MaskProfile:
    """What the values of one mask file are.

    Attributes:
        levels: the number of pixels of each code that fills a region, without 0.
        core: the levels with at least one pixel whose neighbors all have the same code.
        has_zero: whether any pixel is 0.
        values: number of different codes, without 0.
        near_binary: whether it shows one region in values that scatter, by blur or compression; the only
            level is then its nominal value.
        constant: whether all pixels have one code, and not 0.
        problem: why it cannot be read as it is; None if it can.
        sharp: whether no pixel lies on a soft edge.
    """

    levels: dict[int, int]
    core: frozenset[int]
    has_zero: bool
    values: int
    near_binary: bool = False
    constant: bool = False
    problem: str | None = None
    sharp: bool = True


def profile_of(mask: MaskFile) -> MaskProfile:
    """Tell regions from soft edges in one mask file."""
    codes, counts = _histogram(mask.codes)
    has_zero = bool(len(codes)) and int(codes[0]) == 0
    nonzero = {int(c): int(n) for c, n in zip(codes, counts, strict=True) if c}
    if len(nonzero) < 2:
        profile = MaskProfile(nonzero, frozenset(nonzero), has_zero, len(nonzero))
        if not has_zero and nonzero:
            return replace(profile, constant=True)
        if mask.lossy and nonzero and int(codes[-1]) <= _MAX_CLASS_NUMBER:
            return replace(profile, problem=LOSSY)
    elif int(codes[-1]) <= _MAX_CLASS_NUMBER and not mask.lossy:
        profile = MaskProfile(nonzero, frozenset(nonzero), has_zero, len(nonzero))
    else:
        profile = _with_soft_edges(mask, nonzero, has_zero)
    return replace(profile, problem=profile.problem or _inverted(mask.codes, profile))


def near_binary_threshold(level: int) -> float:
    """The least brightness of the region of a near-binary mask."""
    return max(float(brightness(np.array([level]))[0]) / 2, 0.5)


def _histogram(codes: Codes) -> tuple[Codes, Codes]:
    if codes.size and int(codes.max()) < 1 << 16:
        counts = np.bincount(codes.ravel())
        values = np.flatnonzero(counts)
        return values.astype(np.int64), counts[values].astype(np.int64)
    return np.unique(codes, return_counts=True)


def _with_soft_edges(mask: MaskFile, nonzero: dict[int, int], has_zero: bool) -> MaskProfile:
    bright = brightness(mask.codes)
    soft, same = _soft_and_same(bright)
    codes, inverse = np.unique(mask.codes, return_inverse=True)
    inverse = inverse.reshape(mask.codes.shape)
    size = len(codes)
    softs = np.bincount(inverse[soft], minlength=size)
    cores = np.bincount(inverse[same], minlength=size)
    levels, core = {}, set()
    for code, n_soft, n_core in zip(codes.tolist(), softs.tolist(), cores.tolist(), strict=True):
        if code and (n_core or 2 * n_soft < nonzero[code]):
            levels[code] = nonzero[code]
            if n_core:
                core.add(code)
    sharp = len(levels) == len(nonzero) and not mask.lossy
    profile = MaskProfile(levels, frozenset(core), has_zero, len(nonzero), sharp=sharp)
    # A picture changes from pixel to pixel, a map of classes from region to region.
    classes = sharp and int(cores[codes > 0].sum()) >= 0.3 * sum(nonzero.values())
    scatters = _scatters(nonzero, dict(zip(codes.tolist(), cores.tolist(), strict=True)))
    if len(nonzero) > _FEW_VALUES or mask.lossy or scatters:
        level = _only_level(mask.codes, bright, compressed=mask.lossy or scatters)
        unclear = mask.lossy or scatters or len(levels) > 1 or not core
        if level is not None and unclear and (scatters or not classes):
            return replace(profile, levels={level: int((2 * bright >= _of(level)).sum())},
                           core=frozenset([level]), near_binary=True)  # fmt: skip
    if mask.lossy:
        return replace(profile, problem=LOSSY)
    many = len(levels) > _MANY or (len(nonzero) > _FEW_VALUES and not has_zero)
    if many and not classes:
        return replace(profile, problem=GRAY_TONES)
    return profile


def _scatters(nonzero: dict[int, int], cores: dict[int, int]) -> bool:
    """Whether gray values scatter near 0 and near the highest one, as after compression with loss."""
    top = max(nonzero)
    if top >= COLOR or top < 8 * _SCATTER:
        return False
    near = [code for code in nonzero if code <= _SCATTER or code >= top - _SCATTER]
    high = [code for code in near if code > _SCATTER]
    return (
        len(near) == len(nonzero)
        and len(high) > 1
        and any(cores[code] < 0.3 * nonzero[code] for code in nonzero)
    )


def _of(level: int) -> float:
    return float(brightness(np.array([level]))[0])


def _soft_and_same(
    bright: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which pixels lie strictly between their darkest and brightest neighbor, and which equal all of them."""
    square = np.ones((3, 3), np.uint8)
    low = cv2.erode(bright, square, borderType=cv2.BORDER_REPLICATE)
    high = cv2.dilate(bright, square, borderType=cv2.BORDER_REPLICATE)
    return np.asarray((low < bright) & (bright < high)), np.asarray(low == high)


def _only_level(codes: Codes, bright: npt.NDArray[np.float32], *, compressed: bool) -> int | None:
    """The nominal value of a region on black whose values scatter; None if there may be several regions.

    Args:
        codes, bright: of the mask, [H, W].
        compressed: whether values scatter by compression, and not only by blur.
    """
    top = float(bright.max())
    if compressed:
        # Compression overshoots at edges, so that the brightest pixel is brighter than the region.
        peak, top = top, float(np.median(bright[2 * bright >= top]))
        if peak > 1.5 * top:
            return None
    if top < 64:
        return None
    middle = (bright > top / 4) & (bright < 3 * top / 4)
    # A picture has no dark surroundings, or few of its pixels are nearly as bright as the brightest.
    dark = np.count_nonzero(bright <= top / 4)
    if 200 * dark < bright.size:
        return None
    if np.count_nonzero(middle) > 3 * np.count_nonzero(bright >= 3 * top / 4):
        return None
    # The edges of a region are narrow, those that compression mixes as well.
    if compressed and cv2.erode(middle.astype(np.uint8), np.ones((5, 5), np.uint8)).any():
        return None
    flat = middle & ~_soft_and_same(bright)[0]
    limit = (0.1 if compressed else 0.02) * np.count_nonzero(2 * bright >= top)
    if np.count_nonzero(flat) > limit + (4 if compressed else 0):
        return None
    inside = codes[bright >= 3 * top / 4]
    if (inside >= COLOR).mean() < 0.5:
        return 255 if 240 <= top <= 255 else round(top)
    rgb = np.stack(
        [(inside - COLOR) >> 16 & 255, (inside - COLOR) >> 8 & 255, (inside - COLOR) & 255]
    )
    middle_color = np.median(rgb, axis=1)
    if (np.abs(rgb - middle_color[:, None]).max(axis=0) > 64).mean() > 0.05:
        return None
    nominal = [int(v) for v in np.clip(np.rint(middle_color / 64) * 64, 0, 255)]
    return COLOR + (nominal[0] << 16) + (nominal[1] << 8) + nominal[2]


def _inverted(codes: Codes, profile: MaskProfile) -> str | None:
    """The problem of a mask whose edge, corners included, is nearly all one value that is not 0."""
    height, width = codes.shape
    if not height or not width or (len(profile.levels) < 2 and not profile.has_zero):
        return None
    if profile.near_binary:
        limit = near_binary_threshold(next(iter(profile.levels)))
        codes = (brightness(codes) >= limit).astype(np.int64)
    edge = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    corners = codes[[0, 0, -1, -1], [0, -1, 0, -1]]
    value = int(corners[0])
    alike = value != 0 and bool((corners == value).all())
    return INVERTED if alike and float((edge == value).mean()) >= 0.75 else None
