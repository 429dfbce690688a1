"""Regions that nobody pointed at: what is kept, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.conftest import TINY, randomized
from tests.shapes import blob
from ultrasam import Predictor, Prompt, segment_everything
from ultrasam.compat import SamAutomaticMaskGenerator
from ultrasam.errors import ConfigError
from ultrasam.evaluation.metrics.masks import iou
from ultrasam.inference.mask_proposals import non_maximum, point_grid, without_small_parts
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prediction


class Shapes(Predictor):
    """A network that finds two nested discs and a square, from clicks in them, and scrap elsewhere."""

    def __init__(self) -> None:
        super().__init__(randomized(TINY))
        y, x = np.indices((80, 100)) + 0.5
        self.shapes = [
            np.hypot(x - 30, y - 40) <= 8,
            np.hypot(x - 30, y - 40) <= 20,
            (abs(x - 75) <= 12) & (abs(y - 40) <= 12),
        ]
        self.clicks: list[tuple[float, float]] = []

    def predict(
        self, prompts: Prompt | list[Prompt], *, multimask: bool | None = None
    ) -> Prediction:
        assert isinstance(prompts, list)
        assert multimask
        masks = np.zeros((len(prompts), 3, 80, 100), bool)
        scores = np.full((len(prompts), 3), 0.1, np.float32)
        for row, prompt in enumerate(prompts):
            x, y = prompt.points[0]
            self.clicks.append((x, y))
            held = [shape for shape in self.shapes if shape[int(y), int(x)]]
            for column, shape in enumerate(held[:3]):
                masks[row, column] = shape
                scores[row, column] = 0.95 - 0.01 * shape.sum() / 2000
        return Prediction(masks, scores, np.ones_like(scores), np.zeros((*scores.shape, 8, 8)))


def test_each_region_is_found_once_with_the_one_that_holds_it() -> None:
    network = Shapes()
    pixels = np.full((80, 100), 90, np.uint8)
    found = segment_everything(pixels, model=network, points_per_side=10)
    assert len(found) == 3
    areas = found.masks.sum(axis=(1, 2))
    for mask in found.masks:
        assert any(np.array_equal(mask, shape) for shape in network.shapes)
    inner, outer = int(areas.argmin()), int(areas.argmax())
    assert found.parents[inner] == outer
    assert found.parents[outer] == -1
    for mask, (x, y) in zip(found.masks, found.points, strict=True):
        assert mask[int(y), int(x)]


def test_regions_that_may_not_nest_share_no_pixel() -> None:
    found = segment_everything(
        np.full((80, 100), 90, np.uint8), model=Shapes(), points_per_side=10, nested=False
    )
    assert len(found) == 3
    assert found.masks.sum(axis=0).max() == 1
    assert (found.parents == -1).all()


def test_points_and_regions_keep_to_the_scanned_sector() -> None:
    network = Shapes()
    pixels = np.zeros((80, 100), np.uint8)
    pixels[:, :60] = np.random.default_rng(0).integers(60, 200, (80, 60))
    found = segment_everything(pixels, model=network, points_per_side=12)
    assert max(x for x, _ in network.clicks) < 63
    assert len(found) == 2


def test_the_default_thresholds_suit_nano() -> None:
    """SAM's weights have other scores: with thresholds for them, nano finds nothing."""
    image = simulate(2)
    network = Predictor("nano", tta=False, device="cpu")
    found = segment_everything(image.pixels, model=network, points_per_side=12)
    strict = segment_everything(
        image.pixels,
        model=network,
        points_per_side=12,
        min_predicted_iou=0.88,
        min_stability=0.95,
    )
    assert len(strict) == 0
    best = [max(iou(mask, true) for mask in found.masks) for true in image.masks]
    assert max(best) >= 0.5


def test_what_finds_nothing_is_empty_and_what_makes_no_sense_refused() -> None:
    pixels = np.full((80, 100), 90, np.uint8)
    nothing = segment_everything(pixels, model=Shapes(), min_predicted_iou=0.99, points_per_side=4)
    assert len(nothing) == 0
    assert nothing.masks.shape == (0, 80, 100)
    with pytest.raises(ConfigError, match="points_per_side"):
        segment_everything(pixels, model=Shapes(), points_per_side=0)


def test_the_grid_is_of_the_centers_of_its_cells() -> None:
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


@given(st.integers(0, 10_000), st.integers(0, 12), st.floats(0.05, 0.95))
def test_boxes_are_chosen_as_by_comparing_all_pairs(seed: int, count: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 20, (count, 2))], axis=1)
    scores = rng.random(count)
    cells = np.zeros((count, 40, 40), bool)
    for cell, (x0, y0, x1, y1) in zip(cells, boxes, strict=True):
        cell[y0:y1, x0:x1] = True
    expected: list[int] = []
    for index in np.argsort(-scores):
        overlaps = [
            (cells[index] & cells[other]).sum() / (cells[index] | cells[other]).sum()
            for other in expected
        ]
        if all(one <= limit for one in overlaps):
            expected.append(int(index))
    assert non_maximum(boxes, scores, limit).tolist() == expected


@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_small_parts_are_those_that_scipy_counts(seed: int, area: int, holes: bool) -> None:
    mask = blob(np.random.default_rng(seed), (24, 30))
    parts, count = ndimage.label(~mask if holes else mask, np.ones((3, 3)))
    sizes = ndimage.sum_labels(np.ones(mask.shape), parts, range(1, count + 1))
    large = [i + 1 for i, size in enumerate(sizes) if size >= area]
    if holes:
        expected = ~np.isin(parts, large)
    elif count:
        expected = np.isin(parts, large or [1 + int(np.argmax(sizes))])
    else:
        expected = mask
    found = without_small_parts(mask, area, holes=holes)
    assert found.sum() == expected.sum()
    if large or holes or not count:
        assert np.array_equal(found, expected)


def test_the_generator_of_meta_refuses_what_it_cannot_do() -> None:
    model = randomized(TINY)
    for options in (
        {"points_per_side": None},
        {"point_grids": [point_grid(2)]},
        {"output_mode": "png"},
        {"points_per_side": None, "point_grids": [point_grid(2)], "crop_n_layers": 1},
        {"points_per_side": 2, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
    ):
        with pytest.raises(ConfigError):
            SamAutomaticMaskGenerator(model, **options)
