"""Operations on binary masks: RLE, boxes, components and rasterization.

A mask is [H, W] bool. Boxes are x0, y0, x1, y1 in pixels; x1 and y1 are the outer edges of the last pixels,
so a box's area is (x1 - x0) × (y1 - y0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.images import rle as run_lengths
from ultrasam.images.scan import MAX_FRAME_PIXELS
from ultrasam.morphology import bounding_box, fill_holes, largest_component

__all__ = [
    "MIN_OBJECT_PIXELS",
    "RLE",
    "bounding_box",
    "center_of_mass",
    "coco_result",
    "components",
    "decode_rle",
    "deepest_point",
    "drawn_mask",
    "encode_rle",
    "fill_holes",
    "inscribed_ellipse",
    "largest_component",
    "polygon_mask",
]

BoolMask = npt.NDArray[np.bool_]
MIN_OBJECT_PIXELS = 64  # smaller components are annotation noise


class RLE(TypedDict):
    """COCO's run-length encoding, ready for JSON."""

    size: list[int]
    counts: str | list[int]


def encode_rle(mask: BoolMask) -> RLE:
    """Encode a mask [H, W] as COCO's compressed RLE."""
    return {"size": [int(n) for n in mask.shape], "counts": run_lengths.encode(mask)}


def decode_rle(rle: RLE) -> BoolMask:
    """Decode COCO's RLE to a mask [H, W]; uncompressed RLE (a list of lengths) is accepted too.

    Raises:
        DataError: The RLE is malformed, or does not match its size.
    """
    try:
        height, width = (int(n) for n in rle["size"])
        counts = rle["counts"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError("An RLE needs a 'size' of [height, width], and 'counts'.") from error
    if height < 1 or width < 1 or height * width > MAX_FRAME_PIXELS:
        raise DataError(f"An RLE has a size of {width} × {height} pixels.")
    return run_lengths.decode(counts, (height, width))


def components(mask: BoolMask, *, min_area: int = 1) -> list[BoolMask]:
    """The 8-connected components with at least ``min_area`` pixels, largest first."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = [(int(stats[i, cv2.CC_STAT_AREA]), i) for i in range(1, count)]
    return [labels == i for area, i in sorted(areas, reverse=True) if area >= min_area]


def center_of_mass(mask: BoolMask) -> npt.NDArray[np.float64]:
    """The center of mass (x, y), [2]; it may lie outside a concave mask."""
    import cv2

    moments = cv2.moments(np.ascontiguousarray(mask).view(np.uint8), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5


def deepest_point(mask: BoolMask) -> npt.NDArray[np.float64]:
    """The center (x, y), [2], of the pixel that is farthest from the mask's border."""
    import cv2

    depth = cv2.distanceTransform(
        np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([x - 0.5, y - 0.5])


def inscribed_ellipse(box: npt.ArrayLike, shape: tuple[int, int]) -> BoolMask:
    """The largest ellipse in a box, as a mask of ``shape`` (H, W)."""
    x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
    y, x = np.ogrid[0 : shape[0], 0 : shape[1]]
    u = (x + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 1e-6)
    v = (y + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 1e-6)
    return np.asarray(u * u + v * v <= 1)


def polygon_mask(polygons: Sequence[npt.ArrayLike], shape: tuple[int, int]) -> BoolMask:
    """The union of polygons, each [K, 2] of (x, y) in pixels, rasterized as in COCO.

    Polygons with fewer than three points are empty.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    flat = [np.asarray(p, dtype=np.float64).reshape(-1) for p in polygons]
    usable = [p.tolist() for p in flat if len(p) >= 6 and np.isfinite(p).all()]
    if not usable:
        return np.zeros(shape, dtype=bool)
    with needs("Rasterizing polygons", extra="data"):
        from pycocotools import mask as coco_mask
    return np.asarray(
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(usable, *shape))), bool
    )


def drawn_mask(
    kind: Literal["polygon", "rectangle", "ellipse"], points: npt.ArrayLike, shape: tuple[int, int]
) -> BoolMask:
    """A filled shape with the pixels that its outline touches, as LabelMe rasterizes it.

    The center of pixel (column, row) is at x = column, y = row, so that a square from 20 to 60 is 41 pixels
    wide; in `polygon_mask`, which follows COCO, it is 40 pixels wide.

    Args:
        kind: what the points mean.
        points: [K, 2] of (x, y): the corners of a polygon, or the top-left and bottom-right corner of a
            rectangle or of an ellipse's box.
        shape: (height, width) of the mask.
    """
    image = Image.new("L", shape[::-1])
    corners = [(float(x), float(y)) for x, y in np.asarray(points, dtype=np.float64)]
    getattr(ImageDraw.Draw(image), kind)(corners, outline=1, fill=1)
    return np.asarray(image, dtype=bool)


def coco_result(
    mask: BoolMask,
    *,
    image_id: int | str,
    score: float,
    category_id: int | str = 1,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One entry of a COCO results file; ``extra`` holds further keys, which COCO readers ignore."""
    x0, y0, x1, y1 = bounding_box(mask).tolist()
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": encode_rle(mask),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "score": round(score, 4),
        **(extra or {}),
    }
