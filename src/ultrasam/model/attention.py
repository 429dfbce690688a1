"""Attention with decomposed relative positions, without an N × N bias in memory.

The bias of query (i, j) towards key (i', j') is ``q · Rh[i - i'] + q · Rw[j - j']`` (Li et al. 2022,
"MViTv2", eq. 4; used by SAM's encoder). Being a product with the query, it can be added to the dot
product exactly, in two ways that this module chooses between by device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of queries that one slice of the bias covers on a CPU: 256 queries × 4,096 keys × 12 heads in
# fp32 are 50 MB, against 800 MB for the whole bias of a global block of ViT-B.
_QUERY_ROWS = 4


def attend_with_positions(
    q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, *, grid: tuple[int, int]
) -> Tensor:
    """Softmax attention over a ``grid`` of tokens with decomposed relative positions.

    Two exact forms stand behind this function; both give the same result to rounding:

    - *sliced* (CPU): queries go through the fused kernel a few rows of the grid at a time, with the
      bias of those rows alone. On 2 CPU cores, 12 heads, 4,096 tokens of width 64, the whole bias
      takes 556 ms and 800 MB, folding takes 1,347 ms, slices take the time of the first at a
      sixteenth of its memory (`benchmarks/encoder.py` measures what counts: the encoder).
    - *folded* (CUDA and others): the query is widened by its products with both tables, the key by
      one-hot rows and columns, so that the plain dot product already holds the bias and the flash
      kernel, which takes no bias, can run. On a CPU the tripled width costs more than the bias.

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
    if q.device.type == "cpu":
        return _sliced(q, k, v, bias_h, bias_w)
    return _folded(q, k, v, bias_h, bias_w)


def _sliced(q: Tensor, k: Tensor, v: Tensor, bias_h: Tensor, bias_w: Tensor) -> Tensor:
    batch, heads, height, width, _ = bias_h.shape
    step = height if height * width <= 1024 else _QUERY_ROWS
    parts = []
    for row in range(0, height, step):
        rows = slice(row, row + step)
        bias = bias_h[:, :, rows, :, :, None] + bias_w[:, :, rows, :, None, :]
        bias = bias.reshape(batch, heads, -1, height * width)  # [B, heads, step * W, H * W]
        queries = q[:, :, row * width : (row + step) * width]
        parts.append(F.scaled_dot_product_attention(queries, k, v, attn_mask=bias))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


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
    # The flash kernel wants one width for q, k and v; zeros appended to v add nothing.
    wide_v = F.pad(v, (0, wide_k.shape[-1] - v.shape[-1]))
    out = F.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1.0)
    return out[..., : v.shape[-1]]


def _by_offset(table: Tensor, length: int) -> Tensor:
    """A table of 2 * length - 1 offsets [offsets, C] as [query, key, C]."""
    index = torch.arange(length, device=table.device)
    return table[index[:, None] - index[None, :] + length - 1]
