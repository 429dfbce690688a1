"""Our measures against MONAI's, SciPy's and NumPy's on hundreds of mask pairs."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy import ndimage

from tests.examples import examples
from tests.shapes import Mask, blob
from ultrasam.evaluation.metrics.average_precision import ImageDetections, average_precision
from ultrasam.evaluation.metrics.calibration import calibration
from ultrasam.evaluation.metrics.clicks import clicks_to_reach
from ultrasam.evaluation.metrics.masks import boundary_iou, boundary_width, compute_metrics
from ultrasam.evaluation.metrics.statistics import holm
from ultrasam.images.masks import RLE, encode_rle

SPACINGS = ((1.0, 1.0), (0.3, 0.7), (2.0, 0.5))


def one_hot(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()


@settings(max_examples=examples(100), deadline=None)
@given(seed=st.integers(0, 2**32), spacing=st.sampled_from(SPACINGS))
def test_metrics_equal_monais(seed: int, spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    mask, truth = blob(rng, shape), blob(rng, shape)
    tolerance = float(rng.uniform(0, 4))
    found = compute_metrics(mask, truth, spacing=spacing, tolerance=tolerance)
    if not mask.any() or not truth.any():
        both = not mask.any() and not truth.any()
        assert (found.dice, found.iou, found.boundary_iou, found.surface_dice) == (both,) * 4
        assert (found.hd95, found.assd) == (0, 0) if both else math.isnan(found.hd95 + found.assd)
        return
    a, b = one_hot(mask), one_hot(truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "dice": compute_dice(a, b, ignore_empty=False),
            "iou": compute_iou(a, b, ignore_empty=False),
            "hd95": compute_hausdorff_distance(
                a, b, include_background=True, percentile=95, spacing=spacing
            ),
            "assd": compute_average_surface_distance(
                a, b, include_background=True, symmetric=True, spacing=spacing
            ),
            "surface_dice": compute_surface_dice(
                a, b, [tolerance], include_background=True, spacing=spacing
            ),
        }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(float(value), rel=1e-5, abs=1e-5), name


@settings(max_examples=examples(100), deadline=None)
@given(seed=st.integers(0, 2**32), width=st.integers(1, 6))
def test_boundary_iou_is_its_definition(seed: int, width: int) -> None:
    """Pixels of each mask within ``width`` of its outside, by SciPy's erosion (Cheng et al. 2021)."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    masks = blob(rng, shape), blob(rng, shape)
    edges = [
        m & ~ndimage.binary_erosion(m, np.ones((3, 3)), iterations=width, border_value=0)
        for m in masks
    ]
    union = (edges[0] | edges[1]).sum()
    expected = (edges[0] & edges[1]).sum() / union if union else 1.0
    assert boundary_iou(*masks, width=width) == pytest.approx(expected)


def test_the_boundarys_width_is_two_per_cent_of_the_diagonal() -> None:
    assert boundary_width((300, 400)) == 10
    assert boundary_width((3, 4)) == 1


def test_metrics_do_not_depend_on_where_the_object_lies() -> None:
    rng = np.random.default_rng(0)
    mask, truth = np.zeros((2, 60, 80), bool)
    mask[:30, :30], truth[:30, :30] = rng.random((2, 30, 30)) < 0.5
    moved = [np.roll(m, (20, 40), (0, 1)) for m in (mask, truth)]
    assert compute_metrics(mask, truth) == compute_metrics(moved[0], moved[1])


def test_average_precision_is_that_of_hand_made_cases() -> None:
    def square(x: int, side: int = 10) -> Mask:
        mask = np.zeros((40, 60), bool)
        mask[5 : 5 + side, x : x + side] = True
        return mask

    def rles(*masks: Mask) -> list[RLE]:
        return [encode_rle(mask) for mask in masks]

    targets = rles(square(0), square(20))
    assert average_precision([ImageDetections(targets, targets, [0.9, 0.8])]).ap == pytest.approx(1)
    # IoU 0.6 with the second: a match at 0.50, 0.55 and 0.60 only; half the recall above.
    shifted = square(20)
    shifted[5:15, 20:24] = False
    found = average_precision([ImageDetections(targets, rles(square(0), shifted), [0.9, 0.8])])
    half = 51 / 101
    assert found.ap50 == pytest.approx(1)
    assert found.ap75 == pytest.approx(half)
    assert found.ap == pytest.approx((3 + 7 * half) / 10)
    # Two classes, one of them predicted as the other: half the mean.
    mixed = average_precision([ImageDetections(targets, targets, [0.9, 0.8], [0, 1], [0, 0])])
    assert mixed.ap == pytest.approx(0.5)
    # A class without targets is ignored, although there is a prediction of it.
    spare = average_precision([ImageDetections(targets, targets, [0.9, 0.8], [0, 0], [0, 5])])
    assert spare.ap == pytest.approx(
        average_precision([ImageDetections(targets, targets[:1], [0.9])]).ap
    )
    nothing = average_precision([ImageDetections(targets, [], [])])
    assert (nothing.ap, nothing.ap50) == (0, 0)
    assert math.isnan(average_precision([]).ap)


def test_calibration_clicks_and_adjusted_p_values_by_hand() -> None:
    found = calibration([0.95, 0.95, 0.15, 0.05], [0.75, 0.95, 0.25, 0.05])
    assert found.error == pytest.approx((2 * 0.1 + 0.1 + 0) / 4)
    assert found.bias == pytest.approx((0.2 + 0 - 0.1 + 0) / 4)
    assert calibration([1.0], [1.0]).error == 0
    noc = clicks_to_reach([[0.5, 0.9], [0.95], [0.1, 0.2]], 0.9, 5)
    assert (noc.mean, noc.failures) == (pytest.approx((2 + 1 + 5) / 3), 1)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
