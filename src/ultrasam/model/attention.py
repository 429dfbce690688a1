"""Attention with decomposed relative positions, without an N × N bias in memory.

The bias of query (i, j) towards key (i', j') is ``q · Rh[i - i'] + q · Rw[j - j']`` (Li et al. 2022,
"MViTv2", eq. 4; used by SAM's encoder). Being a product with the query, it can be added to the dot
product exactly, in two ways that this module chooses between by device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Rows of queries whose scores are held at once on a CPU: 256 queries × 4,096 keys × 12 heads in fp32
# are 50 MB, against 800 MB for a global block of ViT-B as a whole.
_QUERY_ROWS = 4
_QUERY_ROWS_BF16 = 2


def attend_with_positions(
    q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, *, grid: tuple[int, int]
) -> Tensor:
    """Softmax attention over a ``grid`` of tokens with decomposed relative positions.

    Three exact forms stand behind this function; all give the same result to rounding:

    - *sliced* (CPU, fp32): queries go through the fused kernel a few rows of the grid at a time, with
      the bias of those rows alone. On 2 CPU cores, for 12 heads and 4,096 tokens of width 64, the fused
      kernel takes 350 ms without any bias and 440 ms in slices with it; folding takes 950 to 1,150 ms.
    - *explicit* (CPU, bf16): slices again, but as two matrix products with a softmax between them,
      which is where processors have bf16 instructions: 230 ms against 330 ms in the fused kernel. The
      bias is written first and the product accumulated onto it.
    - *folded* (CUDA and others; CPU windows in bf16, 23 ms against 35): the query is widened by its
      products with both tables, the key by one-hot rows and columns, so that the plain dot product
      already holds the bias and the flash kernel, which takes no bias, can run. For whole images on a
      CPU the tripled width costs more than the bias.

    No form holds the N × N bias. `benchmarks/encoder.py` measures what they are for, the encoder.

    Args:
        q, k, v: [B, heads, H * W, width per head], unscaled.
        rel_pos_h, rel_pos_w: [2 H - 1, width per head] and [2 W - 1, width per head].
        grid: (H, W) of the tokens.

    Returns:
        [B, heads, H * W, width per head].
    """
    height, width = grid
    batch, heads, _, channels = q.shape
    rows = _by_offset(rel_pos_h, height)  # [H, H, C]
    columns = _by_offset(rel_pos_w, width)  # [W, W, C]
    q_grid = q.reshape(batch * heads, height, width, channels)
    bias_h = torch.einsum("bhwc,hkc->bhwk", q_grid, rows)  # [B * heads, H, W, H]
    bias_w = torch.einsum("bhwc,wkc->bhwk", q_grid, columns)  # [B * heads, H, W, W]
    bias_h = bias_h.reshape(batch, heads, height, width, height)
    bias_w = bias_w.reshape(batch, heads, height, width, width)
    small_bf16 = q.dtype == torch.bfloat16 and height * width <= 1024
    if q.device.type != "cpu" or small_bf16:
        return _folded(q, k, v, bias_h, bias_w)
    return _sliced(q, k, v, bias_h, bias_w)


def _sliced(q: Tensor, k: Tensor, v: Tensor, bias_h: Tensor, bias_w: Tensor) -> Tensor:
    """Some rows of the grid at a time, through the fused kernel or, in bf16, as two products."""
    batch, heads, height, width, _ = bias_h.shape
    tokens = height * width
    explicit = q.dtype == torch.bfloat16
    rows = height if tokens <= 1024 else (_QUERY_ROWS_BF16 if explicit else _QUERY_ROWS)
    if explicit:
        q = q * q.shape[-1] ** -0.5
        k, v = k.transpose(-1, -2).contiguous(), v.contiguous()
    room = None
    if not torch.is_grad_enabled():
        # One buffer serves all slices: fresh memory costs more than what is done with it.
        room = q.new_empty(batch, heads, min(rows, height), width, height, width)
    parts = []
    for row in range(0, height, rows):
        queries = q[:, :, row * width : (row + rows) * width]
        down, across = bias_h[:, :, row : row + rows], bias_w[:, :, row : row + rows]
        if room is not None:
            room = room[:, :, : down.shape[2]]
            parts.append(_one_slice(queries, k, v, down, across, explicit, room))
        elif tokens <= 1024:
            parts.append(_one_slice(queries, k, v, down, across, explicit))
        else:
            # Scores of a whole image, kept for the backward pass, would be most of a step's memory; to
            # compute them again costs a tenth of its time.
            arguments = (queries, k, v, down, across, explicit)
            parts.append(checkpoint(_one_slice, *arguments, use_reentrant=False))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _one_slice(
    queries: Tensor,
    k: Tensor,
    v: Tensor,
    bias_h: Tensor,
    bias_w: Tensor,
    explicit: bool,
    room: Tensor | None = None,
) -> Tensor:
    """Some rows of queries [B, heads, R, C] against all keys [B, heads, N, C], or [B, heads, C, N]
    where the products are explicit; ``room`` takes bias and scores [B, heads, R, N]."""
    # Left to itself, addition gives the sum a layout that must be copied afterwards.
    bias = torch.add(bias_h.unsqueeze(-1), bias_w.unsqueeze(-2), out=room)
    bias = bias.reshape(*queries.shape[:3], -1)
    if not explicit:
        return F.scaled_dot_product_attention(queries, k, v, attn_mask=bias)
    if room is None:
        return torch.matmul(torch.softmax(torch.matmul(queries, k) + bias, dim=-1), v)
    scores = bias.flatten(0, 1).baddbmm_(queries.flatten(0, 1), k.flatten(0, 1)).view_as(bias)
    return torch.matmul(torch.softmax(scores, dim=-1, out=scores), v)


def _folded(q: Tensor, k: Tensor, v: Tensor, bias_h: Tensor, bias_w: Tensor) -> Tensor:
    batch, heads, height, width, _ = bias_h.shape
    tokens = height * width
    wide_q = torch.cat(
        [
            q * q.shape[-1] ** -0.5,
            bias_h.reshape(batch, heads, tokens, height),
            bias_w.reshape(batch, heads, tokens, width),
        ],
        dim=-1,
    )
    index = torch.arange(tokens, device=q.device)
    one_hot = torch.cat(
        [F.one_hot(index // width, height), F.one_hot(index % width, width)], dim=-1
    ).to(k.dtype)
    wide_k = torch.cat([k, one_hot.expand(batch, heads, -1, -1)], dim=-1)
    if q.device.type == "cpu":
        scores = torch.matmul(wide_q, wide_k.transpose(-1, -2))
        room = None if torch.is_grad_enabled() else scores
        return torch.matmul(torch.softmax(scores, dim=-1, out=room), v)
    # The flash kernel wants one width for q, k and v; zeros appended to v add nothing.
    wide_v = F.pad(v, (0, wide_k.shape[-1] - v.shape[-1]))
    out = F.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1.0)
    return out[..., : v.shape[-1]]


def _by_offset(table: Tensor, length: int) -> Tensor:
    """A table of 2 * length - 1 offsets [offsets, C] as [query, key, C]."""
    index = torch.arange(length, device=table.device)
    return table[index[:, None] - index[None, :] + length - 1]
