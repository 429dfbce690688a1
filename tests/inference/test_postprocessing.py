from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from ultrasam.images.sector import scanned_area
from ultrasam.inference.postprocessing import clicked_pieces, without
from ultrasam.prompts import Prompt

SHAPE = (120, 160)


def disc(x: int, y: int, radius: int) -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    cv2.circle(out, (x, y), radius, 1, -1)
    return out.astype(bool)


def sector(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Speckle in a sector, with text beside it, and the sector."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(SHAPE, np.uint8)
    cv2.fillConvexPoly(inside, np.array([[70, 5], [90, 5], [140, 90], [80, 110], [20, 90]]), 1)
    pixels = (rng.rayleigh(40, SHAPE).clip(8, 255) * inside).astype(np.uint8)
    cv2.putText(pixels, "TIS 0.4", (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 220, 1)
    return pixels, inside.astype(bool)


def test_the_piece_under_the_click_is_kept() -> None:
    mask = disc(30, 30, 12) | disc(90, 60, 20) | disc(140, 100, 8)
    assert np.array_equal(
        clicked_pieces(mask, Prompt(points=[[31, 33]], labels=[1])), disc(30, 30, 12)
    )
    both = clicked_pieces(mask, Prompt(points=[[31, 33], [95, 60]], labels=[1, 1]))
    assert np.array_equal(both, disc(30, 30, 12) | disc(90, 60, 20))


def test_background_clicks_keep_no_piece() -> None:
    mask = disc(30, 30, 12) | disc(90, 60, 20)
    kept = clicked_pieces(mask, Prompt(points=[[90, 60], [30, 30]], labels=[0, 1]))
    assert np.array_equal(kept, disc(30, 30, 12))


@pytest.mark.parametrize("point", [(5, 5), (60, 60)])
def test_all_pieces_are_kept_if_the_click_is_in_none(point: tuple[int, int]) -> None:
    mask = disc(30, 30, 12) | disc(90, 60, 20)
    assert np.array_equal(clicked_pieces(mask, Prompt(points=[point], labels=[1])), mask)


def test_pieces_are_those_of_another_labeling() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.35
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    ys, xs = np.nonzero(mask)
    for i in rng.integers(len(xs), size=20):
        kept = clicked_pieces(mask, Prompt(points=[[xs[i] + 0.5, ys[i] + 0.5]], labels=[1]))
        assert np.array_equal(kept, labels == labels[ys[i], xs[i]])


def test_the_scanned_area_is_the_sector_without_text() -> None:
    pixels, inside = sector()
    found = scanned_area(pixels)
    assert found is not None
    assert found[inside].mean() > 0.99
    assert (found & ~cv2.dilate(inside.astype(np.uint8), np.ones((15, 15))).astype(bool)).sum() < 20


def test_nothing_is_outside_of_a_picture_without_black_around() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.rayleigh(40, SHAPE).clip(8, 255).astype(np.uint8)
    pixels[40:90, 50:110] = 0  # a large cyst is inside the scan
    assert scanned_area(pixels) is None
    assert scanned_area(np.zeros(SHAPE, np.uint8)) is None


def test_removed_parts_become_background() -> None:
    logits = np.where(disc(30, 30, 12) | disc(90, 60, 20), 2.5, -3.0).astype(np.float32)
    changed = without(logits, disc(30, 30, 12))
    assert np.array_equal(changed > 0, disc(30, 30, 12))
    assert np.array_equal(changed[logits < 0], logits[logits < 0])
