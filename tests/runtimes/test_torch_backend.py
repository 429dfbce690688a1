"""The backend equals the plain network in all its forms, also with several threads."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from tests.conftest import TINY, randomized
from tests.model.prompts import random_prompts
from ultrasam.inference.predictor import Predictor
from ultrasam.model.config import CONFIGS
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import Prompt, PromptArrays
from ultrasam.runtimes import cpu_decoder
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.torch_backend import TorchBackend, TorchEmbedding


def encoded(backend: TorchBackend, count: int = 1) -> list[TorchEmbedding]:
    size = backend.config.image_size
    rng = np.random.default_rng(count)
    return backend.encode(rng.normal(size=(count, 3, size, size)).astype(np.float32))


def plain(
    model: UltraSam, images: list[TorchEmbedding], prompts: PromptArrays, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        output = model.decode(
            ImageEmbedding.join([image.image for image in images]),
            PromptTensors.from_arrays(prompts),
            image_index=torch.from_numpy(index),
        )
    return output.masks.numpy(), output.predicted_iou.numpy()


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", ["tiny", "nano"])
def test_the_backend_equals_the_plain_network(
    name: str, images: int, mask: bool, multimask: bool
) -> None:
    model = randomized(TINY if name == "tiny" else CONFIGS["nano"])
    backend = TorchBackend(model)
    assert isinstance(backend, Backend)
    embeddings = encoded(backend, images)
    parts = [random_prompts(model.config, seed, count=2, mask=mask) for seed in range(3)]
    prompts = PromptArrays.concatenate(parts)
    index = np.arange(6) % images
    logits, iou = backend.decode(embeddings, prompts, index, multimask=multimask)
    expected, scores = plain(model, embeddings, prompts, index)
    kept = slice(None) if multimask else slice(0, 1)
    assert logits.shape == (6, 4 if multimask else 1, *(model.config.mask_size,) * 2)
    assert np.abs(logits - expected[:, kept]).max() < 1e-4
    assert np.abs(iou - scores[:, kept]).max() < 1e-4
    assert (embeddings[0].shared is not None) == (name == "tiny" and images == 1 and not mask)


def tokens_of(model: UltraSam, prompts: PromptArrays) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = PromptTensors.from_arrays(prompts).to("cpu", torch.float64)
    return model.mask_decoder.all_tokens(model.prompt_encoder(tensors))


@pytest.mark.parametrize("masks", [1, 4])
def test_a_prepared_image_gives_the_plain_decoders_result(
    masks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, where only the order of summation differs."""
    monkeypatch.setattr(cpu_decoder, "_TOKENS_AT_ONCE", 240)  # parts of 40 and 24 for 6 prompts
    model = randomized(replace(TINY, decoder_width=128)).double()
    decoder = model.mask_decoder
    with torch.inference_mode():
        images = model.encode(torch.randn(1, 3, 128, 128, dtype=torch.float64))
        shared = cpu_decoder.prepare(model, images.image)
        for seed in range(4):
            parts = [random_prompts(model.config, seed + i, count=2) for i in range(3)]
            prompts = PromptArrays.concatenate(parts)
            tokens, unused = tokens_of(model, prompts)
            logits, iou = cpu_decoder.decode(decoder, shared, tokens, unused, masks=masks)
            tensors = PromptTensors.from_arrays(prompts).to("cpu", torch.float64)
            expected = model.decode(images, tensors)
            assert (logits - expected.masks[:, :masks]).abs().max() < (
                1e-9 * expected.masks.abs().max()
            )
            assert (iou - expected.predicted_iou[:, :masks]).abs().max() < 1e-9


def test_weights_that_change_after_the_image_was_set_are_the_ones_used() -> None:
    """A merge, a fine-tuning step or load_state_dict between set_image and predict."""
    model = randomized(TINY)
    backend = TorchBackend(model)
    embeddings, prompts, index = encoded(backend), random_prompts(TINY, 1), np.zeros(1, np.int64)
    before, _ = backend.decode(embeddings, prompts, index, multimask=False)
    other = randomized(TINY, seed=1)
    read = model.mask_decoder.transformer.final_attn_token_to_image
    changes = (
        lambda: read.k_proj.weight.data.neg_(),  # which no norm and no version counter sees
        lambda: model.prompt_encoder.no_mask_embed.weight.data.add_(1),
        lambda: model.mask_decoder.transformer.layers[1].norm4.weight.data.mul_(2),
        lambda: model.mask_decoder.load_state_dict(other.mask_decoder.state_dict()),
        lambda: setattr(
            model.mask_decoder.output_upscaling[0], "weight",
            torch.nn.Parameter(torch.randn_like(model.mask_decoder.output_upscaling[0].weight)),
        ),
    )  # fmt: skip
    for change in changes:
        with torch.no_grad():
            change()
        after, _ = backend.decode(embeddings, prompts, index, multimask=False)
        expected, _ = plain(model, embeddings, prompts, index)
        assert np.abs(after - before).max() > 1e-3
        assert np.abs(after - expected[:, :1]).max() < 1e-4
        before = after


