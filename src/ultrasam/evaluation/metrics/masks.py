"""How well one mask agrees with another."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs
from ultrasam.images.masks import bounding_box

with needs("Evaluation", extra="evaluate"):
    from scipy.spatial import cKDTree

BoolMask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = np.ones((3, 3), np.uint8)
BOUNDARY_FRACTION = 0.02


@dataclass(frozen=True, slots=True)
class MaskMetrics:
    """All measures of one mask against its truth.

    Distances are in mm where the spacing is known, else in pixels. Where one of the two masks is empty,
    distances do not exist (NaN) and all else is 0; where both are, they agree.

    Attributes:
        dice, iou, boundary_iou, surface_dice: 0 to 1.
        hd95, assd: 0 or more.
    """

    dice: float
    iou: float
    boundary_iou: float
    hd95: float
    assd: float
    surface_dice: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


METRICS = tuple(MaskMetrics.__dataclass_fields__)


def compare(
    mask: BoolMask,
    truth: BoolMask,
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    tolerance: float = 2.0,
) -> MaskMetrics:
    """All measures at once, on the part of the image that shows either mask.

    Args:
        mask, truth: [H, W].
        spacing: (row, column) between pixels' centers.
        tolerance: of the surface Dice, in the unit of ``spacing``.
    """
    width = boundary_width(truth.shape)
    x0, y0, x1, y1 = bounding_box(mask | truth).astype(int)
    if x1:
        mask, truth = mask[y0:y1, x0:x1], truth[y0:y1, x0:x1]
    there, back = surface_distances(mask, truth, spacing)
    return MaskMetrics(
        dice(mask, truth),
        iou(mask, truth),
        boundary_iou(mask, truth, width=width),
        hd95(there, back),
        assd(there, back),
        surface_dice(there, back, tolerance),
    )


def dice(mask: BoolMask, truth: BoolMask) -> float:
    """2 |A ∩ B| / (|A| + |B|) (Dice 1945); 1 where both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else 1.0


def iou(mask: BoolMask, truth: BoolMask) -> float:
    """|A ∩ B| / |A ∪ B| (Jaccard 1901); 1 where both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def boundary_width(shape: tuple[int, int], share: float = BOUNDARY_FRACTION) -> int:
    """2 % of the image's diagonal, in whole pixels, at least 1 (Cheng et al. 2021, 4.3)."""
    return max(1, round(share * float(np.hypot(*shape))))


def boundary_iou(mask: BoolMask, truth: BoolMask, *, width: int) -> float:
    """IoU of the masks' inner boundary regions, ``width`` pixels deep (Cheng et al. 2021, equation 2).

    A mask ends at the image's border; 1 where both are empty.
    """
    return iou(_boundary(mask, width), _boundary(truth, width))


def _boundary(mask: BoolMask, width: int) -> BoolMask:
    inner = cv2.erode(
        mask.astype(np.uint8),
        _SQUARE,
        iterations=width,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return np.asarray(mask & (inner == 0))


def surface_distances(
    mask: BoolMask, truth: BoolMask, spacing: tuple[float, float]
) -> tuple[Distances, Distances]:
    """From each border pixel of one mask to the nearest of the other: of ``mask``, of ``truth``.

    A border pixel has one of its four neighbors outside the mask, or lies at the image's border. All NaN
    where the other mask is empty.
    """
    borders = [np.argwhere(_border(m)) * np.asarray(spacing) for m in (mask, truth)]
    if not len(borders[0]) or not len(borders[1]):
        return (np.full(len(borders[0]), np.nan), np.full(len(borders[1]), np.nan))
    there, back = (
        # Built for one query each, so built fast.
        cKDTree(borders[1 - i], balanced_tree=False, compact_nodes=False).query(borders[i])[0]
        for i in (0, 1)
    )
    return np.asarray(there), np.asarray(back)


def _border(mask: BoolMask) -> BoolMask:
    inner = cv2.erode(mask.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask & (inner == 0))


def hd95(there: Distances, back: Distances) -> float:
    """The larger of both directions' 95th percentiles of surface distances (Huttenlocher et al. 1993,
    made robust); 0 where both masks are empty, NaN where one is."""
    if not len(there) and not len(back):
        return 0.0
    if not len(there) or not len(back):
        return float("nan")
    return max(_percentile95(there), _percentile95(back))


def _percentile95(values: Distances) -> float:
    """As numpy.percentile's, linear between neighbors, ten times faster."""
    place = 0.95 * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    ranked = np.partition(values, (low, high))
    return float(ranked[low] + (place - low) * (ranked[high] - ranked[low]))


def assd(there: Distances, back: Distances) -> float:
    """The mean of both directions' surface distances (Heimann et al. 2009, 2.3); 0 where both masks are
    empty, NaN where one is."""
    if not len(there) and not len(back):
        return 0.0
    if not len(there) or not len(back):
        return float("nan")
    return float(np.concatenate([there, back]).mean())


def surface_dice(there: Distances, back: Distances, tolerance: float) -> float:
    """Normalized surface Dice: the share of both borders within ``tolerance`` of the other (Nikolov et al.
    2021, equation 1); 1 where both masks are empty, 0 where one is."""
    total = len(there) + len(back)
    if not total:
        return 1.0
    return float((there <= tolerance).sum() + (back <= tolerance).sum()) / total
