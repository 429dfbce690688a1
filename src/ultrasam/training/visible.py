"""Leave out images whose objects are too small to be seen by the model, before a run would look for them in
vain."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.store.store import Store, StoredImages
from ultrasam.training.augmentation import Augmentation
from ultrasam.training.promptable_data import Source

logger = logging.getLogger(__name__)

_HINT = "Set augmentation.zoomed=0.5 to enlarge objects, or use a model of larger input."


def with_visible_objects(
    sources: Sequence[Source], augmentation: Augmentation, image_size: int
) -> list[Source]:
    """The sources without the images of which no view can show an object, which are counted in the log.

    Args:
        sources: images of stores; others stay as they are.
        augmentation: how far it enlarges objects decides what can be seen.
        image_size: side S of the model input.

    Raises:
        DataError: No source shows anything.
    """
    kept, reasons = [], []
    for source in sources:
        if not isinstance(source.images, StoredImages):
            kept.append(source)
            continue
        images = source.images
        largest = largest_areas(images.store, augmentation, image_size)[images.rows]
        # Images without an object are among the sources only if prompts where there is nothing are.
        empty = ~np.isin(images.rows, images.store.column("image"))
        seen = empty | (largest >= MIN_OBJECT_PIXELS)
        if not seen.all():
            reasons.append(_reason(source.name, largest[~empty], image_size))
        if (seen & ~empty).any():
            kept.append(replace(source, images=StoredImages(images.store, images.rows[seen])))
    if not kept:
        raise DataError(f"There is nothing to train on. {' '.join(reasons)} {_HINT}")
    for reason in reasons:
        logger.warning("Not trained on: %s %s", reason, _HINT)
    return kept


def _reason(name: str, largest: npt.NDArray[np.float64], image_size: int) -> str:
    lost, count = int((largest < MIN_OBJECT_PIXELS).sum()), len(largest)
    which = f"all {count:,}" if lost == count else f"{lost:,} of {count:,}"
    return (
        f"{name}: {which} images, in which no object covers {MIN_OBJECT_PIXELS} pixels of the model's "
        f"{image_size} × {image_size} (at most {largest[largest < MIN_OBJECT_PIXELS].max():.0f})."
    )


def largest_areas(
    store: Store, augmentation: Augmentation, image_size: int
) -> npt.NDArray[np.float64]:
    """Of each image [N] of a store, the largest area in pixels that one of its objects has in any view.

    An object of fewer than `MIN_OBJECT_PIXELS` pixels in the image itself counts as none: it is noise.
    """
    sides = [store.images[name].to_numpy() for name in ("height", "width")]
    image, area = store.column("image"), store.column("area").astype(np.float64)
    whole = image_size / np.maximum(*sides)[image] * math.exp(augmentation.scale)
    x0, y0, x1, y1 = store.boxes.astype(np.float64).T
    zoomed = image_size / (np.maximum(x1 - x0, y1 - y0) * augmentation.zoom[0])
    scale = np.maximum(whole, zoomed) if augmentation.zoomed > 0 else whole
    largest = np.zeros(len(store.images))
    counts = area >= MIN_OBJECT_PIXELS
    np.maximum.at(largest, image[counts], (area * scale**2)[counts])
    return largest
