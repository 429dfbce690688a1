"""What should be known of a mask beside its measurements: that it is empty, in pieces, or cut off."""

from __future__ import annotations

from ultrasam.images.masks import BoolMask, bounding_box, components
from ultrasam.measure.outline import largest_part

_LEAST_SHARE = 0.001  # of the largest piece's area, below which a speck is not worth a word


def observations(mask: BoolMask, box: tuple[int, int, int, int] | None = None) -> tuple[str, ...]:
    """Sentences without a subject about a mask [H, W], such as ``has 2 pieces; …``.

    Args:
        box: x0, y0, x1, y1 of the region of the scan that it lies in; None for the whole image.
    """
    if not mask.any():
        return ("is empty, so there is nothing to measure",)
    found = []
    pieces = components(mask)
    areas = [int(piece.sum()) for piece in pieces]
    if len(pieces) > 1 and sum(areas[1:]) > _LEAST_SHARE * areas[0]:
        share = areas[0] / sum(areas)
        found.append(
            f"has {len(pieces)} pieces; only the largest is measured, with {share:.0%} of the area"
        )
    part = largest_part(mask)
    holes = int(part.sum()) - areas[0]
    if holes > _LEAST_SHARE * areas[0]:
        found.append(f"has holes of {holes} pixels, which are measured as part of it")
    edges = touched_edges(part, box)
    if edges:
        what = "image" if box is None else "ultrasound region"
        found.append(
            f"touches the {' and '.join(edges)} edge of the {what}; the structure may be cut off, and "
            "larger than measured"
        )
    return tuple(found)


def touched_edges(mask: BoolMask, box: tuple[int, int, int, int] | None = None) -> tuple[str, ...]:
    """The edges of an image, or of a box in it, that a mask [H, W] touches: left, top, right, bottom."""
    if not mask.any():
        return ()
    height, width = mask.shape
    left, top, right, bottom = box or (0, 0, width, height)
    x0, y0, x1, y1 = bounding_box(mask).tolist()
    touched = {"left": x0 <= left, "top": y0 <= top, "right": x1 >= right, "bottom": y1 >= bottom}
    return tuple(name for name, value in touched.items() if value)
