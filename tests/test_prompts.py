from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ultrasam.errors import PromptError
from ultrasam.images.masks import bounding_box
from ultrasam.prompt_simulation import (
    ClickSampling,
    corrective_click,
    jitter_box,
    simulate_click,
    simulate_clicks,
)
from ultrasam.prompts import Prediction, Prompt


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"points": []},
        {"points": [(1, 2, 3)]},
        {"points": [(1, 2)], "labels": [2]},
        {"points": [(1, 2)], "labels": [1, 0]},
        {"points": [(float("nan"), 2)]},
        {"points": "abc"},
        {"box": (5, 5, 5, 9)},
        {"box": (9, 5, 5, 9)},
        {"box": (1, 2, 3)},
        {"mask": np.zeros((2, 3, 4))},
    ],
)
def test_a_malformed_prompt_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(PromptError):
        Prompt(**bad)  # type: ignore[arg-type]


def test_a_click_or_box_outside_the_scan_is_refused() -> None:
    with pytest.raises(PromptError, match="outside"):
        Prompt(points=[(11, 5)]).check_inside(10, 10)
    with pytest.raises(PromptError, match="outside"):
        Prompt(box=(10, 0, 12, 5)).check_inside(10, 10)
    Prompt(box=(-3, -3, 12, 5), points=[(10, 10)]).check_inside(10, 10)


@given(seed=st.integers(0, 10**6), central=st.floats(0, 1))
def test_a_simulated_click_falls_in_the_mask(seed: int, central: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 17)) < 0.3
    mask[3, 4] = True
    x, y = simulate_click(rng, mask, ClickSampling(near_center=central))
    assert mask[int(y), int(x)]


@given(seed=st.integers(0, 10**6), share=st.floats(0, 0.3))
def test_a_jittered_box_moves_no_corner_further_than_its_fraction(seed: int, share: float) -> None:
    box = np.array([10.0, 20.0, 50.0, 40.0])
    moved = jitter_box(np.random.default_rng(seed), box, share)
    assert (np.abs(moved - box) <= share * np.array([40, 20, 40, 20]) + 1e-2).all()
    assert moved[0] < moved[2]
    assert moved[1] < moved[3]


def test_a_corrective_click_is_the_deepest_point_of_the_largest_error() -> None:
    truth = np.zeros((40, 40), bool)
    truth[5:25, 5:25] = True
    prediction = truth.copy()
    prediction[10:19, 10:19] = False
    prediction[30:33, 30:33] = True
    point, label = corrective_click(prediction, truth) or (None, None)
    assert point is not None
    assert label == 1
    assert np.allclose(point, (14.5, 14.5))
    missing_nothing = truth.copy()
    missing_nothing[30:39, 30:39] = True
    assert (corrective_click(missing_nothing, truth) or (0, 1))[1] == 0
    assert corrective_click(truth, truth) is None


@given(seed=st.integers(0, 10**6))
def test_a_corrective_click_lies_in_the_error_with_its_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 15, 15)) < 0.5
    click = corrective_click(prediction, truth)
    assert click is not None
    (x, y), label = click
    assert truth[int(y), int(x)] == bool(label)
    assert prediction[int(y), int(x)] != truth[int(y), int(x)]


def test_the_box_of_a_mask_has_its_far_edges() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    assert bounding_box(mask).tolist() == [3, 2, 9, 5]
    assert bounding_box(np.zeros((3, 3), bool)).tolist() == [0, 0, 0, 0]


@given(seed=st.integers(0, 10**6))
def test_clicks_have_the_labels_of_where_they_fall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:90, 0:120]
    mask = ((x - 60) / 35) ** 2 + ((y - 45) / 20) ** 2 < 1
    points, labels = simulate_clicks(rng, mask, ClickSampling(scribble=0.4, multiple=0.6))
    assert 1 <= len(points) == len(labels) <= 5
    for (px, py), label in zip(points, labels, strict=True):
        assert bool(mask[int(py), int(px)]) == bool(label)
    beside, labels = simulate_clicks(rng, mask, ClickSampling(near_miss=1.0))
    assert labels.tolist() == [1]
    column, row = np.floor(beside[0]).astype(int)
    assert not mask[row, column]
    distance = np.hypot(x - column, y - row)[mask].min()
    assert distance < 0.15 * np.sqrt(mask.sum()) + 1
    filled, labels = simulate_clicks(rng, np.ones((9, 9), bool), ClickSampling(near_miss=1.0))
    assert len(filled) == len(labels) == 1  # there is nothing beside it: the click is on it


