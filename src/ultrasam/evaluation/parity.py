"""Parity: whether a checkpoint gives, on a small public sample, the figures that others measured with it.

The chain from a file of weights to a score has many links (names of tensors, normalization, prompts, rounds,
scaling back, scoring), and most mistakes in it raise no error. Ten images say nothing about quality; they
show that all links hold.

The protocol is the published one in every step (`ultrasam.evaluation.published_protocol`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import EvaluationError
from ultrasam.evaluation.metrics.average_precision import (
    AveragePrecision,
    ImageDetections,
    average_precision,
)
from ultrasam.evaluation.published import PARITY
from ultrasam.evaluation.published_protocol import PROMPTS, published_prediction
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.images.masks import encode_rle
from ultrasam.inference.predictor import Predictor
from ultrasam.progress import OnProgress, no_progress
from ultrasam.settings import StrictModel, read_yaml, validate

KINDS: tuple[Literal["segm", "bbox"], ...] = ("segm", "bbox")
SAMPLE = "sample_dataset"
OBJECTS = 10
HOW_TO_GET_THE_SAMPLE = (
    f"give the folder {SAMPLE} of the repository github.com/CAMMA-public/UltraSam, which has "
    "sample_coco_MMOTU2D.json and sample_images, with --data"
)
# One object of ten that passes or fails one of the ten IoU thresholds, for which a difference of 0.002 in its
# IoU may suffice, changes the mean AP by 0.01 to 0.02, and the published figures are rounded to 0.001. At one
# threshold the same would change AP by 0.1 or more, but an IoU must happen to lie on it: there, only swapped
# ranks of two objects (up to 0.03) are let pass. Two of the objects are medium, eight large.
TOLERANCES = {"ap": 0.025, "ap50": 0.035, "ap75": 0.035, "medium": 0.06, "large": 0.03}
_NAMES = {"ap": "mAP", "ap50": "AP50", "ap75": "AP75", "medium": "AP medium", "large": "AP large"}

Figures = Mapping[tuple[str, str], AveragePrecision]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measured figure beside the expected one.

    Attributes:
        prompt: ``box`` or ``point``.
        of: ``segm`` (masks) or ``bbox`` (their boxes).
        measure: a key of ``TOLERANCES``.
        measured: NaN if no object has this size.
    """

    prompt: str
    of: str
    measure: str
    expected: float
    measured: float

    @property
    def difference(self) -> float:
        return self.measured - self.expected

    @property
    def passes(self) -> bool:
        # In floating point, a difference that is as large as the tolerance may come out a little larger.
        return abs(self.difference) <= TOLERANCES[self.measure] + 1e-9

    @property
    def title(self) -> str:
        """What was measured, as COCO calls it."""
        return f"{self.of} {_NAMES[self.measure]}"


class _Expected(StrictModel):
    """Figures of one prompt type and kind in a file; those left out are not compared."""

    ap: float
    ap50: float
    ap75: float
    medium: float = math.nan
    large: float = math.nan


class _Kinds(StrictModel):
    segm: _Expected
    bbox: _Expected | None = None


class _Expectations(StrictModel):
    """A file of expected figures, such as ``box: {segm: {ap: 0.752, ap50: 1.0, ap75: 0.871}}``."""

    box: _Kinds | None = None
    point: _Kinds | None = None


def read_expectations(path: Path) -> Figures:
    """Read expected figures from a YAML file: prompt type, ``segm`` or ``bbox``, and the measures.

    Raises:
        EvaluationError: The file is missing or malformed, or has no figure.
    """
    content = read_yaml(path, what="file of figures", error=EvaluationError)
    read = validate(_Expectations, content, source=str(path), error=EvaluationError)
    expected: dict[tuple[str, str], AveragePrecision] = {}
    for prompt in PROMPTS:
        for of in KINDS:
            figures = getattr(getattr(read, prompt), of, None)
            if figures is not None:
                expected[prompt, of] = AveragePrecision(**figures.model_dump())
    if not expected:
        raise EvaluationError(f"{path} has no figures; give some of box or point.")
    return expected


def read_sample(path: str) -> list[AnnotatedImage]:
    """The annotated images of a sample, in memory.

    Raises:
        DataError: There are none.
        EvaluationError: An image cannot be read, or there is more than one data set.
    """
    datasets = open_evaluation_datasets([path])
    if len(datasets) > 1 or datasets[0].skips:
        raise EvaluationError(
            f"{path} is not the sample, or not all of it; {HOW_TO_GET_THE_SAMPLE}."
        )
    images = [image for item in datasets[0].items for image in item.read()]
    if damaged := [image for image in images if not isinstance(image, AnnotatedImage)]:
        raise EvaluationError(f"An image of {path} cannot be read: {damaged[0].reason}.")
    return [image.loaded() for image in images if isinstance(image, AnnotatedImage)]


