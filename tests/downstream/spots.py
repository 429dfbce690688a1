"""Synthetic images for fine-tuning: speckle with a bright and a dark spot, also in published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.datasets.layouts.truth import gray, save
from ultrasam.downstream.targets import InstanceTarget
from ultrasam.images.masks import inscribed_ellipse


def pair(seed: int) -> InstanceTarget:
    """Both spots, on random sides."""
    rng = np.random.default_rng(seed)
    frame = rng.rayleigh(50, (96, 128))
    sides = rng.permutation([34, 94])
    masks = []
    for center, gain in zip(sides, (2.2, 0.3), strict=True):
        x, y = center + rng.uniform(-6, 6), rng.uniform(35, 60)
        mask = inscribed_ellipse((x - 20, y - 17, x + 20, y + 17), frame.shape)
        frame[mask] *= gain
        masks.append(mask)
    pixels = np.clip(frame, 0, 255).astype(np.uint8)
    labels = ("bright", "dark")
    return InstanceTarget.of(pixels, np.stack(masks), labels, name=f"n{seed}", subject=f"s{seed}")


def save_pairs(folder: Path, count: int) -> None:
    """A custom data set: images, and masks by structure."""
    for i in range(count):
        image = pair(i)
        save(folder / "images" / f"{i}.png", image.pixels)
        for mask, label in zip(image.masks, image.labels, strict=True):
            save(folder / "masks" / label / f"{i}.png", gray(mask))


def spot(number: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """A picture and the mask of its bright (even) or dark spot."""
    image = pair(number)
    return image.pixels, image.masks[number % 2]


def bus_bra(root: Path, count: int, *, tested: int = 2) -> None:
    """BUS-BRA as published: tables of pathology, folds (the first is tested) and cases."""
    folds, cases = ["ID,Pathology,kFold"], ["ID,Case,Pathology"]
    for i in range(count):
        pixels, mask = spot(i)
        kind = ("benign", "malignant")[i % 2]
        save(root / "BUSBRA" / "Images" / f"bus_{i:04}-l.png", pixels)
        save(root / "BUSBRA" / "Masks" / f"mask_{i:04}-l.png", gray(mask))
        folds.append(f"bus_{i:04}-l,{kind},{1 if i < tested else 2}")
        cases.append(f"bus_{i:04}-l,{i},{kind}")
    (root / "BUSBRA" / "5-fold-cv.csv").write_text("\n".join(folds) + "\n")
    (root / "BUSBRA" / "bus_data.csv").write_text("\n".join(cases) + "\n")


def mmotu(root: Path, count: int) -> None:
    """MMOTU-2D as published: two lists of classes, which are the split."""
    for i in range(count):
        pixels, mask = spot(i)
        save(root / "OTU_2d" / "images" / f"{i}.JPG", pixels)
        save(root / "OTU_2d" / "annotations" / f"{i}.PNG", gray(mask))
        part = "val" if i < 2 else "train"
        with (root / "OTU_2d" / f"{part}_cls.txt").open("a") as file:
            file.write(f"{i}.JPG  {(2, 7)[i % 2]}\n")
