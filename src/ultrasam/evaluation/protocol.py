"""Prompt every object of an image as a prompt type says, correct the masks by clicks, and score them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.metrics.masks import dice, iou
from ultrasam.evaluation.prompt_types import PromptKind, corrective_click_anywhere, with_click
from ultrasam.images.masks import MIN_OBJECT_PIXELS, center_of_mass, components
from ultrasam.images.pixels import gray
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompt_simulation import corrective_click
from ultrasam.prompts import Prompt

BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PromptTarget:
    """An object to segment.

    Attributes:
        truth: ground-truth mask [H, W].
        seed: for this object's random prompts.
        structure: name of the anatomical structure.
    """

    truth: BoolMask
    seed: int
    structure: str = "object"


@dataclass(frozen=True, slots=True, eq=False)
class TargetPrediction:
    """A segmenter's result for one target.

    Attributes:
        mask: final mask [H, W].
        predicted_iou: the segmenter's IoU estimate for that mask.
        ious: true IoU after the first prompt and after each corrective click.
    """

    mask: BoolMask
    predicted_iou: float
    ious: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """Dice and IoU of one object for one prompt type."""

    dataset: str
    image: str
    subject: str
    prompt: str
    dice: float
    iou: float


def targets_of(image: AnnotatedImage, *, seed: int = 0) -> list[PromptTarget]:
    """Every connected component of an image's masks with at least MIN_OBJECT_PIXELS (64) pixels."""
    parts = [
        (part, instance.name)
        for instance in image.instances
        for part in components(instance.mask, min_area=MIN_OBJECT_PIXELS)
    ]
    name = f"{image.dataset}/{image.name}"
    return [
        PromptTarget(part, zlib.crc32(f"{name}/{i}".encode(), seed), structure)
        for i, (part, structure) in enumerate(parts)
    ]


def click_outside(target: PromptTarget) -> bool:
    """Whether the center of mass lies outside the mask, as in a concave object."""
    x, y = np.floor(center_of_mass(target.truth)).astype(int)
    return not bool(target.truth[y, x])


def first_prompts(
    targets: Sequence[PromptTarget], kind: PromptKind, *, repeat: int = 0
) -> list[Prompt]:
    """The first prompt of each target; another one in each repeat, if the prompt type is random."""
    return [
        kind.draw(np.random.default_rng((target.seed, repeat)), target.truth) for target in targets
    ]


def segment_targets(
    segmenter: Segmenter, targets: Sequence[PromptTarget], kind: PromptKind, *, repeat: int = 0
) -> list[TargetPrediction]:
    """Segment every target of the current image; corrective clicks follow in rounds, each with the previous
    mask as a prompt."""
    if not targets:
        return []
    prompts = first_prompts(targets, kind, repeat=repeat)
    rngs = [np.random.default_rng((target.seed, repeat, 1)) for target in targets]
    results: list[TargetPrediction | None] = [None] * len(targets)
    active = list(range(len(targets)))
    for number in range(kind.rounds):
        prediction = segmenter.predict([prompts[i] for i in active])
        unfinished = []
        for row, i in enumerate(active):
            mask, truth = np.asarray(prediction.masks[row, 0]), targets[i].truth
            previous = results[i]
            ious = (*(previous.ious if previous else ()), iou(mask, truth))
            results[i] = TargetPrediction(mask, float(prediction.predicted_iou[row, 0]), ious)
            if number + 1 < kind.rounds:
                correction = _correction(mask, truth, kind, rngs[i])
                if correction is not None:
                    point, label = correction
                    logits = prediction.low_res_logits[row, 0]
                    prompts[i] = with_click(
                        prompts[i], point, label, logits if logits.size else mask
                    )
                    unfinished.append(i)
        active = unfinished
        if not active:
            break
    return [result for result in results if result is not None]


def _correction(
    mask: BoolMask, truth: BoolMask, kind: PromptKind, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], int] | None:
    if not kind.anywhere:
        return corrective_click(mask, truth)
    errors = components(mask ^ truth)
    return corrective_click_anywhere(rng, errors[0], truth) if errors else None


def evaluate_prompts(
    segmenter: Segmenter, images: Sequence[AnnotatedImage], kinds: Sequence[str]
) -> Iterator[ObjectScore]:
    """Score every object of every image for every prompt type."""
    parsed = [PromptKind.parse(kind) for kind in kinds]
    for image in images:
        targets = targets_of(image)
        if not targets:
            continue
        segmenter.set_image(gray(image.pixels))
        for kind in parsed:
            predictions = segment_targets(segmenter, targets, kind)
            for target, prediction in zip(targets, predictions, strict=True):
                yield ObjectScore(
                    image.dataset,
                    image.name,
                    image.subject,
                    kind.name,
                    dice(prediction.mask, target.truth),
                    iou(prediction.mask, target.truth),
                )