def test_a_prompts_attributes_are_arrays_whatever_was_given() -> None:
    prompt = Prompt(points=[(1, 2)], box=[1, 2, 3, 4], mask=[[True, False]])
    assert prompt.points.dtype == np.float64
    assert prompt.labels.dtype == np.int64
    assert prompt.box is not None
    assert prompt.box.shape == (4,)
    assert prompt.mask is not None
    assert prompt.mask.tolist() == [[8, -8]]
    empty = Prompt(box=(1, 2, 3, 4))
    assert (empty.points.shape, empty.labels.shape, empty.mask) == ((0, 2), (0,), None)
    assert Prompt(points=[(1, 2)]).is_single_click
    assert not Prompt(points=[(1, 2)], box=(1, 2, 3, 4)).is_single_click
    with pytest.raises(ValueError, match="empty"):
        Prompt()
    box = np.array([1.0, 2, 3, 4])
    prompt = Prompt(box=box)
    box[:] = np.nan
    assert prompt.box is not None
    assert prompt.box.tolist() == [1, 2, 3, 4]


def test_candidates_by_area_keep_their_scores_and_which_is_best() -> None:
    sides = np.array([[20, 5, 30], [2, 8, 0]])
    masks = np.zeros((2, 3, 40, 50), bool)
    for place in np.ndindex(2, 3):
        masks[place][: sides[place], : sides[place]] = True
    iou = np.array([[0.9, 0.5, 0.1], [0.3, 0.2, 0]], np.float32)
    found = Prediction(
        masks, iou, iou / 2, np.stack([np.stack([m[:8, :8] for m in row]) for row in masks])
    )
    ordered = found.by_area()
    assert ordered.masks.sum(axis=(2, 3)).tolist() == [[25, 400, 900], [0, 4, 64]]
    assert ordered.predicted_iou.tolist() == iou[[[0], [1]], [[1, 0, 2], [2, 0, 1]]].tolist()
    assert np.array_equal(ordered.stability_score, ordered.predicted_iou / 2)
    assert np.array_equal(ordered.low_res_logits, ordered.masks[..., :8, :8])
    for one in (found, ordered):
        assert np.array_equal(one.best, masks[:, 0])
        assert one.areas().tolist() == [400, 4]
        assert one.low_confidence.tolist() == [True, True]
        assert one.to_coco()[0]["score"] == pytest.approx(0.9)
    assert found.masks.sum(axis=(2, 3)).tolist() == [[400, 25, 900], [4, 64, 0]]  # as it was


def test_a_prediction_has_best_masks_boxes_areas_and_coco_entries() -> None:
    masks = np.zeros((2, 3, 40, 50), bool)
    masks[0, 0, 10:20, 5:30] = True
    masks[0, 1] = True
    iou = np.array([[0.9, 0.5, 0.1], [0.3, 0.2, 0.1]], np.float32)
    found = Prediction(masks, iou, iou, np.zeros((2, 3, 8, 8), np.float32))
    assert np.array_equal(found.best, masks[:, 0])
    assert found.boxes[0].tolist() == [5, 10, 30, 20]
    assert np.isnan(found.boxes[1]).all()
    assert found.areas().tolist() == [250, 0]
    assert found.areas((0.5, 0.2)).tolist() == pytest.approx([25, 0])
    for spacing in ((0, 1), (float("nan"), 1), (-1, 1)):
        with pytest.raises(ValueError, match="two positive numbers"):
            found.areas(spacing)
    entries = found.to_coco(image_id=7, category_id=2)
    assert [e["image_id"] for e in entries] == [7, 7]
    assert (entries[0]["bbox"], entries[0]["score"]) == ([5, 10, 25, 10], 0.9)
    assert np.array_equal(coco_mask.decode(entries[0]["segmentation"]) > 0, masks[0, 0])
    assert entries[0]["category_id"] == 2
