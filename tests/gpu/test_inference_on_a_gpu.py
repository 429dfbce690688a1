"""The GPU's results of encoder, decoder and predictor are the CPU's."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

import ultrasam
from tests.conftest import randomized
from tests.gpu.conftest import sizes
from tests.model.prompts import random_prompts
from ultrasam.evaluation.metrics.masks import dice
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import PromptArrays
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.weights.load import encoder_to_bfloat16

PICTURE = Path(__file__).parents[2] / "examples" / "phantom.png"
BOXES = ((192, 58, 534, 402), (567, 53, 840, 407))


@pytest.fixture(scope="module", params=sizes())
def model(request: pytest.FixtureRequest) -> UltraSam:
    return randomized(CONFIGS[request.param])


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def pixels_of(model: UltraSam, count: int) -> np.ndarray:
    side = model.config.image_size
    return np.random.default_rng(0).normal(size=(count, 3, side, side)).astype(np.float32)


def both(model: UltraSam, gpu: str) -> tuple[TorchBackend, TorchBackend]:
    return TorchBackend(copy.deepcopy(model)), TorchBackend(copy.deepcopy(model).to(gpu))


def test_the_encoder_in_fp32_is_the_cpus(model: UltraSam, gpu: str) -> None:
    pixels = pixels_of(model, 2)
    for cpu, other in zip(*(b.encode(pixels) for b in both(model, gpu)), strict=True):
        parts = zip((cpu.image.image, *cpu.image.high_res), (other.image.image, *other.image.high_res),
                    strict=True)  # fmt: skip
        for expected, found in parts:
            assert relative_difference(found.cpu().numpy(), expected.numpy()) < 1e-4


def test_the_encoder_in_bf16_is_near_the_cpus_in_fp32(model: UltraSam, gpu: str) -> None:
    pixels = pixels_of(model, 1)
    half = copy.deepcopy(model).to(gpu)
    encoder_to_bfloat16(half)
    expected = TorchBackend(copy.deepcopy(model)).encode(pixels)[0].image.image
    found = TorchBackend(half).encode(pixels)[0].image.image.cpu()
    assert (found - expected).abs().mean() / expected.abs().mean() < 0.03


@pytest.mark.parametrize("mask", [False, True])
def test_the_decoder_is_the_cpus(model: UltraSam, gpu: str, mask: bool) -> None:
    cpu, other = both(model, gpu)
    pixels = pixels_of(model, 2)
    prompts = PromptArrays.concatenate(
        [random_prompts(model.config, seed, count=2, mask=mask) for seed in range(4)]
    )
    index = np.arange(8) % 2
    logits, iou = cpu.decode(cpu.encode(pixels), prompts, index, multimask=True)
    found, scores = other.decode(other.encode(pixels), prompts, index, multimask=True)
    assert relative_difference(found, logits) < 1e-3
    assert relative_difference(scores, iou) < 1e-3


def test_many_prompts_at_once_give_what_they_give_one_by_one(model: UltraSam, gpu: str) -> None:
    _, backend = both(model, gpu)
    images = backend.encode(pixels_of(model, 1))
    prompts = random_prompts(model.config, 1, count=16)
    index = np.zeros(16, np.int64)
    together, _ = backend.decode(images, prompts, index, multimask=False)
    for i in range(16):
        one = PromptArrays(prompts.coords[i : i + 1], prompts.labels[i : i + 1])
        alone, _ = backend.decode(images, one, index[:1], multimask=False)
        assert relative_difference(alone[0], together[i]) < 1e-3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nano_segments_the_sample_picture_as_on_the_cpu(gpu: str, precision: str) -> None:
    prompts = [ultrasam.Prompt(box=box) for box in BOXES]
    prompts.append(ultrasam.Prompt(points=[(330, 250), (590, 150)], labels=[1, 0]))
    found = []
    for device, given in (("cpu", "float32"), (gpu, precision)):
        predictor = ultrasam.Predictor("nano", device=device, precision=given)
        predictor.set_image(PICTURE)
        found.append([predictor.predict(prompt) for prompt in prompts])
    min_dice = 0.999 if precision == "float32" else 0.98
    for expected, other in zip(*found, strict=True):
        for a, b in zip(expected.masks[:, 0], other.masks[:, 0], strict=True):
            assert a.any()
            assert dice(np.asarray(b), np.asarray(a)) > min_dice
        near = 1e-3 if precision == "float32" else 0.03
        assert np.abs(expected.predicted_iou - other.predicted_iou).max() < near


def test_a_predictor_with_any_weights_gives_the_cpus_logits(model: UltraSam, gpu: str) -> None:
    found = []
    for device in ("cpu", gpu):
        predictor = ultrasam.Predictor(copy.deepcopy(model).to(device))
        predictor.set_image(PICTURE)
        found.append(predictor.predict([ultrasam.Prompt(box=box) for box in BOXES]))
    assert relative_difference(found[1].low_res_logits, found[0].low_res_logits) < 1e-3


def test_weights_that_are_loaded_onto_the_gpu_lie_there(gpu: str) -> None:
    model = ultrasam.load("nano", device=gpu)
    assert {p.device.type for p in model.parameters()} == {torch.device(gpu).type}
