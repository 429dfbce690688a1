"""Small data sets and stores for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.datasets.layouts.truth import disc, gray, picture, save
from ultrasam.datasets.custom import image_mask_folder
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.splits import SplitFractions


def folder_of(path: Path, count: int = 6, *, objects: bool = True) -> Path:
    for i in range(count):
        save(path / "images" / f"{i:03}.png", picture(i))
        mask = disc(20 + 5 * i, 30, 9) if objects else np.zeros((64, 80), bool)
        save(path / "masks" / f"{i:03}.png", gray(mask))
    return path


def store_of(
    path: Path, count: int = 6, *, objects: bool = True, fractions: tuple[float, float] = (0.2, 0.2)
) -> Path:
    raw = folder_of(path / "raw", count, objects=objects)
    settings = BuildSettings(split_fractions=SplitFractions(*fractions))
    build_store([(image_mask_folder("mine"), raw)], path / "store", settings=settings)
    return path / "store"
