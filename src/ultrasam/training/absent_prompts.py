"""Prompts where there is nothing, so that the model learns to say so.

An image without an object gets the box, or its center, that another image's object has; so does an image with
objects, away from them, if its data set annotates everything that a user might mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.images.masks import MIN_OBJECT_PIXELS, bounding_box
from ultrasam.prompts import BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT

_TRIES = 8
_MAX_IOU = 0.15  # of an absent box with the box of any object
_MARGIN = 0.1  # of a box's sides, in which no object's center may lie
Floats = npt.NDArray[np.float64]


def draw_absent_box(
    rng: np.random.Generator,
    image: AnnotatedImage,
    others: Sequence[AnnotatedImage],
    *,
    shape: tuple[int, int],
) -> Floats | None:
    """A box x0, y0, x1, y1 in an image's pixels that holds no object; None if none was found.

    Args:
        others: images of the same source, whose objects have likely places and sizes. Boxes are in proportion
            to the image's size.
        shape: (height, width) of the image.
    """
    height, width = shape
    own = [bounding_box(image.mask(i)) for i in range(len(image.areas))]
    for _ in range(_TRIES):
        other = others[int(rng.integers(len(others)))]
        usable = [i for i, area in enumerate(other.areas) if area >= MIN_OBJECT_PIXELS]
        if not usable:
            continue
        mask = other.mask(int(rng.choice(usable)))
        scale = np.array([width / mask.shape[1], height / mask.shape[0]] * 2)
        box = bounding_box(mask) * scale
        if own:  # elsewhere in the image
            size = box[2:] - box[:2]
            corner = rng.uniform(0, 1, 2) * (np.array([width, height]) - size)
            box = np.concatenate([corner, corner + size])
        if not any(_overlap(box, known) for known in own):
            return np.asarray(box, np.float64)
    return None


def _overlap(box: Floats, known: Floats) -> bool:
    """Whether a box could mean an object with the box ``known``, or holds its center or lies in it."""
    low, high = np.maximum(box[:2], known[:2]), np.minimum(box[2:], known[2:])
    shared = float(np.prod(np.maximum(0, high - low)))
    sizes = [float(np.prod(b[2:] - b[:2])) for b in (box, known)]
    if shared > _MAX_IOU * (sum(sizes) - shared):
        return True
    return _holds(box, known) or _holds(known, box)


def _holds(box: Floats, other: Floats) -> bool:
    """Whether a box, with a margin, holds the center of another."""
    center, margin = (other[:2] + other[2:]) / 2, _MARGIN * (box[2:] - box[:2])
    return bool((center >= box[:2] - margin).all() and (center <= box[2:] + margin).all())


def absent_prompt(
    rng: np.random.Generator, box: Floats, *, as_box: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The prompt for a box that holds nothing: the box, or a click near its center.

    Returns:
        Coordinates [2, 2] and labels [2], as `ultrasam.training.prompt_sampling.sample_prompt`.
    """
    if as_box:
        return box.reshape(2, 2).astype(np.float32), np.array([TOP_LEFT, BOTTOM_RIGHT])
    size = box[2:] - box[:2]
    click = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.1, 2) * size
    return np.stack([click, np.zeros(2)]).astype(np.float32), np.array([FOREGROUND, NOT_A_POINT])
