"""transformers' SAM with random weights, as the lower bound of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import SamVisionConfig

from ultrasam.errors import EvaluationError
from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.models.transformers_models import RANDOM, random_transformers
from ultrasam.prompts import Prompt

SMALL = {
    "vision_config": {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 128,
        "mlp_dim": 96, "window_size": 4, "global_attn_indexes": [1], "output_channels": 64,
        "num_pos_feats": 32,
    },
    "prompt_encoder_config": {"hidden_size": 64, "image_size": 128, "image_embedding_size": 8},
    "mask_decoder_config": {"hidden_size": 64, "mlp_dim": 80, "num_attention_heads": 4},
}  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RANDOM, "sam-vit-b", SMALL)


@pytest.mark.usefixtures("small")
def test_untrained_weights_are_the_same_each_time_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, again = (random_transformers("sam-vit-b", device="cpu").model for _ in range(2))
    assert torch.equal(torch.rand(4), expected)
    other = random_transformers("sam-vit-b", device="cpu", seed=1).model
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    weight = "vision_encoder.patch_embed.projection.weight"
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


@pytest.mark.usefixtures("small")
def test_an_untrained_model_takes_boxes_and_clicks(rng: np.random.Generator) -> None:
    model = open_evaluation_model("transformers-random:sam-vit-b", device="cpu")
    assert {"box", "point"} <= model.accepts
    model.segmenter.set_image(rng.integers(0, 255, (60, 90), dtype=np.uint8))
    prompts: list[Any] = [Prompt(box=(10, 10, 50, 40)), Prompt(points=[[30.0, 20.0]], labels=[1])]
    for prompt in prompts:
        assert model.segmenter.predict(prompt).masks.shape == (1, 1, 60, 90)


def test_the_size_is_that_of_sams_vit_b() -> None:
    """By transformers' own defaults, which the model is made from."""
    vision = SamVisionConfig()
    assert (vision.hidden_size, vision.num_hidden_layers, vision.image_size) == (768, 12, 1024)


def test_another_size_is_refused() -> None:
    with pytest.raises(EvaluationError, match="use transformers-random:sam-vit-b"):
        open_evaluation_model("transformers-random:sam-vit-z")