def check_sample(images: Sequence[AnnotatedImage], path: str) -> None:
    """Refuse images of which the published figures say nothing.

    Raises:
        EvaluationError: There are not ten images with an object each.
    """
    counts = [len(image.instances) for image in images]
    if counts != [1] * OBJECTS:
        raise EvaluationError(
            f"The published figures are those of {OBJECTS} images with one object each, and {path} has "
            f"{len(counts)} images with {sum(counts)}; {HOW_TO_GET_THE_SAMPLE}, or figures of these images "
            "with --expect."
        )


def measure(
    predictor: Predictor,
    images: Sequence[AnnotatedImage],
    *,
    prompts: Sequence[str] = PROMPTS,
    on_progress: OnProgress = no_progress,
) -> Figures:
    """COCO AP of masks and boxes by prompt type, by the published protocol.

    All objects are of one class, and a mask of several parts is one object; the score is the predicted IoU.

    Args:
        predictor: without refinement and test-time augmentation, which the protocol's rounds replace.
    """
    detections: dict[str, list[ImageDetections]] = {prompt: [] for prompt in prompts}
    for number, image in enumerate(images):
        on_progress(number, len(images))
        truth = [instance.mask for instance in image.instances]
        if not truth:
            continue
        predictor.set_image(image.pixels)
        for prompt in prompts:
            masks, scores = published_prediction(predictor, truth, prompt)
            detections[prompt].append(
                ImageDetections(
                    [encode_rle(mask) for mask in truth],
                    [encode_rle(mask) for mask in masks],
                    scores.tolist(),
                )
            )
    figures: dict[tuple[str, str], AveragePrecision] = {}
    for prompt in prompts:
        for of in KINDS:
            figures[prompt, of] = average_precision(detections[prompt], of=of)
    return figures


def compare(measured: Figures, expected: Figures = PARITY) -> list[Comparison]:
    """All expected figures beside the measured ones, box before point and masks before boxes."""
    rows = []
    for (prompt, of), figures in expected.items():
        for name in TOLERANCES:
            target = getattr(figures, name)
            if not math.isnan(target):
                value = cast(float, getattr(measured[prompt, of], name))
                rows.append(Comparison(prompt, of, name, target, value))
    return rows


def hints(rows: Sequence[Comparison]) -> list[str]:
    """What to look at first if figures depart; empty if all pass."""
    wrong = [row for row in rows if not row.passes]
    if not wrong:
        return []
    masks = [row for row in wrong if row.of == "segm"]
    if not masks:
        return ["Masks agree and their boxes do not: look at how a box is made from a mask."]
    if all(row.difference > 0 for row in masks):
        return ["Figures are higher than published: these may be other weights, or other images."]
    prompts = {row.prompt for row in rows}
    by_prompt = {p: {row.measure for row in masks if row.prompt == p} for p in prompts}
    low = {row.prompt for row in masks if row.measure == "ap50" and row.difference < -0.3}
    out = []
    if low == prompts:
        return [
            "All is low: look at the names of the tensors (are all of the file's used?), the mean and "
            "standard deviation, the order of the color channels, and whether this is the published "
            "checkpoint."
        ]
    if not by_prompt.get("box") and by_prompt.get("point"):
        out.append(
            "Boxes agree and clicks do not: look at the click (center of mass, the token that follows it) "
            "and at the choice of the mask (one in the first round, then its box, then the best of three)."
        )
    if by_prompt.get("box") and "point" in prompts and not by_prompt["point"]:
        out.append(
            "Clicks agree and boxes do not: look at the order and the tokens of a box's corners."
        )
    if not any("ap50" in names for names in by_prompt.values()):
        out.append(
            "AP50 agrees and stricter thresholds do not: look at the alignment: half a pixel in prompts, the "
            "resampling of the image, the padding, and the way from logits to the image."
        )
    if not any(names & {"ap", "ap50", "ap75"} for names in by_prompt.values()):
        out.append("Only sizes depart: look at the areas by which objects are medium or large.")
    return out or [
        "No link stands out: look at the masks (the report of ultrasam evaluate shows the worst cases)."
    ]
