"""Memory-efficient attention with relative positions, without an N × N bias.

These functions equal `ultrasam.model.image_encoder.attention_with_relative_positions` up to rounding. The
plain form allocates a bias and scores of [heads, N, N], 1.6 GB for a global block of a ViT-B at 1024 px. For
time and memory, see `benchmarks/encoder.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultrasam.model.image_encoder import (
    Attention,
    AttentionFunction,
    attention_with_relative_positions,
)
from ultrasam.model.layers import PlainAttentionFunction, plain_attention
from ultrasam.model.transformer import Attention as DecoderAttention

# Grid rows per slice of scores: 256 queries × 4,096 keys × 12 heads in fp32 take 50 MB.
_ROWS, _ROWS_BF16 = 4, 2
_SMALL = 1024  # up to this many tokens, such as in a window, scores are not sliced


def set_attention(module: nn.Module, device: str) -> None:
    """Set the attention functions of all image encoders and mask decoders in a module for a device: with
    relative positions, sliced on a CPU and the flash kernel on a GPU.

    Results change only by rounding.
    """
    function = attention_for(device)
    plain: PlainAttentionFunction = plain_attention
    if device.startswith("cpu"):
        plain = product_attention
    for part in module.modules():
        if isinstance(part, Attention):
            part.attention_function = function
        if isinstance(part, Attention | DecoderAttention):
            part.plain_function = plain


def attention_for(device: str) -> AttentionFunction:
    """The attention function for a torch device, such as ``cpu`` or ``cuda:1``."""
    if device.startswith("cpu"):
        return sliced_attention
    return folded_attention if device.startswith("cuda") else attention_with_relative_positions


def product_attention(q: Tensor, k: Tensor, v: Tensor, used: Tensor | None = None) -> Tensor:
    """As `ultrasam.model.layers.plain_attention`; in training, two matrix products with a softmax in between.

    On a CPU, the backward pass of PyTorch's kernel takes two to seven times as long, most where there are few
    keys, as in a mask decoder. The scores of many tokens would take too much memory.
    """
    if not torch.is_grad_enabled() or q.shape[2] * k.shape[2] > _SMALL**2:
        return plain_attention(q, k, v, used)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if used is not None:
        scores = scores.masked_fill(~used, float("-inf"))
    # Autocast would make the softmax's result float32, whose product with v is slow.
    with torch.autocast(q.device.type, enabled=False):
        weights = torch.softmax(scores, dim=-1)
    return weights @ v


def sliced_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attention over a few rows of queries at a time.

    In fp32, each slice uses the fused kernel with its bias. In bf16, it uses two matrix products with a
    softmax in between, because processors have bf16 instructions for matrix products. With gradients, the
    scores of more than a window are recomputed in the backward pass; otherwise they would dominate the memory
    of a training step.
    """
    height, width = len(rel_h), len(rel_w)
    grid = q.unflatten(2, (height, width))
    bias_h = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h)
    bias_w = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w)
    products = q.dtype == torch.bfloat16
    if products:
        grid = grid * q.shape[-1] ** -0.5
        k, v = k.transpose(-1, -2).contiguous(), v.contiguous()
    small = height * width <= _SMALL
    rows = height if small else (_ROWS_BF16 if products else _ROWS)
    scratch = None
    if not torch.is_grad_enabled():
        # One buffer for all slices: allocating new memory takes longer than the computation.
        scratch = q.new_empty(*q.shape[:2], min(rows, height), width, height, width)
    parts = []
    for row in range(0, height, rows):
        down, across = bias_h[:, :, row : row + rows], bias_w[:, :, row : row + rows]
        queries = grid[:, :, row : row + rows].flatten(2, 3)
        buffer = None if scratch is None else scratch[:, :, : down.shape[2]]
        arguments = (queries, k, v, down, across, products, buffer)
        if buffer is not None or small:
            parts.append(_one_slice(*arguments))
        else:
            parts.append(checkpoint(_one_slice, *arguments, use_reentrant=False))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _one_slice(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias_h: Tensor,
    bias_w: Tensor,
    products: bool,
    buffer: Tensor | None,
) -> Tensor:
    """Attention of queries [B, heads, R, C] to all keys [B, heads, N, C] ([B, heads, C, N] for ``products``);
    ``buffer`` holds the bias, then the scores."""
    # Without a buffer, the sum would have a layout that needs another copy.
    bias = torch.add(bias_h.unsqueeze(-1), bias_w.unsqueeze(-2), out=buffer)
    bias = bias.reshape(*q.shape[:3], -1)
    if not products:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    if buffer is None:
        return torch.softmax(q @ k + bias, dim=-1) @ v
    scores = bias.flatten(0, 1).baddbmm_(q.flatten(0, 1), k.flatten(0, 1)).view_as(bias)
    return torch.softmax(scores, dim=-1, out=scores) @ v


def folded_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attention with the bias folded into queries and keys, for the flash kernel, which takes no bias.

    Queries are extended by their products with both tables, keys by one-hot rows and columns, so that the dot
    product includes the bias.
    """
    height, width = len(rel_h), len(rel_w)
    grid = q.unflatten(2, (height, width))
    bias_h = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h).flatten(2, 3)
    bias_w = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w).flatten(2, 3)
    wide_q = torch.cat([q * q.shape[-1] ** -0.5, bias_h, bias_w], dim=-1)
    index = torch.arange(height * width, device=q.device)
    one_hot = torch.cat([F.one_hot(index // width, height), F.one_hot(index % width, width)], -1)
    wide_k = torch.cat([k, one_hot.to(k.dtype).expand(*k.shape[:2], -1, -1)], dim=-1)
    # The flash kernel requires equal widths of q, k and v; zeros appended to v have no effect.
    wide_v = F.pad(v, (0, wide_k.shape[-1] - v.shape[-1]))
    out = F.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1.0)
    return out[..., : v.shape[-1]]
