from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ultrasam.phantom.display import DisplaySettings, SpeckleReduction, postprocess

PLAIN = DisplaySettings(60.0, 40.0)


def step_with_speckle(low: float = 0.25, high: float = 0.7) -> np.ndarray:
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.standard_normal((160, 160), dtype=np.float32), (0, 0), 1.0)
    gray = np.full((160, 160), low, np.float32) + 0.15 * grain
    gray[:, 80:] += high - low
    return gray


@pytest.mark.parametrize("kind", ["blur", "guided", "coherent"])
def test_speckle_reduction_smooths_speckle_and_keeps_the_mean(kind: SpeckleReduction) -> None:
    gray = step_with_speckle()
    plain = postprocess(gray, PLAIN).astype(float)
    smooth = postprocess(gray, replace(PLAIN, reduction=kind, strength=1.0)).astype(float)
    flat = np.s_[10:150, 95:150]
    assert smooth[flat].std() < 0.85 * plain[flat].std()
    assert smooth[flat].mean() == pytest.approx(plain[flat].mean(), abs=3)


def test_the_guided_filter_keeps_an_edge_that_a_blur_of_its_size_would_not() -> None:
    gray = step_with_speckle()
    guided = postprocess(gray, replace(PLAIN, reduction="guided", strength=1.0)).astype(float)
    blurred = cv2.blur(gray, (7, 5)) * 255
    jump = [float((a[10:150, 81] - a[10:150, 78]).mean()) for a in (guided, blurred, gray * 255)]
    assert jump[0] > 0.8 * jump[2] > 1.2 * jump[1]


def test_smoothing_along_edges_keeps_a_thin_line() -> None:
    gray = np.full((90, 90), 0.2, np.float32)
    gray[44:46] = 0.9
    for reduction, least in (("coherent", 0.85), ("blur", 0.0)):
        settings = replace(PLAIN, reduction=reduction, strength=1.0)
        line = postprocess(gray, settings)[44:46, 20:70].mean() / 255
        assert line > least * 0.9
        if reduction == "blur":
            assert line < 0.8


def test_a_steep_gray_map_is_nearly_binary_and_a_floor_lifts_black() -> None:
    gray = np.linspace(0, 1, 100 * 100, dtype=np.float32).reshape(100, 100)
    steep = postprocess(gray, replace(PLAIN, steepness=14.0))
    assert np.mean((steep > 64) & (steep < 191)) < 0.25
    assert postprocess(gray, replace(PLAIN, floor=0.1)).min() == 26
