"""Prompts drawn from the truth, the same for every segmenter, and the scores that they earn.

The paper's protocol (arXiv 2411.16222, 4): a click at the mask's center of mass, or its tight box.
Beyond it: boxes and clicks as people give them, and corrective clicks.
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
_EDGE = 0.35  # off-center clicks fall in the outer part of the mask, up to this share of its depth
_HUMAN = ClickSampling(near_center=0.7, center_spread=0.12, near_miss=0.05)
_KIND = re.compile(
    r"box(?P<jitter>\d{0,2})|(?P<start>points(?=\d)|point|random|offcenter|human)(?P<n>\d{0,2})"
)


@dataclass(frozen=True, slots=True)
class PromptKind:
    """How prompts are drawn from a mask.

    ``box`` (tight), ``box10`` (each corner moved by up to 10 % of the side); ``point`` (center of mass),
    ``random`` (anywhere in the mask), ``offcenter`` (near its border), ``human`` (mostly near the center,
    sometimes off it, one in twenty a little beside). ``points3``, ``random3``, …: that click and two
    corrective ones, in the deepest error; those of ``human`` fall anywhere in the largest error.

    Attributes:
        start: what the first prompt is.
        jitter: of a box, as a share of its side.
        clicks: how many at most; a mask that is exact gets no more.
    """

    name: str
    start: Literal["box", "point", "random", "offcenter", "human"]
    jitter: float = 0.0
    clicks: int = 1

    @classmethod
    def parse(cls, name: str) -> PromptKind:
        """A kind by its name.

        Raises:
            EvaluationError: there is no such kind.
        """
        found = _KIND.fullmatch(name)
        if found is None or (found["start"] == "point" and found["n"]):
            raise EvaluationError(
                f"There is no kind of prompt '{name}'; there are box, box5 to box20, point, random, "
                "offcenter, human, and with corrective clicks points3, random3, …"
            )
        if found["start"] is None:
            return cls(name, "box", jitter=int(found["jitter"] or 0) / 100)
        start: Any = found["start"].removesuffix("s")
        return cls(name, start, clicks=max(1, int(found["n"] or 1)))


@dataclass(frozen=True, eq=False)
class Target:
    """One object of one image: its mask [H, W], its name, and a seed of its own for random prompts."""

    truth: BoolMask
    seed: int
    structure: str = "object"

    @cached_property
    def center(self) -> npt.NDArray[np.float64]:
        """The center of mass [2]."""
        return center_of_mass(self.truth)


@dataclass(frozen=True, slots=True, eq=False)
class TargetPrediction:
    """What a segmenter made of one target.

    Attributes:
        mask: [H, W], the last one.
        predicted_iou: what the segmenter expects of it.
        ious: with the truth, after each click; one of a box.
    """

    mask: BoolMask
    predicted_iou: float
    ious: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """One object under one kind of prompt."""

    dataset: str
    image: str
    subject: str
    prompt: str
    dice: float
    iou: float


def targets_of(sample: AnnotatedImage, *, seed: int = 0) -> list[Target]:
    """Every connected component of at least 64 pixels."""
    found = [
        (part, instance.name)
        for instance in sample.instances
        for part in components(instance.mask, min_area=MIN_OBJECT_PIXELS)
    ]
    name = f"{sample.dataset}/{sample.name}"
    return [
        Target(part, zlib.crc32(f"{name}/{i}".encode(), seed), structure)
        for i, (part, structure) in enumerate(found)
    ]


def click_outside(target: Target) -> bool:
    """The center of mass lies outside the mask."""
    x, y = np.floor(target.center).astype(int)
    return not bool(target.truth[y, x])


def attempt(
    segmenter: Segmenter, targets: Sequence[Target], kind: PromptKind
) -> list[TargetPrediction]:
    """Prompt for every target of the image that is set; corrections follow in rounds."""
    if not targets:
        return []
    prompts = [_first(target, kind) for target in targets]
    rngs = [np.random.default_rng((target.seed, 1)) for target in targets]
    done: list[TargetPrediction | None] = [None] * len(targets)
    open_ = list(range(len(targets)))
    for number in range(kind.clicks):
        prediction = segmenter.predict([prompts[i] for i in open_])
        still = []
        for row, i in enumerate(open_):
            mask, truth = np.asarray(prediction.masks[row, 0]), targets[i].truth
            before = done[i]
            ious = (*(before.ious if before else ()), iou(mask, truth))
            done[i] = TargetPrediction(mask, float(prediction.predicted_iou[row, 0]), ious)
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
                    still.append(i)
        open_ = still
        if not open_:
            break
    return [found for found in done if found is not None]


def _first(target: Target, kind: PromptKind) -> Prompt:
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
        style = _HUMAN if kind.start == "human" else ClickSampling()
        points, labels = simulate_clicks(rng, truth, style)
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


def evaluate(
    segmenter: Segmenter, samples: Sequence[AnnotatedImage], kinds: Sequence[str]
) -> Iterator[Score]:
    """Score every object of every sample under every kind of prompt."""
    parsed = [PromptKind.parse(kind) for kind in kinds]
    for sample in samples:
        targets = targets_of(sample)
        if not targets:
            continue
        segmenter.set_image(gray(sample.pixels))
        for kind in parsed:
            for target, found in zip(targets, attempt(segmenter, targets, kind), strict=True):
                yield Score(
                    sample.dataset,
                    sample.name,
                    sample.subject,
                    kind.name,
                    dice(found.mask, target.truth),
                    iou(found.mask, target.truth),
                )
