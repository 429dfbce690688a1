"""Masks as arrays, run lengths and components, on top of OpenCV.

A mask is [H, W] bool. Boxes are x0, y0, x1, y1 in pixels, where x1 and y1 are the far edges of the
last pixels, so that a box's area is (x1 - x0) × (y1 - y0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs
from ultrasam.images import rle as run_lengths

BoolMask = npt.NDArray[np.bool_]
MIN_OBJECT_PIXELS = 64  # smaller components are specks of annotation

MIN_OBJECT_PIXELS = 64  # smaller components are specks of annotation


class RLE(TypedDict):
    """COCO's compressed run lengths, JSON-ready."""

    size: list[int]
    counts: str | list[int]


def encode_rle(mask: BoolMask) -> RLE:
    """[H, W] bool to COCO's compressed run lengths."""
    return {"size": [int(n) for n in mask.shape], "counts": run_lengths.encode(mask)}


def decode_rle(rle: RLE) -> BoolMask:
    """COCO's run lengths to [H, W] bool; lists of lengths, as some tools write them, are read too.

    Raises:
        DataError: they are malformed, or not of a mask of the size that they state.
    """
    height, width = rle["size"]
    return run_lengths.decode(rle["counts"], (height, width))


def bounding_box(mask: BoolMask) -> npt.NDArray[np.float64]:
    """The tight box [4] of a mask; all zeros for an empty one."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return np.array([x, y, x + width, y + height] if width else [0, 0, 0, 0], dtype=np.float64)


def components(mask: BoolMask, *, least: int = 1) -> list[BoolMask]:
    """The 8-connected components of at least ``least`` pixels, largest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = [(int(stats[i, cv2.CC_STAT_AREA]), i) for i in range(1, count)]
    return [labels == i for area, i in sorted(areas, reverse=True) if area >= least]


def center_of_mass(mask: BoolMask) -> npt.NDArray[np.float64]:
    """(x, y) of the center of mass [2]; it may lie outside a concave mask."""
    moments = cv2.moments(np.ascontiguousarray(mask).view(np.uint8), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5


def deepest_point(mask: BoolMask) -> npt.NDArray[np.float64]:
    """(x, y) of the pixel's center [2] that is farthest from the mask's border."""
    depth = cv2.distanceTransform(
        np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([x - 0.5, y - 0.5])


def inscribed_ellipse(box: npt.ArrayLike, shape: tuple[int, int]) -> BoolMask:
    """The largest ellipse in a box, as a mask of ``shape``."""
    x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
    y, x = np.ogrid[0 : shape[0], 0 : shape[1]]
    u = (x + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 1e-6)
    v = (y + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 1e-6)
    return np.asarray(u * u + v * v <= 1)


def polygon_mask(polygons: Sequence[npt.ArrayLike], shape: tuple[int, int]) -> BoolMask:
    """The union of polygons, each [K, 2] of (x, y) from pixels' corners, as COCO's rasterizer fills them.

    Polygons of fewer than three points are empty.
    """
    flat = [np.asarray(p, dtype=np.float64).reshape(-1) for p in polygons]
    usable = [p.tolist() for p in flat if len(p) >= 6 and np.isfinite(p).all()]
    if not usable:
        return np.zeros(shape, dtype=bool)
    with needs("Filling polygons as COCO does", extra="data"):
        from pycocotools import mask as coco_mask
    return np.asarray(
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(usable, *shape))), bool
    )


def coco_result(
    mask: BoolMask,
    *,
    image_id: int,
    score: float,
    category_id: int = 1,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One entry of a COCO results file; ``extra`` are keys of ours, which COCO's readers pass over."""
    x0, y0, x1, y1 = bounding_box(mask).tolist()
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": encode_rle(mask),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "score": round(score, 4),
        **(extra or {}),
    }
