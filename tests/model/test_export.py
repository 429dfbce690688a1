"""torch.export of encoder and decoder: the exported program equals eager at sizes it wasn't traced with."""

from __future__ import annotations

import pytest
import torch
from torch.export import Dim, export

from tests.conftest import TINY, randomized
from tests.model.prompts import random_prompts
from ultrasam.model.config import CONFIGS
from ultrasam.model.image_encoder import Attention, attention_with_relative_positions
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.runtimes.attention import sliced_attention
from ultrasam.runtimes.graphs import DecoderGraph, EncoderGraph
from ultrasam.runtimes.torch_backend import TorchBackend

CONFIGURATIONS = {"tiny": TINY, "nano": CONFIGS["nano"], "vit-b": CONFIGS["vit-b"]}
NAMES = ("tiny", "nano", "vit-b")


@pytest.mark.slow  # quick tests compare what `export` writes
@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_exports_with_any_number_of_images(name: str) -> None:
    model = randomized(CONFIGURATIONS[name])
    size = model.config.image_size
    graph = EncoderGraph(model)
    pixels = torch.randn(2, 3, size, size)
    program = export(graph, (pixels,), dynamic_shapes=({0: Dim("images", max=64)},), strict=False)
    other = torch.randn(1 if size > 512 else 3, 3, size, size)
    with torch.inference_mode():
        for ours, theirs in zip(graph(other), program.module()(other), strict=True):
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.slow  # quick tests compare what `export` writes
@pytest.mark.parametrize("name", NAMES)
def test_the_decoder_exports_with_any_number_of_prompts_and_points(name: str) -> None:
    model = randomized(CONFIGURATIONS[name])
    size = model.config.image_size
    graph = DecoderGraph(model)
    with torch.inference_mode():
        images = model.encode(torch.randn(1, 3, size, size)) if size <= 512 else None
    c = model.config
    image = torch.randn(1, c.decoder_width, c.grid, c.grid) if images is None else images.image
    high_res = () if images is None else images.high_res
    prompts, points = Dim("prompts", max=256), Dim("points", max=64)
    both, one = {0: prompts, 1: points}, {0: prompts}
    shapes = ({}, tuple({} for _ in high_res), both, both, one, one)

    def inputs(seed: int, count: int) -> tuple[object, ...]:
        given = PromptTensors.from_arrays(random_prompts(c, seed, count=count, mask=True))
        has_mask = (torch.arange(count) % 2 == 0).float()
        return (image, high_res, given.coords, given.labels.float(), given.masks, has_mask)

    program = export(graph, inputs(3, 2), dynamic_shapes=shapes, strict=False)
    for seed, count in ((1, 5), (2, 3)):
        with torch.inference_mode():
            ours, theirs = graph(*inputs(seed, count)), program.module()(*inputs(seed, count))
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() <= 1e-5


def test_the_graphs_are_the_network() -> None:
    model = randomized(CONFIGS["nano"])
    arrays = random_prompts(model.config, 3, count=2, mask=True)
    prompts = PromptTensors.from_arrays(arrays)
    assert prompts.masks is not None
    pixels = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        expected = model(pixels, PromptTensors(prompts.coords, prompts.labels, prompts.masks))
        image, *high_res = EncoderGraph(model)(pixels)
        masks, iou = DecoderGraph(model)(
            image, tuple(high_res), prompts.coords, prompts.labels.float(), prompts.masks,
            torch.ones(2),
        )  # fmt: skip
    assert torch.allclose(masks, expected.masks, atol=1e-6)
    assert torch.allclose(iou, expected.predicted_iou, atol=1e-6)


def test_a_graph_and_a_predictor_do_not_change_each_other() -> None:
    model = randomized(TINY)
    graph, backend = EncoderGraph(model), TorchBackend(model)
    for module, form in (
        (graph.model, attention_with_relative_positions),
        (model, sliced_attention),
    ):
        parts = [m for m in module.image_encoder.modules() if isinstance(m, Attention)]
        assert all(part.attention_function is form for part in parts)
    assert backend.model is model
