"""The three masks of a prompt: which models offer them, in which order, and which of them is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY, randomized
from tests.reference.test_transformers_sam import peer_of
from ultrasam.evaluation.models.baselines import EllipseInBox
from ultrasam.evaluation.models.transformers_models import open_transformers
from ultrasam.inference.candidates import candidates
from ultrasam.inference.predictor import Predictor
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt
from ultrasam.weights.registry import PREPROCESSING

CLICK, BOX = Prompt(points=[(50, 40)]), Prompt(box=(20, 10, 90, 70))


@pytest.mark.parametrize("name", ["nano", "nano+no-tta", "nano+refine"])
def test_our_models_offer_three_masks_and_choose_the_first_for_a_click(name: str) -> None:
    predictor = Predictor(name, device="cpu")
    predictor.set_image(simulate(3, size=(90, 120)).pixels)
    offered = candidates(predictor, [CLICK, BOX])
    assert offered is not None
    assert offered.masks.shape == (2, 3, 90, 120)
    assert (np.diff(offered.predicted_iou, axis=1) <= 0).all()
    assert all(len({mask.tobytes() for mask in masks}) == 3 for masks in offered.masks)
    chosen = predictor.predict([CLICK, BOX])
    assert np.array_equal(chosen.masks[0, 0], offered.masks[0, 0])
    # A box has a mask token of its own, unless refinement chooses among the three.
    assert np.array_equal(chosen.masks[1, 0], offered.masks[1, 0]) == predictor.refine


def test_sam_of_transformers_offers_what_its_multimask_output_is(tmp_path: Path) -> None:
    model = randomized(TINY)
    peer = peer_of(model)
    peer.save_pretrained(tmp_path / "sam")
    sam = open_transformers(str(tmp_path / "sam"), device="cpu")
    sam.set_image(np.random.default_rng(0).integers(0, 255, (80, 128, 3), np.uint8))
    for prompt, given in (
        (CLICK, {"input_points": [[[[49.5, 39.5]]]], "input_labels": [[[1]]]}),
        (BOX, {"input_boxes": [[[19.5, 9.5, 89.5, 69.5]]]}),
    ):
        offered = candidates(sam, prompt)
        assert offered is not None
        inputs = {key: torch.tensor(value) for key, value in given.items()}
        with torch.inference_mode():
            out = peer(image_embeddings=sam.embedding, multimask_output=True, **inputs)
        order = out.iou_scores[0, 0].argsort(descending=True)
        # The image is as large as the input, so coordinates are not scaled.
        assert np.allclose(offered.low_res_logits[0], out.pred_masks[0, 0, order], atol=1e-5)
        assert np.allclose(
            offered.predicted_iou[0], out.iou_scores[0, 0, order].clamp(0, 1), atol=1e-6
        )
        chosen = sam.predict(prompt).low_res_logits[0, 0]
        single = prompt is BOX
        assert np.allclose(chosen, offered.low_res_logits[0, 0], atol=1e-5) != single


def test_models_of_one_mask_offer_no_choice(tmp_path: Path) -> None:
    model = randomized(TINY)
    peer_of(model).save_pretrained(tmp_path / "medsam-vit-base")
    theirs = open_transformers(str(tmp_path / "medsam-vit-base"), device="cpu")
    model.preprocessor = replace(PREPROCESSING["medsam"], size=128)
    for segmenter in (theirs, Predictor(model), EllipseInBox()):
        segmenter.set_image(np.zeros((80, 110), np.uint8))
        assert candidates(segmenter, BOX) is None
        assert segmenter.predict(BOX).masks.shape == (1, 1, 80, 110)
