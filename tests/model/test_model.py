"""Properties of the network that comparisons with other implementations do not show."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import TINY, randomized
from tests.model.prompts import random_prompts
from ultrasam.errors import ConfigError
from ultrasam.model.config import CONFIGS, ModelConfig, get_config
from ultrasam.model.image_encoder import window_partition, window_unpartition
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import UNUSED, PromptArrays
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.weights.load import encoder_to_bfloat16

MODELS = {"tiny": randomized(TINY), "nano": randomized(CONFIGS["nano"])}
_CACHE: dict[tuple[str, int], ImageEmbedding] = {}


def embedding(model: UltraSam, count: int) -> ImageEmbedding:
    key = (model.config.name, count)
    if key not in _CACHE:
        torch.manual_seed(count)
        size = model.config.image_size
        with torch.inference_mode():
            _CACHE[key] = model.encode(torch.randn(count, 3, size, size))
    return _CACHE[key]


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15, deadline=None)
@given(seeds=st.lists(st.integers(0, 999), min_size=1, max_size=4), data=st.data())
def test_prompts_of_different_lengths_together_equal_each_alone(
    name: str, seeds: list[int], data: st.DataObject
) -> None:
    model = MODELS[name]
    images = embedding(model, 2)
    masks = data.draw(st.lists(st.booleans(), min_size=len(seeds), max_size=len(seeds)))
    index = torch.tensor([seed % 2 for seed in seeds])
    prompts = [random_prompts(model.config, s, mask=m) for s, m in zip(seeds, masks, strict=True)]
    with torch.inference_mode():
        batch = PromptTensors.from_arrays(PromptArrays.concatenate(prompts))
        together = model.decode(images, batch, image_index=index)
        for i, alone in enumerate(prompts):
            tensors = PromptTensors.from_arrays(alone)
            one = model.decode(images, tensors, image_index=index[i : i + 1])
            assert (together.masks[i] - one.masks[0]).abs().max() < 1e-4
            assert (together.predicted_iou[i] - one.predicted_iou[0]).abs().max() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_unused_slots_change_nothing(name: str) -> None:
    model = MODELS[name]
    plain = PromptTensors.from_arrays(random_prompts(model.config, 3))
    padded = PromptTensors(
        torch.cat([plain.coords, torch.rand(1, 5, 2) * 50], dim=1),
        torch.cat([plain.labels, torch.full((1, 5), UNUSED)], dim=1),
    )
    with torch.inference_mode():
        a, b = (model.decode(embedding(model, 1), p).masks for p in (plain, padded))
    assert (a - b).abs().max() < 1e-4


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    window=st.integers(1, 6),
    batch=st.integers(1, 3),
)
def test_windows_go_back_to_where_they_came_from(
    height: int, width: int, window: int, batch: int
) -> None:
    x = torch.randn(batch, height, width, 2)
    windows = window_partition(x, window)
    assert windows.shape[1:] == (window, window, 2)
    assert torch.equal(window_unpartition(windows, window, (height, width)), x)
    assert windows.abs().sum() == pytest.approx(float(x.abs().sum()), rel=1e-4)  # padded by zeros


def test_gradients_reach_every_parameter() -> None:
    model = randomized(CONFIGS["nano"]).train()
    prompts = [random_prompts(model.config, s, mask=s == 3) for s in (3, 2, 1)]
    output = model(
        torch.randn(2, 3, 256, 256),
        PromptTensors.from_arrays(PromptArrays.concatenate(prompts)),
        image_index=torch.tensor([0, 1, 1]),
    )
    (output.masks.square().mean() + output.predicted_iou.square().mean()).backward()
    silent = {n for n, p in model.named_parameters() if p.grad is None}
    # Prompt maps always give a mask prompt, so that there is never none.
    assert silent == {"prompt_encoder.no_mask_embed.weight"}


def test_checkpointing_changes_no_gradient() -> None:
    model, gradients = randomized(TINY), []
    prompts = PromptTensors.from_arrays(random_prompts(TINY, 1))
    pixels = torch.randn(1, 3, 128, 128)
    for enabled in (False, True):
        checkpoint_blocks(model.image_encoder, enabled=enabled)
        model.zero_grad()
        model(pixels, prompts).masks.square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_an_encoder_in_bfloat16_gives_an_embedding_for_a_decoder_in_float32() -> None:
    model = randomized(CONFIGS["nano"])
    pixels = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        exact = model.encode(pixels).image
        encoder_to_bfloat16(model)
        encoder_to_bfloat16(model)  # again changes nothing
        half = model.encode(pixels)
        masks = model.decode(half, PromptTensors.from_arrays(random_prompts(model.config, 1))).masks
    assert model.image_encoder.pos_embed.dtype == torch.bfloat16
    assert half.image.dtype == masks.dtype == torch.float32
    assert (half.image - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_positions_stay_exact_under_autocast() -> None:
    """Angles reach hundreds of radians, beyond the resolution of bfloat16."""
    encoder = MODELS["tiny"].prompt_encoder
    coords = torch.rand(4, 2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = encoder.pe_layer(coords)
    with torch.inference_mode():
        assert torch.equal(half, encoder.pe_layer(coords))


def test_embeddings_split_and_join() -> None:
    images = embedding(MODELS["nano"], 2)
    parts = images.split()
    assert [part.image.shape[0] for part in parts] == [1, 1]
    again = ImageEmbedding.join(parts)
    assert torch.equal(again.image, images.image)
    assert all(torch.equal(a, b) for a, b in zip(again.high_res, images.high_res, strict=True))
    swapped = images.select(torch.tensor([1, 0]))
    assert torch.equal(swapped.high_res[0][0], images.high_res[0][1])


def test_the_network_is_plain() -> None:
    """No file in ``model/`` branches on device, dtype, gradient mode or data."""
    source = Path(__file__).parents[2] / "src" / "ultrasam" / "model"
    forbidden = {
        "device.type", "is_grad_enabled", "is_autocast_enabled", "is_cuda", "requires_grad",
        "inference_mode", ".item()", ".tolist()",
    }  # fmt: skip
    for path in source.glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If | ast.IfExp):
                test = ast.unparse(node.test)
                assert not any(word in test for word in (*forbidden, "dtype")), f"{path}: {test}"
        text = path.read_text()
        assert not [word for word in forbidden - {".item()", ".tolist()"} if word in text], path


def test_nano_is_small() -> None:
    count = sum(p.numel() for p in MODELS["nano"].parameters())
    assert count <= 7_000_000


def test_an_impossible_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be a multiple"):
        ModelConfig(width=100, heads=12)
    with pytest.raises(ValueError, match="requires stem 'conv'"):
        ModelConfig(high_res_features=True)
    with pytest.raises(ConfigError, match="vit-b"):
        get_config("giant")


def test_earlier_names_of_sizes_and_keys_are_read() -> None:
    assert get_config("base") is CONFIGS["vit-b"]
    now = replace(TINY, stem="conv", high_res_features=True, prompt_maps=True)
    text = (
        now.to_json()
        .replace("high_res_features", "fine_features")
        .replace("prompt_maps", "drawn_prompts")
        .replace('"name": "tiny"', '"name": "tiny", "zoom": 1.6, "pixel_mean": [1, 2, 3]')
    )
    assert ModelConfig.from_json(text) == now


def test_prompts_of_a_batch_are_padded_with_unused_slots() -> None:
    parts = [random_prompts(TINY, 1), random_prompts(TINY, 3, count=2, mask=True)]
    batch = PromptArrays.concatenate(parts)
    assert len(batch) == 3
    assert batch.labels.shape == (3, 5)
    assert (batch.labels[0] == UNUSED).sum() == 5 - parts[0].labels.shape[1]
    assert batch.has_mask is not None
    assert batch.has_mask.tolist() == [False, True, True]
    assert batch.masks is not None
    assert np.array_equal(batch.masks[1:], parts[1].masks)
