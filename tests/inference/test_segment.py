"""The one-call API, and predictors by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ultrasam
from tests.conftest import TINY, randomized
from ultrasam import Predictor, Prompt
from ultrasam.inference import segment as module
from ultrasam.phantom.acquisition import simulate
from ultrasam.weights.hub import save_pretrained


def test_segment_is_a_predictor_in_one_call() -> None:
    pixels = simulate(905, size=(300, 400)).pixels
    predictor = Predictor("nano", device="cpu")
    predictor.set_image(pixels)
    for given in (
        {"box": (150, 120, 200, 160)},
        {"points": [(170, 140), (20, 20)], "labels": [1, 0]},
    ):
        found = ultrasam.segment(pixels, **given, device="cpu")
        expected = predictor.predict(Prompt(**given))
        assert np.array_equal(found.best, expected.best)
        assert np.allclose(found.predicted_iou, expected.predicted_iou)
    with pytest.raises(ultrasam.PromptError, match="empty"):
        ultrasam.segment(pixels)


def test_a_file_that_has_changed_is_loaded_again(tmp_path: Path) -> None:
    module._loaded.cache_clear()
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120), np.uint8)
    found = []
    for seed in (0, 0, 1):
        save_pretrained(randomized(TINY, seed), tmp_path / "m")
        result = ultrasam.segment(pixels, box=(5, 5, 60, 60), model=tmp_path / "m", device="cpu")
        found.append(result.low_res_logits)
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_options_in_a_name_reach_the_predictor() -> None:
    predictor = ultrasam.load_segmenter("random:nano+refine+no-tta", device="cpu")
    assert (predictor.refine, predictor.tta.zoom, predictor.tta.flip) == (True, 0, False)
    assert Predictor("random:nano+refine", refine=False, device="cpu").refine is False
    assert Predictor("random:nano", device="cpu").tta.zoom == 1.6
    assert Predictor(predictor.backend).backend is predictor.backend
