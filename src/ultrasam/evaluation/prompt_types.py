"""The prompt types of an evaluation: which prompt an object gets, drawn from its ground-truth mask.

Two protocols, which a report never mixes. *Exact* prompts are what the mask alone determines: its tight box,
its most interior point, its center of mass (the paper's click; arXiv 2411.16222, 4). *Human* prompts are as
imprecise as people's: boxes moved, scaled and shifted, clicks anywhere in the object or off its center. Those
drawn at random are repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import EvaluationError
from ultrasam.images.masks import bounding_box, center_of_mass, deepest_point
from ultrasam.prompt_simulation import (
    ClickSampling,
    jitter_box,
    noisy_box,
    scaled_box,
    shifted_box,
    simulate_clicks,
)
from ultrasam.prompts import FloatArray, IntArray, Prompt

BoolMask = npt.NDArray[np.bool_]
Protocol = Literal["exact", "human"]
_EDGE = 0.35  # off-center clicks lie within this fraction of the maximum depth from the border
_HUMAN = ClickSampling(near_center=0.7, center_spread=0.12, near_miss=0.05)
_BOX = (
    r"(?P<box>box)(?P<jitter>\d{0,2})(?P<change>-noisy|-scaled\d{2,3}|-shifted\d{1,2})?"
    r"(?:\+(?P<beside>point|interior|clicks(?P<after>\d{1,2})))?"
)
_CLICK = (
    r"point-noise(?P<noise>\d{1,3})|point|"
    r"(?P<start>points(?=\d)|interior|random|offcenter|human)(?P<clicks>\d{0,2})"
)
_NAME = re.compile(f"{_BOX}|{_CLICK}")
EXAMPLES = (
    "Use box, interior, point, box+interior or box+point; box-noisy, box10, box-scaled85, box-shifted10, "
    "random, point-noise20, offcenter or human; with corrective clicks interior20, points3, random3 or "
    "box+clicks5."
)


@dataclass(frozen=True, slots=True)
class PromptKind:
    """A prompt type (docs/evaluation.md lists the names).

    Attributes:
        name: such as ``box``, ``interior20`` or ``box-shifted10``.
        protocol: ``exact`` or ``human``.
        is_random: whether the first prompt is drawn at random.
        uses: what the prompts are made of: ``box``, ``point`` or both.
        clicks: maximum number of clicks; for ``box+clicks5`` those after the box. A perfect mask gets no
            further clicks.
        rounds: maximum number of predictions: one for the first prompt, one for each corrective click.
        draw: the first prompt, from a random generator and a mask [H, W].
        anywhere: whether corrective clicks fall anywhere in the largest error instead of where it is deepest.
    """

    name: str
    protocol: Protocol
    is_random: bool
    uses: frozenset[str]
    clicks: int
    rounds: int
    draw: Callable[[np.random.Generator, BoolMask], Prompt]
    anywhere: bool = False

    @classmethod
    def parse(cls, name: str) -> PromptKind:
        """Parse a name.

        Raises:
            EvaluationError: The name is unknown.
        """
        match = _NAME.fullmatch(name)
        kind = None
        if match is not None:
            kind = _box_kind(name, match) if match["box"] else _click_kind(name, match)
        if kind is None:
            raise EvaluationError(f"Unknown prompt type '{name}'. {EXAMPLES}")
        return kind

    def repeats(self, number: int) -> int:
        """How often an object is prompted: ``number`` times if the prompt is random, else once."""
        return number if self.is_random else 1

    @property
    def is_single(self) -> bool:
        """Whether an object gets one exact prompt and no corrective click."""
        return self.protocol == "exact" and self.rounds == 1


def _box_kind(name: str, match: re.Match[str]) -> PromptKind | None:
    jitter, change, beside = int(match["jitter"] or 0) / 100, match["change"] or "", match["beside"]
    amount = int("".join(filter(str.isdigit, change)) or 0) / 100
    if (jitter and change) or (change.startswith(("-scaled", "-shifted")) and not amount):
        return None
    after = int(match["after"] or 0)
    if beside and beside.startswith("clicks") and not after:
        return None

    def draw(rng: np.random.Generator, truth: BoolMask) -> Prompt:
        box = bounding_box(truth)
        if jitter:
            box = jitter_box(rng, box, jitter)
        elif change == "-noisy":
            box = noisy_box(rng, box)
        elif change.startswith("-scaled"):
            box = scaled_box(box, amount)
        elif change.startswith("-shifted"):
            box = shifted_box(rng, box, amount)
        height, width = truth.shape
        box = np.clip(box, 0, (width, height, width, height))
        if beside == "point":
            return Prompt(points=center_of_mass(truth)[None], labels=[1], box=box)
        if beside == "interior":
            return Prompt(points=deepest_point(truth)[None], labels=[1], box=box)
        return Prompt(box=box)

    is_random = bool(jitter) or change == "-noisy" or change.startswith("-shifted")
    uses = frozenset({"box", "point"} if beside else {"box"})
    protocol: Protocol = "human" if jitter or change else "exact"
    clicks = after or (1 if beside else 0)
    return PromptKind(name, protocol, is_random, uses, clicks, 1 + after, draw)


def _click_kind(name: str, match: re.Match[str]) -> PromptKind | None:
    start: Any = (match["start"] or "point").removesuffix("s")
    noise, clicks = int(match["noise"] or 0), int(match["clicks"] or 1)
    if clicks == 0 or (match["noise"] and not noise):
        return None

    def draw(rng: np.random.Generator, truth: BoolMask) -> Prompt:
        if start == "interior":
            points = deepest_point(truth)[None]
        elif start == "point":
            points = center_of_mass(truth)[None]
            if noise:
                points = _inside(points + rng.normal(0, noise, (1, 2)), truth.shape)
        elif start == "offcenter":
            points = _near_border(rng, truth)
        else:
            sampling = _HUMAN if start == "human" else ClickSampling()
            points, labels = simulate_clicks(rng, truth, sampling)
            return Prompt(points=_inside(points, truth.shape), labels=labels)
        return Prompt(points=points, labels=[1])

    exact = start in ("interior", "point") and not noise
    return PromptKind(
        name, "exact" if exact else "human", not exact, frozenset({"point"}), clicks, clicks, draw,
        anywhere=start == "human",
    )  # fmt: skip


def corrective_click_anywhere(
    rng: np.random.Generator, largest_error: BoolMask, truth: BoolMask
) -> tuple[FloatArray, int]:
    """A click (x, y) anywhere in an error region [H, W], and its label."""
    ys, xs = np.nonzero(largest_error)
    index = int(rng.integers(len(xs)))
    x, y = int(xs[index]), int(ys[index])
    return np.array([x + 0.5, y + 0.5]), int(truth[y, x])


def with_click(prompt: Prompt, point: FloatArray, label: int, mask: npt.ArrayLike) -> Prompt:
    """A prompt with one more click (x, y), and the previous mask or its logits."""
    labels: IntArray = np.append(prompt.labels, label)
    return Prompt(
        points=np.concatenate([prompt.points, point[None]]),
        labels=labels,
        box=prompt.box,
        mask=mask,
    )


def _near_border(rng: np.random.Generator, truth: BoolMask) -> FloatArray:
    depth = cv2.distanceTransform(np.pad(truth, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    ys, xs = np.nonzero(truth & (depth <= max(1.0, _EDGE * float(depth.max()))))
    index = int(rng.integers(len(xs)))
    return np.array([[xs[index] + 0.5, ys[index] + 0.5]])


def _inside(points: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Clicks within the image; one in its corner pixel is at that pixel's center, as it would else be taken
    for fractions of the image's size (`Prompt.check_inside`)."""
    height, width = shape
    clipped = np.clip(points, 0, (width - 0.5, height - 0.5))
    in_corner = (clipped <= 1).all(axis=1, keepdims=True)
    return np.where(in_corner, 0.5, clipped)
