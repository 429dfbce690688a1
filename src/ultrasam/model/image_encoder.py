"""The image encoder: a plain ViT with windowed and global attention, and a neck (SAM, appendix A).

Tokens are [B, H, W, C] from the patch embedding to the neck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import (
    LayerNorm2d,
    MLPBlock,
    PlainAttentionFunction,
    plain_attention,
)

# q, k, v [B, heads, H * W, C], positions of rows [H, H, C] and columns [W, W, C] to [B, heads, H * W, C].
AttentionFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
BlockFunction = Callable[[nn.Module, Tensor], Tensor]


class ImageEncoder(nn.Module):
    """Encodes normalized RGB pixels as an image embedding.

    ``forward(pixels)`` takes [B, 3, S, S] (S = ``config.image_size``) and returns the embedding
    [B, decoder_width, S / patch, S / patch] and the stem's features at strides 4 and 8 (an empty tuple
    without ``config.high_res_features``). ``block_function`` runs each block; training can replace it with
    one that stores no activations (`ultrasam.runtimes.checkpointing`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        stem = ConvStem if config.stem == "conv" else PatchEmbed
        self.high_res_features = config.high_res_features
        self.block_function: BlockFunction = run_block
        self.patch_embed = stem(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(config, window=0 if index in config.global_blocks else config.window)
            for index in range(config.depth)
        )
        out = config.decoder_width
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        tokens, high_res = self.forward_features(pixels)
        return self.neck(tokens.permute(0, 3, 1, 2)), high_res

    def forward_features(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens before the neck [B, H, W, C], and the stem's features as in ``forward``."""
        x, high_res = self.patch_embed(pixels)
        x = x + self.pos_embed
        for block in self.blocks:
            x = self.block_function(block, x)
        return x, high_res if self.high_res_features else ()

    def features(self, pixels: Tensor, blocks: Sequence[int] | None = None) -> list[Tensor]:
        """Tokens before the neck, [B, H, W, C], after each of ``blocks`` (by default, the last).

        Pixels [B, 3, h, w] may have any size in whole patches; position embeddings are interpolated
        (Dosovitskiy et al. 2021, 3.2).
        """
        x, _ = self.patch_embed(pixels)
        x = x + self._positions(x.shape[1], x.shape[2])
        selected = [len(self.blocks) - 1] if blocks is None else list(blocks)
        features = {}
        for index, block in enumerate(self.blocks):
            x = self.block_function(block, x)
            if index in selected:
                features[index] = x
        return [features[index] for index in selected]

    def _positions(self, height: int, width: int) -> Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        grid = self.pos_embed.permute(0, 3, 1, 2)
        resized = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)


def run_block(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block on tokens [B, H, W, C]."""
    return cast(Tensor, block(x))


class PatchEmbed(nn.Module):
    """Linear embedding of non-overlapping patches."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_size, config.patch_size)

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.proj(pixels).permute(0, 2, 3, 1).contiguous(), ()  # [B, H, W, C]


class ConvStem(nn.Module):
    """Four 3 × 3 convolutions of stride 2; also returns the features at strides 4 and 8."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.patch_size != 16:
            raise ValueError("the conv stem requires patch_size 16")
        widths = [3, *(config.width // divisor for divisor in (8, 4, 2)), config.width]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths[2:4])

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = F.gelu(self.convs[0](pixels))
        stride4 = F.gelu(self.norms[0](self.convs[1](x)))
        stride8 = F.gelu(self.norms[1](self.convs[2](stride4)))
        return self.convs[3](stride8).permute(0, 2, 3, 1).contiguous(), (stride4, stride8)


class Block(nn.Module):
    """Attention (global, or in windows of ``window`` tokens) and an MLP, each with a residual connection."""

    def __init__(self, config: ModelConfig, *, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config, size=window or config.grid)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, config.mlp_width, activation=nn.GELU)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        x = x + attend(self.attn, self.norm1(x), self.window)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def attend(attention: nn.Module, x: Tensor, window: int) -> Tensor:
    """Attention over normalized tokens [B, H, W, C], in windows of ``window`` tokens; 0 is global."""
    if not window:
        return cast(Tensor, attention(x))
    windows = window_partition(x, window)
    return window_unpartition(attention(windows), window, (x.shape[1], x.shape[2]))


class Attention(nn.Module):
    """Multi-head self-attention over a grid of tokens [B, H, W, C].

    ``attention_function`` computes attention from q, k, v and relative positions, ``plain_function`` without
    relative positions; `ultrasam.runtimes` has equivalent functions that need less memory or time.
    """

    def __init__(self, config: ModelConfig, *, size: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.relative_positions = config.relative_positions
        self.attention_function: AttentionFunction = attention_with_relative_positions
        self.plain_function: PlainAttentionFunction = plain_attention
        if config.relative_positions:
            channels = config.width // config.heads
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, channels))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, N, C / heads]
        if self.relative_positions:
            rows, columns = get_rel_pos(height, self.rel_pos_h), get_rel_pos(width, self.rel_pos_w)
            out = self.attention_function(q, k, v, rows, columns)
        else:
            out = self.plain_function(q, k, v, None)
        return cast(Tensor, self.proj(out.transpose(1, 2).reshape(batch, height, width, -1)))


def attention_with_relative_positions(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor
) -> Tensor:
    """Softmax attention with decomposed relative positions (Li et al. 2022, "MViTv2", eq. 4; as in SAM).

    The bias of query (i, j) and key (i', j') is ``q · rel_h[i, i'] + q · rel_w[j, j']``.

    Args:
        q, k, v: [B, heads, H * W, C], unscaled.
        rel_h, rel_w: [H, H, C] and [W, W, C].

    Returns:
        [B, heads, H * W, C].
    """
    grid = q.unflatten(2, (len(rel_h), len(rel_w)))
    bias_h = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h)  # [B, heads, H, W, H]
    bias_w = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w)  # [B, heads, H, W, W]
    bias = bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)  # [B, heads, H, W, H, W]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(4).flatten(2, 3))


def get_rel_pos(size: int, table: Tensor) -> Tensor:
    """Expand a table of relative positions [2 S - 1, C] to [query, key, C] for ``size`` tokens.

    If S differs from ``size``, the table is interpolated linearly, as in SAM's code.
    """
    length = 2 * size - 1
    if len(table) != length:
        table = F.interpolate(table.t()[None], length, mode="linear")[0].t()
    index = torch.arange(size, device=table.device)
    return table[index[:, None] - index[None, :] + size - 1]


def window_partition(x: Tensor, window: int) -> Tensor:
    """Split tokens [B, H, W, C], zero-padded at the bottom and right, into [B * windows, window, window,
    C]."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.view(batch, rows, window, columns, window, channels).transpose(2, 3)
    return x.reshape(-1, window, window, channels)


def window_unpartition(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """Merge windows [B * windows, window, window, C] into tokens [B, H, W, C] of ``size`` (H, W)."""
    height, width = size
    rows, columns = -(-height // window), -(-width // window)
    x = windows.view(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    x = x.reshape(-1, rows * window, columns * window, windows.shape[-1])
    return x[:, :height, :width]
