"""Sample the first prompt of an object in training (arXiv 2411.16222, 3.2), with human-like variation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ultrasam.images.masks import bounding_box
from ultrasam.prompt_simulation import (
    ClickSampling,
    jitter_box,
    simulate_click,
    simulate_clicks,
)
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT
from ultrasam.settings import StrictModel


class PromptSampling(StrictModel):
    """Distribution of first prompts.

    Attributes:
        box: fraction of box prompts; the others are clicks.
        jitters: maximum displacement of box corners as fractions of the side; one is drawn per box.
        jitter_weights: relative frequency of each of ``jitters``.
        clicks: distribution of clicks.
        per_image: maximum number of prompts per view.
        per_object: maximum number of prompts of one object, where a view has too few objects. Prompts share
            the encoding of their image, so that more of them cost little.
        with_click: fraction of boxes that come with a click on the object.
        absent: fraction of views with one prompt, a box or a click, where there is no object. Only the score
            is trained with it, not the masks.
        complete: names of the sources in which all that a user might mean is annotated, so that elsewhere is
            nothing; also their images without an object are used. Only these sources have absent prompts.
    """

    box: float = Field(0.5, ge=0, le=1)
    jitters: tuple[float, ...] = Field((0.05,), min_length=1)
    jitter_weights: tuple[float, ...] = (1.0,)
    clicks: ClickSampling = ClickSampling()
    per_image: int = Field(20, ge=1)
    per_object: int = Field(1, ge=1)
    with_click: float = Field(0.0, ge=0, le=1)
    absent: float = Field(0.0, ge=0, le=1)
    complete: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_weight_each(self) -> PromptSampling:
        if len(self.jitters) != len(self.jitter_weights):
            raise ValueError(
                f"jitters has {len(self.jitters)} values but jitter_weights has {len(self.jitter_weights)}; "
                "give one weight for each"
            )
        return self

    def absent_in(self, source: str) -> float:
        """The fraction of a source's views that have an absent prompt."""
        known = {_plain(name) for name in self.complete}
        return self.absent if _plain(source) in known else 0.0


def _plain(name: str) -> str:
    """A source's name as a store writes it."""
    return name.lower().replace("-", "_")


def sample_prompt(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], sampling: PromptSampling
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Sample the first prompt of an object.

    Args:
        mask: [H, W], not empty.

    Returns:
        Coordinates [K, 2] in mask pixels, and labels [K] for the prompt encoder: two corners, some after a
        click, or clicks followed by NOT_A_POINT.
    """
    if rng.random() < sampling.box:
        weights = np.array(sampling.jitter_weights)
        jitter = float(rng.choice(sampling.jitters, p=weights / weights.sum()))
        box = jitter_box(rng, bounding_box(mask), jitter)
        corners, labels = box.reshape(2, 2), [TOP_LEFT, BOTTOM_RIGHT]
        if sampling.with_click and rng.random() < sampling.with_click:
            corners = np.concatenate([simulate_click(rng, mask, sampling.clicks)[None], corners])
            labels = [FOREGROUND, *labels]
        return corners.astype(np.float32), np.array(labels)
    points, kinds = simulate_clicks(rng, mask, sampling.clicks)
    coords = np.concatenate([points, np.zeros((1, 2))]).astype(np.float32)
    return coords, np.append(np.where(kinds == 1, FOREGROUND, BACKGROUND), NOT_A_POINT)
