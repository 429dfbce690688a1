"""Simulate the same prompts for every segmenter, and score its masks.

The paper's protocol (arXiv 2411.16222, 4) is a click at the object's center of mass, or its tight box. This
module adds jittered boxes, human-like clicks and corrective clicks.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import EvaluationError
from ultrasam.evaluation.metrics.masks import dice, iou
from ultrasam.images.masks import MIN_OBJECT_PIXELS, bounding_box, center_of_mass, components
from ultrasam.images.pixels import gray
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompt_simulation import ClickSampling, corrective_click, jitter_box, simulate_clicks
from ultrasam.prompts import Prompt

BoolMask = npt.NDArray[np.bool_]
_EDGE = 0.35  # off-center clicks lie within this fraction of the maximum depth from the border
_HUMAN = ClickSampling(near_center=0.7, center_spread=0.12, near_miss=0.05)
_NAME = re.compile(
    r"box(?P<jitter>\d{0,2})|(?P<start>points(?=\d)|point|random|offcenter|human)(?P<n>\d{0,2})"
)


@dataclass(frozen=True, slots=True)
class PromptKind:
    """A prompt type: how to simulate prompts from a ground-truth mask.

    ``box`` is the tight box; ``box10`` moves each corner by up to 10 % of the side. ``point`` is the center
    of mass, ``random`` lies anywhere in the mask, ``offcenter`` near its border, and ``human`` mostly near
    the center, sometimes elsewhere, and once in twenty slightly outside. ``points3``, ``random3``, … add two
    corrective clicks at the deepest point of the error; those of ``human3`` fall anywhere in the largest
    error region.

    Attributes:
        start: the first prompt.
        jitter: maximum corner displacement as a fraction of the box side.
        clicks: maximum number of clicks; a perfect mask gets no further clicks.
    """

    name: str
    start: Literal["box", "point", "random", "offcenter", "human"]
    jitter: float = 0.0
    clicks: int = 1

    @classmethod
    def parse(cls, name: str) -> PromptKind:
        """Parse a name such as ``box10`` or ``points3``.

        Raises:
            EvaluationError: The name is unknown.
        """
        match = _NAME.fullmatch(name)
        if match is None or (match["start"] == "point" and match["n"]):
            raise EvaluationError(
                f"Unknown prompt type '{name}'. Use box, box5 to box20, point, random, offcenter or human; "
                "for corrective clicks append their total, as in points3 or random3."
            )
        if match["start"] is None:
            return cls(name, "box", jitter=int(match["jitter"] or 0) / 100)
        start: Any = match["start"].removesuffix("s")
        return cls(name, start, clicks=max(1, int(match["n"] or 1)))


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

    @cached_property
    def center(self) -> npt.NDArray[np.float64]:
        """Center of mass (x, y) [2]."""
        return center_of_mass(self.truth)


@dataclass(frozen=True, slots=True, eq=False)
class TargetPrediction:
    """A segmenter's result for one target.

    Attributes:
        mask: final mask [H, W].
        predicted_iou: the segmenter's IoU estimate for that mask.
        ious: true IoU after each click; a single value for a box.
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
    x, y = np.floor(target.center).astype(int)
    return not bool(target.truth[y, x])


def segment_targets(
    segmenter: Segmenter, targets: Sequence[PromptTarget], kind: PromptKind
) -> list[TargetPrediction]:
    """Segment every target of the current image; corrective clicks follow in rounds."""
    if not targets:
        return []
    prompts = [_first_prompt(target, kind) for target in targets]
    rngs = [np.random.default_rng((target.seed, 1)) for target in targets]
    results: list[TargetPrediction | None] = [None] * len(targets)
    active = list(range(len(targets)))
    for number in range(kind.clicks):
        prediction = segmenter.predict([prompts[i] for i in active])
        unfinished = []
        for row, i in enumerate(active):
            mask, truth = np.asarray(prediction.masks[row, 0]), targets[i].truth
            previous = results[i]
            ious = (*(previous.ious if previous else ()), iou(mask, truth))
            results[i] = TargetPrediction(mask, float(prediction.predicted_iou[row, 0]), ious)
            if number + 1 < kind.clicks:
                correction = _correction(mask, truth, kind, rngs[i])
                if correction is not None:
                    point, label = correction
                    logits = prediction.low_res_logits[row, 0]
                    prompts[i] = Prompt(
                        points=np.concatenate([np.asarray(prompts[i].points), point[None]]),
                        labels=np.append(np.asarray(prompts[i].labels), label),
                        mask=logits if logits.size else mask,
                    )
                    unfinished.append(i)
        active = unfinished
        if not active:
            break
    return [result for result in results if result is not None]


def _first_prompt(target: PromptTarget, kind: PromptKind) -> Prompt:
    truth, rng = target.truth, np.random.default_rng(target.seed)
    if kind.start == "box":
        box = bounding_box(truth)
        if kind.jitter:
            height, width = truth.shape
            box = jitter_box(rng, box, kind.jitter)
            box = np.clip(box, 0, (width, height, width, height))
        return Prompt(box=tuple(box))
    if kind.start == "point":
        return Prompt(points=target.center[None], labels=[1])
    if kind.start == "offcenter":
        points, labels = _near_border(rng, truth), np.array([1])
    else:
        sampling = _HUMAN if kind.start == "human" else ClickSampling()
        points, labels = simulate_clicks(rng, truth, sampling)
    return Prompt(points=points, labels=labels)


def _near_border(rng: np.random.Generator, truth: BoolMask) -> npt.NDArray[np.float64]:
    depth = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    ys, xs = np.nonzero(truth & (depth <= max(1.0, _EDGE * float(depth.max()))))
    index = int(rng.integers(len(xs)))
    return np.array([[xs[index] + 0.5, ys[index] + 0.5]])


def _correction(
    mask: BoolMask, truth: BoolMask, kind: PromptKind, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], int] | None:
    if kind.start != "human":
        return corrective_click(mask, truth)
    errors = components(mask ^ truth)
    if not errors:
        return None
    ys, xs = np.nonzero(errors[0])
    index = int(rng.integers(len(xs)))
    x, y = int(xs[index]), int(ys[index])
    return np.array([x + 0.5, y + 0.5]), int(truth[y, x])


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
