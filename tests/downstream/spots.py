"""Made images for fine-tuning: speckle with a bright and a dark spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.layouts.truth import grey, save
from ultrasam.downstream.annotated import Annotated
from ultrasam.images.masks import ellipse_in


def pair(seed: int) -> Annotated:
    """Both spots, at random sides."""
    rng = np.random.default_rng(seed)
    frame = rng.rayleigh(50, (96, 128))
    sides = rng.permutation([34, 94])
    masks = []
    for centre, gain in zip(sides, (2.2, 0.3), strict=True):
        x, y = centre + rng.uniform(-6, 6), rng.uniform(35, 60)
        mask = ellipse_in((x - 20, y - 17, x + 20, y + 17), frame.shape)
        frame[mask] *= gain
        masks.append(mask)
    pixels = np.clip(frame, 0, 255).astype(np.uint8)
    return Annotated(pixels, np.stack(masks), ("bright", "dark"), f"n{seed}", f"s{seed}")


def save_pairs(folder: Path, count: int) -> None:
    """A folder of one's own: images, and masks by structure."""
    for i in range(count):
        image = pair(i)
        save(folder / "images" / f"{i}.png", image.pixels)
        for mask, label in zip(image.masks, image.labels, strict=True):
            save(folder / "masks" / label / f"{i}.png", grey(mask))
