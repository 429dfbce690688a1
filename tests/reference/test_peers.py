"""Peers behind the Segmenter protocol: the same weights give our masks; SAM 2 runs and is told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Sam2Config, Sam2Model

from tests.conftest import TINY, randomised
from tests.reference.test_transformers_sam import peer_of
from ultrasam.errors import CheckpointError, EvaluationError
from ultrasam.evaluation.models.registry import open_competitor
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.weights.registry import PREPROCESSING

PROMPTS = (
    Prompt(box=(20, 10, 90, 70)),
    Prompt(points=[(50, 40)]),
    Prompt(points=[(50, 40), (10.5, 12)], labels=[1, 0]),
    Prompt(points=[(50, 40)], box=(20, 10, 90, 70)),
)


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    return rng.integers(0, 255, (80, 110, 3), np.uint8)


def test_transformers_sam_gives_our_masks_with_our_weights(
    tmp_path: Path,
    pixels: np.ndarray,  # type: ignore[type-arg]
) -> None:
    model = UltraSam(TINY, preprocessor=PREPROCESSING["sam"]).eval()
    model.load_state_dict(randomised(TINY).state_dict())
    peer_of(model).save_pretrained(tmp_path / "sam")
    ours, theirs = Predictor(model), open_competitor(f"transformers:{tmp_path / 'sam'}")
    for segmenter in (ours, theirs.segmenter):
        segmenter.set_image(pixels)
    for prompt in PROMPTS:
        a, b = ours.predict(prompt), theirs.segmenter.predict(prompt)
        # Theirs counts points from pixels' centres, ours from corners: up to half a pixel apart.
        assert np.abs(a.low_res_logits - b.low_res_logits).max() < 5e-3
        assert np.abs(a.predicted_iou - b.predicted_iou).max() < 1e-3
        assert (a.masks != b.masks).mean() < 5e-3
    again = Prompt(points=[(50, 40), (60, 50)], labels=[1, 0], mask=a.low_res_logits[0, 0])
    a, b = ours.predict(again), theirs.segmenter.predict(again)
    assert (a.masks != b.masks).mean() < 0.1  # ours goes by way of the scan


def test_sam2_takes_every_prompt(tmp_path: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1,
        "blocks_per_stage": [1, 2, 3, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1], "global_attention_blocks": [4],
        "window_size_per_stage": [8, 4, 2, 2], "image_size": [256, 256],
        "window_positional_embedding_background_size": [7, 7],
    }  # fmt: skip
    config = Sam2Config(
        vision_config={
            "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
        },
        prompt_encoder_config={"image_size": 256},
    )  # fmt: skip
    Sam2Model(config).eval().save_pretrained(tmp_path / "sam2")
    peer = open_competitor(f"transformers:{tmp_path / 'sam2'}").segmenter
    peer.set_image(pixels)
    for prompt in PROMPTS:
        found = peer.predict(prompt)
        assert found.masks.shape == (1, 1, 80, 110)
        assert np.isfinite(found.low_res_logits).all()
    moved = [peer.predict(Prompt(points=[p])).low_res_logits for p in ((20, 20), (90, 60))]
    assert not np.allclose(*moved)


def test_a_folder_that_is_no_such_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't load"):
        open_competitor(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EvaluationError, match="type 'bert'"):
        open_competitor(f"transformers:{tmp_path}")
