"""From an instance segmenter's logits to objects and a label map, as in Mask2Former."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.geometry import ViewTransform
from ultrasam.prompts import Float32

_MAX_DETECTIONS = 100  # per image, as in COCO


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects found in a frame, most confident first.

    Attributes:
        masks: [N, H, W] bool, in frame pixels; they may overlap.
        labels: [N], class indices.
        scores: [N], class probability times mean mask probability.
    """

    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    def above(self, score: float) -> Detections:
        """Detections with at least this score."""
        keep = self.scores >= score
        return Detections(self.masks[keep], self.labels[keep], self.scores[keep])


def detections_of(classes: Float32, masks: Float32, view: ViewTransform) -> Detections:
    """The up to 100 most confident pairs of a query and a class whose mask is not empty.

    Args:
        classes: class logits [Q, K + 1], the last for no object.
        masks: mask logits [Q, h, w] in the model input.
        view: from the frame to the model input.
    """
    probabilities = _probabilities(classes)
    flat = probabilities.ravel()
    best = np.argsort(-flat, kind="stable")[:_MAX_DETECTIONS]
    found, scores, labels = [], [], []
    for index in best.tolist():
        query, label = divmod(index, probabilities.shape[1])
        at_scan = view.logits_to_scan(masks[query])
        mask = at_scan > 0
        if mask.any():
            found.append(mask)
            labels.append(label)
            scores.append(float(flat[index]) * float(_sigmoid(at_scan[mask]).mean()))
    order = np.argsort(-np.asarray(scores), kind="stable")
    shape = (view.height, view.width)
    stacked = np.stack(found)[order] if found else np.zeros((0, *shape), bool)
    return Detections(stacked, np.asarray(labels, int)[order], np.asarray(scores, float)[order])


def label_map_of(classes: Float32, masks: Float32, view: ViewTransform) -> npt.NDArray[np.uint8]:
    """The class of each pixel of the frame [H, W]: 0 is background, k the k-th class.

    Queries' masks are weighted by their class probabilities; pixels below 0.5 are background. Arguments as
    of `detections_of`.
    """
    by_class = np.tensordot(_probabilities(classes).T, _sigmoid(masks), axes=1)
    maps = np.stack([view.logits_to_scan(one, outside=0.0) for one in by_class])
    return np.asarray(np.where(maps.max(axis=0) > 0.5, maps.argmax(axis=0) + 1, 0), np.uint8)


class FindsObjects(ABC):
    """What an instance segmenter offers, in any runtime, once it has logits."""

    def find(self, frame: npt.NDArray[np.uint8]) -> Detections:
        """Find the objects in a frame [H, W] or [H, W, 3]; see `detections_of`."""
        return detections_of(*self._predict(frame))

    def label_map(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Semantic segmentation of a frame [H, W]: 0 is background, k the k-th class; see `label_map_of`."""
        return label_map_of(*self._predict(frame))

    def predict(self, frame: npt.NDArray[np.uint8]) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """`find` and `label_map` in one forward pass."""
        outputs = self._predict(frame)
        return detections_of(*outputs), label_map_of(*outputs)

    @abstractmethod
    def _predict(self, frame: npt.NDArray[np.uint8]) -> tuple[Float32, Float32, ViewTransform]:
        """Class logits [Q, K + 1], mask logits [Q, h, w] in the model input, and the view."""


def _probabilities(classes: Float32) -> Float32:
    """Class probabilities [Q, K]."""
    shares = np.exp(classes - classes.max(axis=1, keepdims=True))
    found: Float32 = (shares / shares.sum(axis=1, keepdims=True))[:, :-1]
    return found


def _sigmoid(values: Float32) -> Float32:
    with np.errstate(over="ignore"):  # infinity is right
        found = 1 / (1 + np.exp(-values))
    return np.asarray(found, values.dtype)
