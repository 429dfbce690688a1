"""Properties of the network that no comparison with a peer shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from tests.conftest import TINY, randomised
from ultrasam.errors import CheckpointError
from ultrasam.model import attention, mask_decoder
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.layers import MLPBlock
from ultrasam.model.prompt_encoder import ABSENT, PromptTensors, pad_prompts
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam

MODELS = {"tiny": randomised(TINY), "nano": randomised(CONFIGS["nano"])}


def prompt(model: UltraSam, seed: int, *, count: int = 1, mask: bool = False) -> PromptTensors:
    """A prompt of a random number of clicks, with or without a box and a mask."""
    generator = torch.Generator().manual_seed(seed)
    clicks = seed % 4
    slots = torch.randint(0, 2, (count, clicks), generator=generator)
    corners = torch.tensor([[2, 3] if seed % 2 or not clicks else [-1]]).expand(count, -1)
    labels = torch.cat([slots, corners], dim=1)
    coords = torch.rand(count, labels.shape[1], 2, generator=generator) * model.config.image_size
    size = model.config.mask_size
    masks = torch.randn(count, 1, size, size, generator=generator) * 4 if mask else None
    return PromptTensors(coords, labels, masks)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15, deadline=None)
@given(seeds=st.lists(st.integers(0, 999), min_size=1, max_size=4), data=st.data())
def test_prompts_of_different_lengths_together_equal_each_alone(
    name: str, seeds: list[int], data: st.DataObject
) -> None:
    model = MODELS[name]
    image = ImageEmbedding(*_embedding(model, 2))
    masks = data.draw(st.lists(st.booleans(), min_size=len(seeds), max_size=len(seeds)))
    index = torch.tensor([seed % 2 for seed in seeds])
    prompts = [prompt(model, s, mask=m) for s, m in zip(seeds, masks, strict=True)]
    with torch.inference_mode():
        together, iou = model.decode(
            image, pad_prompts(prompts), image_index=index, masks=slice(None)
        )
        for i, alone in enumerate(prompts):
            logits, score = model.decode(
                image, alone, image_index=index[i : i + 1], masks=slice(None)
            )
            assert (together[i] - logits[0]).abs().max() < 1e-4
            assert (iou[i] - score[0]).abs().max() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_unused_slots_change_nothing(name: str) -> None:
    model = MODELS[name]
    image = ImageEmbedding(*_embedding(model, 1))
    plain = prompt(model, 3)
    padded = PromptTensors(
        torch.cat([plain.coords, torch.rand(1, 5, 2) * 50], dim=1),
        torch.cat([plain.labels, torch.full((1, 5), ABSENT)], dim=1),
    )
    with torch.inference_mode():
        a, b = model.decode(image, plain)[0], model.decode(image, padded)[0]
    assert (a - b).abs().max() < 1e-4


@pytest.mark.parametrize("masks", [slice(0, 1), slice(1, 4)])
@pytest.mark.parametrize("fine", [False, True])
def test_a_kept_image_is_the_written_one_in_other_sums(
    fine: bool, masks: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, where nothing but the sums' order is left to differ."""
    monkeypatch.setattr(mask_decoder, "_TOKENS_AT_ONCE", 240)  # of 6 prompts: parts of 40 and 24
    stem = {"stem": "conv", "fine_features": True} if fine else {}
    model = randomised(replace(TINY, decoder_width=128, **stem)).double()
    with torch.inference_mode():
        kept = model.encode(torch.randn(1, 3, 128, 128))
        written = replace(kept, side=None)
        assert kept.side is not None
        for seed in range(4):
            asked = pad_prompts([prompt(model, seed + i, count=2) for i in range(3)])
            asked = asked.to("cpu", torch.float64)
            tokens = F.pad(model.prompt_encoder(asked).tokens, (0, 0, 5, 0))
            assert model.mask_decoder.transformer.takes_few(tokens)
            a, b = model.decode(written, asked, masks=masks), model.decode(kept, asked, masks=masks)
            assert (a[0] - b[0]).abs().max() < 1e-9 * a[0].abs().max()
            assert (a[1] - b[1]).abs().max() < 1e-9


def test_gradients_do_not_pass_a_kept_image_by() -> None:
    model = randomised(TINY)
    with torch.no_grad():
        kept = model.encode(torch.randn(1, 3, 128, 128))
    assert kept.side is not None
    weight = model.mask_decoder.transformer.layers[1].norm4.weight
    grads = [
        torch.autograd.grad(model.decode(image, prompt(model, 0))[0].sum(), weight)[0]
        for image in (kept, replace(kept, side=None))
    ]
    assert torch.equal(*grads)
    assert grads[0].abs().max() > 0


def test_nothing_is_kept_in_half_precision(tiny: UltraSam) -> None:
    """A norm's deviation as a sum of products needs more digits than bfloat16 has."""
    image = ImageEmbedding(*_embedding(tiny, 1))
    with torch.inference_mode():
        assert tiny.keep(ImageEmbedding(image.embedding.bfloat16())).side is None
        with torch.autocast("cpu", torch.bfloat16):
            assert tiny.keep(image).side is None


