"""Metrics of one predicted mask against its ground truth."""

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
BOUNDARY_TOLERANCE = 2  # pixels
# All pixels within the tolerance of the middle one.
_STEPS = np.arange(-BOUNDARY_TOLERANCE, BOUNDARY_TOLERANCE + 1)
_DISC = (np.hypot(_STEPS[:, None], _STEPS) <= BOUNDARY_TOLERANCE).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class MaskMetrics:
    """All metrics of one mask against its ground truth.

    Distances are in mm if the spacing is known, otherwise in pixels. If only one of the two masks is empty,
    the distances are NaN and all other metrics are 0; if both are empty, they agree perfectly.

    Attributes:
        dice, iou, boundary_iou, boundary_f, surface_dice: 0 to 1.
        hd95, assd: 0 or more.
    """

    dice: float
    iou: float
    boundary_iou: float
    boundary_f: float
    hd95: float
    assd: float
    surface_dice: float

    def as_dict(self) -> dict[str, float]:
        """Metrics by name."""
        return asdict(self)


METRICS = tuple(MaskMetrics.__dataclass_fields__)


def compute_metrics(
    mask: BoolMask,
    truth: BoolMask,
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    tolerance: float = 2.0,
) -> MaskMetrics:
    """Compute all metrics, cropped to the region that either mask covers.

    Args:
        mask, truth: [H, W].
        spacing: distance between pixel centers (row, column).
        tolerance: of the surface Dice, in the unit of ``spacing``.
    """
    width = boundary_width(truth.shape)
    x0, y0, x1, y1 = bounding_box(mask | truth).astype(int)
    if x1:
        mask, truth = mask[y0:y1, x0:x1], truth[y0:y1, x0:x1]
    from_mask, from_truth = surface_distances(mask, truth, spacing)
    return MaskMetrics(
        dice(mask, truth),
        iou(mask, truth),
        boundary_iou(mask, truth, width=width),
        boundary_f(mask, truth),
        hd95(from_mask, from_truth),
        assd(from_mask, from_truth),
        surface_dice(from_mask, from_truth, tolerance),
    )


def dice(mask: BoolMask, truth: BoolMask) -> float:
    """2 |A ∩ B| / (|A| + |B|) (Dice 1945); 1 if both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else 1.0


def iou(mask: BoolMask, truth: BoolMask) -> float:
    """|A ∩ B| / |A ∪ B| (Jaccard 1901); 1 if both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def boundary_width(shape: tuple[int, int], fraction: float = BOUNDARY_FRACTION) -> int:
    """2 % of the image diagonal in whole pixels, at least 1 (Cheng et al. 2021, 4.3)."""
    return max(1, round(fraction * float(np.hypot(*shape))))


def boundary_iou(mask: BoolMask, truth: BoolMask, *, width: int) -> float:
    """IoU of the inner boundary regions, ``width`` pixels deep (Cheng et al. 2021, equation 2).

    The image border counts as a mask boundary; 1 if both masks are empty.
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


def boundary_f(mask: BoolMask, truth: BoolMask) -> float:
    """Boundary F-measure at a tolerance of 2 pixels (Csurka et al. 2013; Perazzi et al. 2016).

    Precision is the fraction of the predicted border's pixels within the tolerance of the true border,
    recall the reverse, and F their harmonic mean. Border pixels are those of `surface_distances`; the
    tolerance is in pixels whatever the spacing. 1 if both masks are empty, 0 if only one is.
    """
    borders = _border(mask), _border(truth)
    counts = [np.count_nonzero(border) for border in borders]
    if not all(counts):
        return float(not any(counts))
    near = [cv2.dilate(border.astype(np.uint8), _DISC) > 0 for border in borders]
    precision = np.count_nonzero(borders[0] & near[1]) / counts[0]
    recall = np.count_nonzero(borders[1] & near[0]) / counts[1]
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def surface_distances(
    mask: BoolMask, truth: BoolMask, spacing: tuple[float, float]
) -> tuple[Distances, Distances]:
    """Distances from each border pixel of ``mask`` to the border of ``truth``, and the reverse.

    A border pixel has a 4-neighbor outside the mask or lies on the image border. All distances are NaN if
    the other mask is empty.
    """
    borders = [np.argwhere(_border(m)) * np.asarray(spacing) for m in (mask, truth)]
    if not len(borders[0]) or not len(borders[1]):
        return (np.full(len(borders[0]), np.nan), np.full(len(borders[1]), np.nan))
    from_mask, from_truth = (
        # Each tree serves a single query, so a fast build beats a fast query.
        cKDTree(borders[1 - i], balanced_tree=False, compact_nodes=False).query(borders[i])[0]
        for i in (0, 1)
    )
    return np.asarray(from_mask), np.asarray(from_truth)


def _border(mask: BoolMask) -> BoolMask:
    inner = cv2.erode(mask.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask & (inner == 0))


def hd95(from_mask: Distances, from_truth: Distances) -> float:
    """The larger 95th percentile of the two directed surface distances (Huttenlocher et al. 1993, made
    robust); 0 if both masks are empty, NaN if only one is."""
    if not len(from_mask) and not len(from_truth):
        return 0.0
    if not len(from_mask) or not len(from_truth):
        return float("nan")
    return max(_percentile95(from_mask), _percentile95(from_truth))


def _percentile95(values: Distances) -> float:
    """Equals `numpy.percentile` with linear interpolation, ten times faster."""
    position = 0.95 * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    ranked = np.partition(values, (low, high))
    return float(ranked[low] + (position - low) * (ranked[high] - ranked[low]))


def assd(from_mask: Distances, from_truth: Distances) -> float:
    """Average symmetric surface distance (Heimann et al. 2009, 2.3); 0 if both masks are empty, NaN if only
    one is."""
    if not len(from_mask) and not len(from_truth):
        return 0.0
    if not len(from_mask) or not len(from_truth):
        return float("nan")
    return float(np.concatenate([from_mask, from_truth]).mean())


def surface_dice(from_mask: Distances, from_truth: Distances, tolerance: float) -> float:
    """Normalized surface Dice: the fraction of both borders within ``tolerance`` of the other (Nikolov et
    al. 2021, equation 1); 1 if both masks are empty, 0 if only one is."""
    total = len(from_mask) + len(from_truth)
    if not total:
        return 1.0
    return float((from_mask <= tolerance).sum() + (from_truth <= tolerance).sum()) / total
