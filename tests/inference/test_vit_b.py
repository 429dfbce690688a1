"""The large network does in a cine and without prompts what the small one does; its weights are random."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inference.tracking.test_carrier import changing_and_coming_back
from ultrasam import Predictor, Prompt, Scan, segment_everything, track

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network() -> Predictor:
    return Predictor("random:vit-b", tta=False, device="cpu")


def test_vit_b_corrects_the_masks_of_a_cine(network: Predictor) -> None:
    frames, mask = changing_and_coming_back()
    scan = Scan(5, 96, 96, False, lambda index: frames[index])
    result = track(scan, {0: [Prompt(mask=mask)]}, model=network, correction="all", stopping=False)
    assert result.frames() == (0, 1, 2, 3, 4)
    for frame in range(1, 5):
        origin = result.origin(frame)
        assert origin is not None
        assert origin.source == "propagated"
        assert (result.mask(frame) & mask).sum() > 0.5 * mask.sum()


def test_vit_b_segments_everything(network: Predictor) -> None:
    frames, _ = changing_and_coming_back()
    found = segment_everything(
        frames[0], model=network, points_per_side=2, min_predicted_iou=0, min_stability=0
    )
    assert found.masks.shape[1:] == (96, 96)
    assert len(found) == len(found.predicted_iou) == len(found.points) == len(found.parents)
    areas = found.masks.sum(axis=(1, 2))
    assert np.all((areas >= 64) & (areas <= 0.8 * 96 * 96))
