"""Annotated images: pixels, their objects' masks, and the class of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Sample
from ultrasam.downstream.labelled import check_subjects
from ultrasam.errors import DataError
from ultrasam.images.masks import components
from ultrasam.images.pixels import grey
from ultrasam.store.splits import position

Labels = Literal["structure", "image"]


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """One grey image [H, W], its objects' masks [N, H, W] and the class of each."""

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    labels: tuple[str, ...]
    name: str = ""
    subject: str = ""


def annotated_of(
    samples: Sequence[Sample],
    classes: Sequence[str] | None = None,
    *,
    labels: Labels = "structure",
    least: int = 64,
    empty: bool = False,
) -> list[Annotated]:
    """Samples as annotated images; components under ``least`` pixels are left out.

    Args:
        labels: an object's class is its structure's name, or its image's class.
        empty: keep images without objects.
    """
    found = []
    for sample in samples:
        if labels == "image" and sample.class_label is None:
            continue
        objects = [
            (part, name)
            for instance in sample.instances
            if (name := instance.name if labels == "structure" else sample.class_label) is not None
            and (classes is None or name in classes)
            for part in components(instance.mask, least=least)
        ]
        if objects or empty:
            pixels = grey(sample.pixels)
            masks = (
                np.stack([m for m, _ in objects]) if objects else np.zeros((0, *pixels.shape), bool)
            )
            found.append(
                Annotated(
                    pixels, masks, tuple(name for _, name in objects),
                    f"{sample.dataset}/{sample.name}", f"{sample.dataset}/{sample.subject}",
                )
            )  # fmt: skip
    return found


def two_sides(samples: Sequence[Sample], held_out: float) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and to test on: by their splits where all have one, else ``held_out`` of the
    subjects are tested."""
    if (
        samples
        and all(s.split is not None for s in samples)
        and any(s.split == "test" for s in samples)
    ):
        tested = [s.split == "test" for s in samples]
    else:
        tested = [position(s.dataset, s.subject) < held_out for s in samples]
    sides = list(zip(samples, tested, strict=True))
    return [s for s, t in sides if not t], [s for s, t in sides if t]


def classes_of(train: Sequence[Annotated], test: Sequence[Annotated]) -> list[str]:
    """The classes to train on.

    Raises:
        DataError: a subject stands on both sides, one of them shows no object, or the test side has a class
            of which training has none.
    """
    check_subjects(train, test)
    known, tested = ({n for image in side for n in image.labels} for side in (train, test))
    if not known or not tested:
        raise DataError(
            f"{len(train)} images to train on and {len(test)} to test on hold too few objects; change "
            "--held-out or --classes."
        )
    strange = sorted(tested - known)
    if strange:
        raise DataError(
            f"The test data have the class '{strange[0]}', of which training has no object; leave it out "
            "with --classes, or change --held-out."
        )
    return sorted(known)
