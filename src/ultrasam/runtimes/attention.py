"""Attention with relative positions that never holds an N × N bias: forms of
`ultrasam.model.image_encoder.attention_with_relative_positions`, equal to rounding.

The plain form holds a bias and scores of [heads, N, N]: 1.6 GB for a global block of a ViT-B at 1024 px.
`benchmarks/encoder.py` measures what these are for.
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

# Rows of the grid whose scores are held at once: 256 queries × 4,096 keys × 12 heads in fp32 are 50 MB.
_ROWS, _ROWS_BF16 = 4, 2
_SMALL = 1024  # tokens, such as a window's, whose scores are held as a whole


def set_attention(module: nn.Module, device: str) -> None:
    """Give all image encoders in a module the attention that suits a device: slices on a CPU, the flash
    kernel's on a GPU.

    Numbers change by rounding alone. Called again, it changes the form again.
    """
    function = attention_for(device)
    for part in module.modules():
        if isinstance(part, Attention):
            part.attention_function = function


def attention_for(device: str) -> AttentionFunction:
    """The form for a torch device, such as ``cpu`` or ``cuda:1``."""
    if device.startswith("cpu"):
        return sliced_attention
    return folded_attention if device.startswith("cuda") else attention_with_relative_positions


def sliced_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Some rows of queries at a time against all keys.

    In fp32 each slice goes through the fused kernel with its bias. In bf16 it is two matrix products with a
    softmax between them, the first accumulated onto the bias: that is where processors have bf16
    instructions.
    With gradients, scores of more than a window are computed again in the backward pass: they would be most
    of a training step's memory.
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
    room = None
    if not torch.is_grad_enabled():
        # One buffer serves all slices: fresh memory costs more than what is done with it.
        room = q.new_empty(*q.shape[:2], min(rows, height), width, height, width)
    parts = []
    for row in range(0, height, rows):
        down, across = bias_h[:, :, row : row + rows], bias_w[:, :, row : row + rows]
        queries = grid[:, :, row : row + rows].flatten(2, 3)
        buffer = None if room is None else room[:, :, : down.shape[2]]
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
    """Queries [B, heads, R, C] against all keys [B, heads, N, C] ([B, heads, C, N] for ``products``);
    ``buffer`` takes the bias and then the scores."""
    # Left to itself, addition gives the sum a layout that must be copied afterwards.
    bias = torch.add(bias_h.unsqueeze(-1), bias_w.unsqueeze(-2), out=buffer)
    bias = bias.reshape(*q.shape[:3], -1)
    if not products:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    if buffer is None:
        return torch.softmax(q @ k + bias, dim=-1) @ v
    scores = bias.flatten(0, 1).baddbmm_(q.flatten(0, 1), k.flatten(0, 1)).view_as(bias)
    return torch.softmax(scores, dim=-1, out=scores) @ v


def folded_attention(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """The query widened by its products with both tables and the key by one-hot rows and columns, so that the
    plain dot product holds the bias and the flash kernel, which takes no bias, can run."""
    height, width = len(rel_h), len(rel_w)
    grid = q.unflatten(2, (height, width))
    bias_h = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h).flatten(2, 3)
    bias_w = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w).flatten(2, 3)
    wide_q = torch.cat([q * q.shape[-1] ** -0.5, bias_h, bias_w], dim=-1)
    index = torch.arange(height * width, device=q.device)
    one_hot = torch.cat([F.one_hot(index // width, height), F.one_hot(index % width, width)], -1)
    wide_k = torch.cat([k, one_hot.to(k.dtype).expand(*k.shape[:2], -1, -1)], dim=-1)
    # The flash kernel wants one width for q, k and v; zeros appended to v add nothing.
    wide_v = F.pad(v, (0, wide_k.shape[-1] - v.shape[-1]))
    out = F.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1.0)
    return out[..., : v.shape[-1]]
