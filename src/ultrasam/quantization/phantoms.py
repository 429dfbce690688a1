"""The phantoms that a model is calibrated and compared on; no image of a patient is used to calibrate."""

from __future__ import annotations

from functools import partial

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.evaluation.sources import EvaluationDataset, EvaluationItem
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Float32

PHANTOMS = "phantoms"
_CALIBRATION, _COMPARISON = 710_000_000, 720_000_000  # first seeds


def calibration_pixels(preprocessor: Preprocessor, count: int) -> list[Float32]:
    """Preprocessed phantoms, each [1, 3, S, S]."""
    found = []
    for seed in range(_CALIBRATION, _CALIBRATION + count):
        pixels = simulate(seed).pixels
        found.append(preprocessor.image(pixels, preprocessor.view(*pixels.shape[:2]))[None])
    return found


def comparison_phantoms(count: int) -> EvaluationDataset:
    """Other phantoms, with their masks, to measure Dice on."""
    items = tuple(
        EvaluationItem(PHANTOMS, str(seed), partial(_read, seed))
        for seed in range(_COMPARISON, _COMPARISON + count)
    )
    return EvaluationDataset(PHANTOMS, items)


def _read(seed: int) -> list[AnnotatedImage]:
    phantom = simulate(seed)
    instances = [
        Instance(name, mask) for name, mask in zip(phantom.names, phantom.masks, strict=True)
    ]
    name = str(seed)
    return [
        AnnotatedImage.in_memory(
            phantom.pixels, instances, dataset=PHANTOMS, name=name, subject=name,
            spacing=phantom.spacing,
        )
    ]  # fmt: skip
