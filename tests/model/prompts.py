"""Prompts for tests of the network."""

from __future__ import annotations

import numpy as np

from ultrasam.model.config import ModelConfig
from ultrasam.prompts import BOTTOM_RIGHT, NOT_A_POINT, TOP_LEFT, PromptArrays


def random_prompts(
    config: ModelConfig, seed: int, *, count: int = 1, mask: bool = False
) -> PromptArrays:
    """Prompts of 0 to 3 clicks, with or without a box and a mask."""
    rng = np.random.default_rng(seed)
    clicks = seed % 4
    ends = [TOP_LEFT, BOTTOM_RIGHT] if seed % 2 or not clicks else [NOT_A_POINT]
    labels = np.concatenate(
        [rng.integers(0, 2, (count, clicks)), np.tile(ends, (count, 1))], axis=1
    )
    coords = rng.random((count, labels.shape[1], 2), dtype=np.float32) * config.image_size
    size = config.mask_size
    masks = rng.normal(0, 4, (count, 1, size, size)).astype(np.float32) if mask else None
    return PromptArrays(coords, labels.astype(np.int64), masks)
