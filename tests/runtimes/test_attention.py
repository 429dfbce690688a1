"""Every form of attention with relative positions equals the plain one."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import TINY, randomized
from ultrasam.model.image_encoder import (
    Attention,
    AttentionFunction,
    attention_with_relative_positions,
    get_rel_pos,
)
from ultrasam.model.layers import plain_attention
from ultrasam.runtimes import attention
from ultrasam.runtimes.attention import product_attention

FORMS = [
    attention_with_relative_positions,
    attention.sliced_attention,
    attention.folded_attention,
]


def whole_bias(q: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor) -> torch.Tensor:
    """The bias of every query towards every key, one by one."""
    height, width = len(rel_h), len(rel_w)
    index = torch.arange(height * width)
    rows, columns = index // width, index % width
    table_h = rel_h[rows[:, None], rows[None]]  # [N, N, C]
    table_w = rel_w[columns[:, None], columns[None]]
    return torch.einsum("bhqc,qkc->bhqk", q, table_h) + torch.einsum("bhqc,qkc->bhqk", q, table_w)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("grid", [(5, 5), (14, 14), (33, 33), (3, 7)])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_the_formula(
    form: AttentionFunction, grid: tuple[int, int], dtype: torch.dtype, gradients: bool
) -> None:
    torch.manual_seed(0)
    height, width = grid
    q, k, v = torch.randn(3, 1, 2, height * width, 16)
    rel_h = get_rel_pos(height, torch.randn(2 * height - 1, 16) * 0.2)
    rel_w = get_rel_pos(width, torch.randn(2 * width - 1, 16) * 0.2)
    bias = whole_bias(q, rel_h, rel_w)
    expected = torch.softmax(q @ k.mT * 16**-0.5 + bias, dim=-1) @ v
    given = [t.to(dtype) for t in (q, k, v, rel_h, rel_w)]
    with torch.set_grad_enabled(gradients):
        found = form(*given)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().max() < tolerance


@pytest.mark.parametrize("form", FORMS[1:])
def test_gradients_are_those_of_the_plain_form(form: AttentionFunction) -> None:
    torch.manual_seed(0)
    side = 36  # more tokens than a window's: the sliced form computes scores again
    tensors = [torch.randn(1, 2, side**2, 8) for _ in range(3)]
    tensors += [torch.randn(side, side, 8) * 0.2 for _ in range(2)]
    gradients = []
    for function in (attention_with_relative_positions, form):
        given = [t.clone().requires_grad_() for t in tensors]
        function(*given).square().sum().backward()
        gradients.append([t.grad for t in given])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        assert b is not None
        assert torch.allclose(a, b, atol=1e-3, rtol=1e-3)


def test_the_form_follows_the_device_and_can_be_changed_again() -> None:
    model = randomized(TINY)
    parts = [m for m in model.image_encoder.modules() if isinstance(m, Attention)]
    for device, form in zip(("mps", "cpu", "cuda:1"), FORMS, strict=True):
        attention.set_attention(model, device)
        assert all(part.attention_function is form for part in parts)


@pytest.mark.parametrize("keys", [9, 70])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_by_products_trains_as_pytorchs_kernel_does(keys: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(5, 2, 40, 16, generator=generator, requires_grad=True)
    k = torch.randn(5, 2, keys, 16, generator=generator, requires_grad=True)
    v = torch.randn(5, 2, keys, 16, generator=generator, requires_grad=True)
    used = torch.rand(5, 1, 1, keys, generator=generator) < 0.7
    used[..., 0] = True
    found = []
    for function in (plain_attention, product_attention):
        out = function(q, k, v, used if masked else None)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for plain, product in zip(*found, strict=True):
        torch.testing.assert_close(product, plain, rtol=1e-4, atol=1e-4)