def test_the_version_of_the_weights_changes_with_them_in_whatever_way_they_change() -> None:
    model = randomized(TINY)
    backend = TorchBackend(model)
    other, encoder = randomized(TINY, seed=1), model.image_encoder
    seen = [backend.weights_version()]
    assert backend.weights_version() == seen[0]

    def replace_parameter() -> None:
        encoder.pos_embed = torch.nn.Parameter(torch.randn_like(encoder.pos_embed))

    def replace_data() -> None:
        encoder.pos_embed.data = torch.randn_like(encoder.pos_embed)

    changes = (
        lambda: encoder.pos_embed.data.mul_(2),
        lambda: encoder.load_state_dict(other.image_encoder.state_dict()),
        replace_parameter,
        replace_data,
        lambda: setattr(encoder, "neck", randomized(TINY, seed=2).image_encoder.neck),
        lambda: model.to(torch.bfloat16),
    )
    for change in changes:
        with torch.no_grad():
            change()
        seen.append(backend.weights_version())
        assert backend.weights_version() == seen[-1]
    assert len(set(seen)) == len(seen)


def test_the_checksum_covers_every_weight_that_preparation_reads() -> None:
    """If preparation reads a weight, a gradient of its result reaches that weight."""
    model = randomized(TINY)
    shared = cpu_decoder.prepare(model, torch.randn(1, TINY.decoder_width, 8, 8))
    tensors = [shared.upscaled]
    for stage in shared.stages:
        tensors += [stage.square, stage.constant, *stage.added, stage.bias, stage.weight]
        for part in (stage.keys, stage.values, stage.queries):
            tensors += [part.scaled, part.fixed] if part else []
    total = sum(t.double().square().sum() for t in tensors)
    assert isinstance(total, torch.Tensor)
    total.backward()
    before = cpu_decoder.weights_checksum(model)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.any():
            with torch.no_grad():
                parameter.view(-1)[0] += 0.1
            after = cpu_decoder.weights_checksum(model)
            assert not torch.equal(before, after), name
            before = after


def test_low_rank_updates_of_the_decoder_are_applied() -> None:
    model = randomized(TINY)
    assert cpu_decoder.supports(model.mask_decoder)
    inject_adapter_in_model(
        LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False), model.mask_decoder
    )
    assert not cpu_decoder.supports(model.mask_decoder)
    backend = TorchBackend(model)
    embeddings, prompts, index = encoded(backend), random_prompts(TINY, 1), np.zeros(1, np.int64)
    logits, _ = backend.decode(embeddings, prompts, index, multimask=True)
    assert np.abs(logits - plain(model, embeddings, prompts, index)[0]).max() < 1e-5
    assert embeddings[0].shared is None


def test_nothing_is_prepared_in_half_precision() -> None:
    model = randomized(TINY)
    backend = TorchBackend(model)
    embeddings, prompts, index = encoded(backend), random_prompts(TINY, 1), np.zeros(1, np.int64)
    with torch.autocast("cpu", torch.bfloat16):
        backend.decode(embeddings, prompts, index, multimask=False)
    assert embeddings[0].shared is None
    assert not cpu_decoder.supports(model.mask_decoder.bfloat16())


@pytest.mark.parametrize("name", ["tiny", "nano"])
def test_threads_with_predictors_of_their_own_share_one_model(name: str) -> None:
    model = randomized(TINY if name == "tiny" else CONFIGS["nano"])
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (60 + 10 * i, 90, 3), np.uint8) for i in range(6)]
    prompts = [
        [Prompt(box=(5 + i, 5, 40, 40)), Prompt(points=[(30, 20 + i)])] for i in range(len(frames))
    ]

    def segment(i: int) -> np.ndarray:
        predictor = Predictor(model, refine=bool(i % 2))
        predictor.set_image(frames[i])
        return predictor.predict(prompts[i]).low_res_logits

    expected = [segment(i) for i in range(len(frames))]
    found: dict[tuple[int, int], np.ndarray] = {}
    start = threading.Barrier(len(frames))

    def work(i: int) -> None:
        start.wait()
        for repeat in range(3):
            found[i, repeat] = segment(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 * len(frames)
    for (i, _), logits in found.items():
        assert np.abs(logits - expected[i]).max() < 1e-4