@pytest.mark.parametrize("images", [1, 2])
def test_many_tokens_take_the_plain_path_to_the_same_result(images: int, tiny: UltraSam) -> None:
    layer = tiny.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    image = torch.randn(images, 64, TINY.decoder_width)
    positions = torch.randn(64, TINY.decoder_width)
    tokens = torch.randn(2, 40, TINY.decoder_width)
    with torch.inference_mode():
        parts, places = image.split(24, dim=1), positions.split(24)
        plain, _ = layer.from_image(tokens, parts, places)
        folded = torch.cat(
            [layer.from_image(tokens[:, i : i + 4], parts, places)[0] for i in range(0, 40, 4)],
            dim=1,
        )
        back = torch.cat([*layer.add_to_image(parts, places, tokens, tokens, absent=None)], dim=1)
        queries = (image + positions).expand(2, -1, -1)
        straight = image + layer(queries, tokens, tokens)
        few = tokens[:, :4]
        back_few = torch.cat([*layer.add_to_image(parts, places, few, few, absent=None)], dim=1)
        straight_few = image + layer(queries, few, few)
    assert (plain - folded).abs().max() < 1e-5
    assert (back - straight).abs().max() < 1e-5
    assert (back_few - straight_few).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("grid", [(5, 5), (14, 14), (40, 40)])
def test_every_form_of_position_attention_equals_the_whole_bias(
    grid: tuple[int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    height, width = grid
    q, k, v = torch.randn(3, 1, 2, height * width, 16)
    tables = torch.randn(2 * height - 1, 16) * 0.2, torch.randn(2 * width - 1, 16) * 0.2
    index = torch.arange(height * width)
    rows, columns = index // width, index % width
    table_h = tables[0][rows[:, None] - rows[None] + height - 1]
    table_w = tables[1][columns[:, None] - columns[None] + width - 1]
    bias = torch.einsum("bhqc,qkc->bhqk", q, table_h) + torch.einsum("bhqc,qkc->bhqk", q, table_w)
    expected = torch.softmax(q @ k.mT * 16**-0.5 + bias, dim=-1) @ v
    given_ = [t.to(dtype) for t in (q, k, v, *tables)]
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    forms = [attention.attend_with_positions(*given_, grid=grid)]
    with torch.no_grad():
        forms.append(attention.attend_with_positions(*given_, grid=grid))
    down = torch.einsum("bhqc,qkc->bhqk", q, attention._by_offset(tables[0], height)[rows])
    across = torch.einsum("bhqc,qkc->bhqk", q, attention._by_offset(tables[1], width)[columns])
    shape = (1, 2, height, width, -1)
    forms.append(attention._folded(q, k, v, down.reshape(shape), across.reshape(shape)))
    for form in forms:
        assert (form.float() - expected).abs().max() < tolerance


@pytest.mark.parametrize(("width", "hidden"), [(24, 64), (20, 36)])
@pytest.mark.parametrize("rows", [(), (1,), (3, 7), (40,)])
def test_few_rows_pass_an_mlp_to_the_same_result(
    rows: tuple[int, ...], width: int, hidden: int
) -> None:
    mlp = MLPBlock(width, hidden, activation=nn.ReLU)
    x = torch.randn(*rows, width)
    expected = mlp(x)
    with torch.inference_mode():
        torch.testing.assert_close(mlp(x), expected)


def test_few_rows_do_not_pass_low_rank_updates_by() -> None:
    mlp = MLPBlock(24, 64, activation=nn.ReLU)
    x = torch.randn(3, 24)
    before = mlp(x).detach()
    config = LoraConfig(target_modules=["lin1", "lin2"], init_lora_weights=False)
    expected = inject_adapter_in_model(config, mlp)(x).detach()
    assert (expected - before).abs().max() > 1e-3
    with torch.inference_mode():
        torch.testing.assert_close(mlp(x), expected)


def test_gradients_reach_every_parameter() -> None:
    model = randomised(CONFIGS["nano"]).train()
    image = model.encode(torch.randn(2, 3, 256, 256))
    logits, iou = model.decode(
        image,
        pad_prompts([prompt(model, 3, mask=True), prompt(model, 2), prompt(model, 1)]),
        image_index=torch.tensor([0, 1, 1]),
        masks=slice(None),
    )
    (logits.square().mean() + iou.square().mean()).backward()
    silent = {n for n, p in model.named_parameters() if p.grad is None}
    # Drawn prompts always have a map, and a softmax over keys takes no notice of their bias.
    allowed = {n for n, _ in model.named_parameters() if n.endswith("to_image.k_proj.bias")}
    assert silent <= allowed | {"prompt_encoder.no_mask_embed.weight"}


def test_an_encoder_in_bfloat16_gives_an_embedding_for_a_decoder_in_float32() -> None:
    model = randomised(CONFIGS["nano"])
    pixels = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        exact = model.encode(pixels).embedding
        model.image_encoder.to(torch.bfloat16)
        half = model.encode(pixels)
        logits, _ = model.decode(half, prompt(model, 1))
    assert half.embedding.dtype == logits.dtype == torch.float32
    assert (half.embedding - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_nano_is_small() -> None:
    count = sum(p.numel() for p in MODELS["nano"].parameters())
    assert count <= 7_000_000


def test_an_impossible_configuration_is_refused() -> None:
    with pytest.raises(CheckpointError, match="multiples"):
        ModelConfig(width=100, heads=12)
    with pytest.raises(CheckpointError, match="conv stem"):
        ModelConfig(fine_features=True)


_CACHE: dict[tuple[str, int], ImageEmbedding] = {}


def _embedding(model: UltraSam, count: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    key = (model.config.name, count)
    if key not in _CACHE:
        torch.manual_seed(count)
        size = model.config.image_size
        with torch.inference_mode():
            _CACHE[key] = model.encode(torch.randn(count, 3, size, size))
    return _CACHE[key].embedding, _CACHE[key].fine
