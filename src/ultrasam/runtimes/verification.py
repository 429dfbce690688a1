"""Compare an exported network with PyTorch's at sizes that it was not traced with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ultrasam.errors import UltraSamError
from ultrasam.model.config import ModelConfig
from ultrasam.prompts import (
    BOTTOM_RIGHT,
    NOT_A_POINT,
    TOP_LEFT,
    UNUSED,
    Float32,
    PromptArrays,
)
from ultrasam.runtimes.backend import Backend

# Largest difference of logits up to ± 32 and of predicted IoU; of larger logits, in proportion.
TOLERANCE = 1e-3
_USUAL_LOGIT = 32.0
# Prompts, points of each and which have a mask.
_CASES = (
    (1, 1, "none"), (1, 1, "all"), (3, 2, "none"), (3, 5, "some"), (64, 4, "none"), (64, 3, "some"),
)  # fmt: skip


class ExportError(UltraSamError):
    """An exported network does not equal the one it was made from."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far an exported network is from PyTorch's for one set of prompts.

    Attributes:
        prompts, points: N and K.
        masks: which prompts have a mask: ``none``, ``some`` or ``all``.
        largest_logit: the largest absolute logit.
        logits, predicted_iou: the largest absolute difference.
        disagreeing_pixels: fraction of low-res pixels that only one of both has in its mask.
    """

    prompts: int
    points: int
    masks: str
    largest_logit: float
    logits: float
    predicted_iou: float
    disagreeing_pixels: float

    @property
    def within(self) -> bool:
        """Whether the differences are within the tolerance; those that are not finite are not."""
        allowed = TOLERANCE * max(1.0, self.largest_logit / _USUAL_LOGIT)
        return self.logits <= allowed and self.predicted_iou <= TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """For JSON, numbers rounded to three digits."""
        return {
            k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in asdict(self).items()
        }


def compare(exported: Backend, reference: Backend) -> list[Comparison]:
    """Encode images and decode 1, 3 and 64 prompts of several points, with and without masks, in both.

    Raises:
        ExportError: Results differ by more than the tolerance.
    """
    found = differences(exported, reference)
    wrong = [entry for entry in found if not entry.within]
    if wrong:
        first = wrong[0]
        raise ExportError(
            f"The exported network differs from PyTorch's for {first.prompts} prompts of {first.points} "
            f"points with masks for {first.masks}: logits by up to {first.logits:.2g} (of "
            f"{first.largest_logit:.0f}), predicted IoU by up to {first.predicted_iou:.2g}; at most "
            f"{TOLERANCE:g} is allowed. Nothing was written."
        )
    return found


def differences(exported: Backend, reference: Backend) -> list[Comparison]:
    """What `compare` compares, however much they differ."""
    rng = np.random.default_rng(0)
    config = reference.config
    pixels = _images(rng, 3, config.image_size)
    theirs, ours = reference.encode(pixels), exported.encode(pixels)
    one_by_one = [exported.encode(image[None])[0] for image in pixels]
    found = []
    for count, points, masks in _CASES:
        prompts = _prompts(rng, config, count, points, masks)
        index = np.arange(count, dtype=np.int64) % 3
        expected = reference.decode(theirs, prompts, index, multimask=True)
        embeddings: Sequence[Any] = ours if count > 1 else one_by_one
        got = exported.decode(embeddings, prompts, index, multimask=True)
        found.append(_difference(got, expected, count, points, masks))
    return found


def _difference(
    got: tuple[Float32, Float32],
    expected: tuple[Float32, Float32],
    count: int,
    points: int,
    masks: str,
) -> Comparison:
    logits, iou = (float(np.abs(a - b).max()) for a, b in zip(got, expected, strict=True))
    disagreeing = float(((got[0] > 0) != (expected[0] > 0)).mean())
    largest = float(np.abs(expected[0]).max())
    return Comparison(count, points, masks, largest, logits, iou, disagreeing)


def _images(rng: np.random.Generator, count: int, size: int) -> Float32:
    """Preprocessed pixels [B, 3, S, S] with a bright ellipse in speckle."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    images = []
    for i in range(count):
        inside = (x / 0.3) ** 2 + (y / (0.1 + 0.1 * i)) ** 2 <= 1
        images.append(rng.rayleigh(0.5, (size, size)) * (0.3 + inside) - 0.8)
    return np.repeat(np.asarray(images, np.float32)[:, None], 3, axis=1)


def _prompts(
    rng: np.random.Generator, config: ModelConfig, count: int, points: int, masks: str
) -> PromptArrays:
    coords = rng.random((count, points, 2), dtype=np.float32) * config.image_size
    labels = rng.integers(0, 2, (count, points))
    labels[:, -1] = NOT_A_POINT
    labels[0, 0] = 1
    boxes = np.arange(count) % 3 == 1
    if points >= 2:
        labels[boxes, -2:] = (TOP_LEFT, BOTTOM_RIGHT)
        coords[:, -2:] = np.sort(coords[:, -2:], axis=1)
    if points >= 4:
        labels[::5, 1] = UNUSED
    if masks == "none":
        return PromptArrays(coords, labels)
    size = config.mask_size
    given = rng.normal(0, 6, (count, 1, size, size)).astype(np.float32)
    return PromptArrays(
        coords, labels, given, np.arange(count) % 2 == 0 if masks == "some" else None
    )
