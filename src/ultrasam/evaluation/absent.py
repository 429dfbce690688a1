"""Prompts on images without an object: does the predicted IoU say that nothing is there?

A prompt for nothing must look like a prompt for something. So each image without an object gets the box of
an object of another image of its data set, at the same place relative to the image's size, or a click at
that box's center.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import UltraSamError
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import targets_of
from ultrasam.evaluation.sources import EvaluationDataset
from ultrasam.images.masks import bounding_box
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompts import FloatArray, Prompt
from ultrasam.store.sampling import spread

_MAX_ITEMS = (
    200  # items whose objects lend their boxes; enough for a distribution of places and sizes
)


@dataclass
class BorrowedBoxes:
    """The boxes that images without an object borrow; a data set's are read when the first is needed."""

    datasets: Sequence[EvaluationDataset]
    _boxes: dict[str, FloatArray] = field(default_factory=dict)

    def relative(self, dataset: str) -> FloatArray:
        """Boxes x0, y0, x1, y1 as fractions of their images' width and height, [N, 4]; N may be 0."""
        if dataset not in self._boxes:
            data = next(data for data in self.datasets if data.name == dataset)
            self._boxes[dataset] = _object_boxes(data)
        return self._boxes[dataset]

    def box(
        self, dataset: str, image: AnnotatedImage, shape: tuple[int, int], *, seed: int
    ) -> FloatArray | None:
        """A box x0, y0, x1, y1 for an image of ``shape`` (height, width); None if no image has an object.

        The same image and seed get the same box, whichever images were evaluated before.
        """
        boxes = self.relative(dataset)
        if not len(boxes):
            return None
        rng = np.random.default_rng(zlib.crc32(image.key.encode(), seed))
        height, width = shape
        box: FloatArray = boxes[int(rng.integers(len(boxes)))] * (width, height, width, height)
        return box


def has_no_object(image: AnnotatedImage) -> bool:
    """Whether nothing at all is annotated: neither an object, however small, nor a region to ignore."""
    return not image.structures and image.ignored is None


def predict_absent(
    segmenter: Segmenter, box: FloatArray, kinds: Sequence[PromptKind]
) -> dict[str, dict[str, Any]]:
    """Predicted IoU and area in pixels by prompt type, for the current image.

    Only the single exact prompts have an answer: a box, or a click.
    """
    found = {}
    center = box.reshape(2, 2).mean(axis=0)
    for kind in kinds:
        if not kind.is_single or len(kind.uses) > 1:
            continue
        prompt = Prompt(box=box) if "box" in kind.uses else Prompt(points=center[None], labels=[1])
        prediction = segmenter.predict([prompt])
        found[kind.name] = {
            "predicted_iou": round(float(prediction.predicted_iou[0, 0]), 5),
            "area": int(np.count_nonzero(prediction.masks[0, 0])),
        }
    return found


def _object_boxes(data: EvaluationDataset) -> FloatArray:
    boxes = []
    items = data.whole or data.items  # so that a limit changes no prompt
    for row in spread(np.arange(len(items)), _MAX_ITEMS):
        try:
            images = [image for image in items[row].read() if not isinstance(image, Skip)]
        except UltraSamError:
            continue  # the evaluation itself reports it
        for image in images:
            for target in targets_of(image):
                height, width = target.truth.shape
                boxes.append(bounding_box(target.truth) / (width, height, width, height))
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
