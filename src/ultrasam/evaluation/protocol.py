"""Prompts drawn from the truth, the same for every segmenter, and the scores that they earn.

The paper's protocol (arXiv 2411.16222, 4): a click at the mask's centre of mass, or its tight box.
Beyond it: boxes moved as people move them, and corrective clicks in the deepest error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.data.samples import Sample, grey
from ultrasam.evaluation.metrics import dice, iou
from ultrasam.images.masks import box_of, centre_of_mass, components
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompts import Prompt, corrective_click, jitter_box

BoolMask = npt.NDArray[np.bool_]
_LEAST_PIXELS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """One object of one image: its mask, and a seed of its own for random prompts."""

    truth: BoolMask
    seed: int


@dataclass(frozen=True, slots=True)
class Score:
    """One object under one kind of prompt."""

    dataset: str
    image: str
    subject: str
    prompt: str
    dice: float
    iou: float


def targets_of(sample: Sample) -> list[Target]:
    """Every connected component of at least 64 pixels."""
    parts = [
        part
        for instance in sample.instances
        for part in components(instance.mask, least=_LEAST_PIXELS)
    ]
    name = f"{sample.dataset}/{sample.name}"
    return [Target(part, zlib.crc32(f"{name}/{i}".encode())) for i, part in enumerate(parts)]


def click_misses(target: Target) -> bool:
    """The centre of mass lies outside the mask."""
    x, y = np.floor(centre_of_mass(target.truth)).astype(int)
    return not bool(target.truth[y, x])


def segment_target(segmenter: Segmenter, target: Target, kind: str) -> BoolMask:
    """The mask that one kind of prompt earns.

    Kinds: ``box`` (tight), ``box10`` (each corner moved by up to 10 % of the side), ``point`` (centre
    of mass), ``point3`` (that, and two corrective clicks).
    """
    truth = target.truth
    if kind.startswith("box"):
        box = box_of(truth)
        share = int(kind.removeprefix("box") or 0) / 100
        if share:
            height, width = truth.shape
            box = jitter_box(np.random.default_rng(target.seed), box, share)
            box = np.clip(box, 0, (width, height, width, height))
        return np.asarray(segmenter.predict(Prompt(box=tuple(box))).masks[0, 0])
    clicks = int(kind.removeprefix("point") or 1)
    points, labels = [centre_of_mass(truth)], [1]
    prediction = segmenter.predict(Prompt(points=np.stack(points), labels=labels))
    for _ in range(clicks - 1):
        correction = corrective_click(prediction.masks[0, 0], truth)
        if correction is None:
            break
        points.append(correction[0])
        labels.append(correction[1])
        prediction = segmenter.predict(
            Prompt(points=np.stack(points), labels=labels, mask=prediction.low_res_logits[0, 0])
        )
    return np.asarray(prediction.masks[0, 0])


def evaluate(
    segmenter: Segmenter, samples: Sequence[Sample], kinds: Sequence[str]
) -> Iterator[Score]:
    """Score every object of every sample under every kind of prompt."""
    for sample in samples:
        targets = targets_of(sample)
        if not targets:
            continue
        segmenter.set_image(grey(sample.pixels))
        for target in targets:
            for kind in kinds:
                mask = segment_target(segmenter, target, kind)
                yield Score(
                    sample.dataset,
                    sample.name,
                    sample.subject,
                    kind,
                    dice(mask, target.truth),
                    iou(mask, target.truth),
                )
