from __future__ import annotations

import numpy as np
import pytest

from ultrasam.phantom.acquisition import simulate
from ultrasam.phantom.screen import Layout

SIZE = (300, 340)


def present(seed: int) -> tuple[Layout, np.ndarray, np.ndarray, np.ndarray]:
    """A layout with the mask of a disc before and after, and the image, in which the disc alone is bright."""
    rng = np.random.default_rng(seed)
    layout = Layout.draw(rng, SIZE)
    height, width = layout.canvas
    y, x = np.mgrid[0:height, 0:width]
    disc = np.hypot(y - height / 2, x - width / 2) < 0.2 * min(height, width)
    picture = np.where(disc, 255, 40).astype(np.uint8)
    image, masks = layout.present(rng, picture, np.ones(disc.shape, bool), [disc])
    return layout, disc, image, masks[0]


def test_masks_follow_the_picture_through_every_layout() -> None:
    kinds, overlaps = set(), []
    for seed in range(60):
        layout, _, image, mask = present(seed)
        top, left, height, width = layout.place
        shown = np.zeros(SIZE, bool)
        shown[top : top + height, left : left + width] = True
        bright = (image > 147) & shown  # half-way between the disc and what surrounds it
        overlaps.append((bright & mask).sum() / (bright | mask).sum())
        kinds.add(layout.kind)
        assert image.shape == mask.shape == SIZE
        assert not mask[~shown].any()
    assert kinds == {"plain", "cropped", "screen", "dual"}
    assert np.mean(np.array(overlaps) > 0.93) > 0.8  # text and boxes are bright, too


def test_the_scale_says_how_areas_change() -> None:
    for seed in range(40):
        layout, disc, _, mask = present(seed)
        if layout.kind == "cropped":
            assert layout.window[0] <= layout.canvas[0]
            assert layout.window[1] <= layout.canvas[1]
        else:
            rows, columns = layout.scale
            assert mask.sum() == pytest.approx(disc.sum() * rows * columns, rel=0.06)


def test_pixels_are_square_unless_the_image_is_stretched() -> None:
    ratios = []
    for seed in range(60):
        layout = Layout.draw(np.random.default_rng(seed), SIZE)
        ratios.append(layout.scale[0] / layout.scale[1])
    assert 0.5 < np.mean(np.abs(np.log(ratios)) < 0.03) < 0.9
    assert 0.4 < min(ratios) < 0.8 < 1.25 < max(ratios) < 2.5


def test_a_cropped_sector_often_shows_no_edge() -> None:
    edges = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        layout = Layout.draw(rng, SIZE)
        if layout.kind != "cropped":
            continue
        y, x = np.mgrid[0 : layout.canvas[0], 0 : layout.canvas[1]]
        inside = np.abs(x - layout.canvas[1] / 2) < 0.15 * layout.canvas[1] + 0.45 * y
        lit = np.where(inside, 90, 0).astype(np.uint8)
        image, _ = layout.present(rng, lit, inside, [inside])
        edges.append(np.mean(image == 0))
    assert np.median(edges) < 0.25


def test_a_stretched_phantom_has_two_spacings() -> None:
    spacings = [simulate(seed, size=(128, 128)).spacing for seed in range(12)]
    ratios = [row / column for row, column in spacings]
    assert any(abs(ratio - 1) > 0.1 for ratio in ratios)
    assert any(abs(ratio - 1) < 0.05 for ratio in ratios)
