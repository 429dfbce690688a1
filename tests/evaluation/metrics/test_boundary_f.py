"""The boundary F-measure against SciPy's distances and against the definition that DAVIS uses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import dilation, disk

from tests.examples import examples
from tests.shapes import Mask, blob, ellipse_mask
from ultrasam.evaluation.metrics.masks import METRICS, boundary_f, compute_metrics
from ultrasam.evaluation.report.tables import TITLES


def border(mask: Mask) -> Mask:
    """Pixels with a 4-neighbor outside."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=0))


@settings(max_examples=examples(100), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_it_counts_border_pixels_within_two_pixels_of_the_other_border(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    mask, truth = blob(rng, shape), blob(rng, shape)
    found = compute_metrics(mask, truth, spacing=(0.3, 0.7)).boundary_f
    if not mask.any() or not truth.any():
        assert found == float(not mask.any() and not truth.any())
        return
    a, b = border(mask), border(truth)
    precision = (ndimage.distance_transform_edt(~b)[a] <= 2).mean()
    recall = (ndimage.distance_transform_edt(~a)[b] <= 2).mean()
    total = precision + recall
    assert found == pytest.approx(2 * precision * recall / total if total else 0.0)
    assert boundary_f(truth, mask) == pytest.approx(found)


def davis(mask: Mask, truth: Mask) -> float:
    """As published with Perazzi et al. 2016: pixels unlike their right, lower or diagonal neighbor."""

    def boundary(m: Mask) -> Mask:
        padded = np.pad(m, ((0, 1), (0, 1)), mode="edge")
        return np.asarray((m ^ padded[:-1, 1:]) | (m ^ padded[1:, :-1]) | (m ^ padded[1:, 1:]))

    a, b = boundary(mask), boundary(truth)
    precision = (a & dilation(b, disk(2))).sum() / a.sum()
    recall = (b & dilation(a, disk(2))).sum() / b.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def test_it_ranks_masks_as_that_of_davis_does() -> None:
    """DAVIS's border runs between pixels and is thicker where it is oblique; it ignores the image's edge."""
    truth, _ = ellipse_mask(60, 35, 0.4)
    moved = [np.roll(truth, shift, axis=1) for shift in range(8)]
    ours, theirs = ([f(mask, truth) for mask in moved] for f in (boundary_f, davis))
    assert ours == sorted(ours, reverse=True)
    assert theirs == sorted(theirs, reverse=True)
    assert ours == pytest.approx(theirs, abs=0.12)
    assert ours[:3] == theirs[:3] == [1, 1, 1]


def test_a_thin_line_off_by_two_pixels_is_right_and_by_three_wrong() -> None:
    truth = np.zeros((30, 80), bool)
    truth[12:14, 10:70] = True
    assert boundary_f(np.roll(truth, 2, axis=0), truth) == 1
    assert boundary_f(np.roll(truth, 5, axis=0), truth) == 0
    # Three pixels down, the upper row of the one is two below the lower row of the other.
    assert boundary_f(np.roll(truth, 3, axis=0), truth) == pytest.approx(0.5, abs=0.02)


def test_the_report_has_a_title_for_every_metric() -> None:
    assert set(METRICS) == set(TITLES)
