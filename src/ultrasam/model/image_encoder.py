"""The image encoder: a plain ViT with windowed and global attention, and a neck (SAM, appendix A).

Tokens stay channels-last, [B, H, W, C], in memory too, from the patch embedding to the neck.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultrasam.model.attention import attend_with_positions
from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import LayerNorm2d, MLPBlock

Ints = NDArray[np.int64]

# Of 14 × 14 tokens, for which a CPU holds scores at once without gradients: 5 windows × 12 heads ×
# 196 × 196 in bf16 are 4.6 MB. Fresh memory for all 25 costs as much as what is done with it.
_WINDOWS_AT_ONCE = 5


class ImageEncoder(nn.Module):
    """Normalised RGB pixels to an image embedding.

    ``forward(pixels)`` takes [B, 3, S, S] (S = ``config.image_size``) and returns the embedding
    [B, decoder_width, S / patch, S / patch] and, with ``config.fine_features``, the stem's features
    at stride 4 and 8 (otherwise an empty tuple).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        stem = ConvStem if config.stem == "conv" else PatchEmbed
        self.fine_features = config.fine_features
        self.checkpointing = False  # trade a second forward pass for the blocks' activations
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
        x, fine = self.patch_embed(pixels)
        x = x + self.pos_embed  # [B, H, W, C]
        for block in self.blocks:
            x = self._through(block, x)
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))  # [B, decoder_width, H, W]
        return embedding, fine if self.fine_features else ()

    def features(self, pixels: Tensor, blocks: Sequence[int] | None = None) -> list[Tensor]:
        """Tokens before the neck, [B, H, W, C] after each of ``blocks`` (the last where None).

        Pixels [B, 3, h, w] may have any size in whole patches: learned positions are interpolated
        (arXiv 2411.16222 fine-tunes at 1024 px; Dosovitskiy et al. 2021, 3.2, for the interpolation).
        """
        x, _ = self.patch_embed(pixels)
        x = x + self._positions(x.shape[1], x.shape[2])
        wanted = [len(self.blocks) - 1] if blocks is None else list(blocks)
        found = {}
        for index, block in enumerate(self.blocks):
            x = self._through(block, x)
            if index in wanted:
                found[index] = x
        return [found[index] for index in wanted]

    def _through(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, x, use_reentrant=False))
        return cast(Tensor, block(x))

    def _positions(self, height: int, width: int) -> Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        grid = self.pos_embed.permute(0, 3, 1, 2)
        resized = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """Non-overlapping patches through one linear map."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_size, config.patch_size)

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.proj(pixels).permute(0, 2, 3, 1).contiguous(), ()  # [B, H, W, C]


class ConvStem(nn.Module):
    """Four 3 × 3 convolutions of stride 2; also gives the features at stride 4 and 8."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.patch_size != 16:
            raise ValueError("the conv stem has a stride of 16")
        widths = [3, *(config.width // divisor for divisor in (8, 4, 2)), config.width]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths[2:4])

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = pixels.contiguous(memory_format=torch.channels_last)
        x = F.gelu(self.convs[0](x))
        stride4 = F.gelu(self.norms[0](self.convs[1](x)))
        stride8 = F.gelu(self.norms[1](self.convs[2](stride4)))
        return self.convs[3](stride8).permute(0, 2, 3, 1).contiguous(), (stride4, stride8)


class Block(nn.Module):
    """Attention (global, or in windows of ``window`` tokens), then an MLP, each with a residual."""

    def __init__(self, config: ModelConfig, *, window: int) -> None:
        super().__init__()
        size = window or config.grid
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config, size=size)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, config.mlp_width, activation=nn.GELU)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), window=self.window)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Attention(nn.Module):
    """Multi-head self-attention over a grid of tokens [B, H, W, C], whole or in windows."""

    def __init__(self, config: ModelConfig, *, size: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.relative_positions = config.relative_positions
        if config.relative_positions:
            channels = config.width // config.heads
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, channels))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, channels))

    def forward(self, x: Tensor, *, window: int) -> Tensor:
        batch, height, width, channels = x.shape
        if not window:
            out = self._attend(self.qkv(x))
            return self.proj(out)  # type: ignore[no-any-return]
        # SAM pads the normalised tokens with zeros before the projection: one token of zeros stands for
        # all of them, and is copied to its places with the others when windows are made.
        order, back = (
            torch.from_numpy(index).to(x.device) for index in _window_order(height, width, window)
        )
        tokens = F.pad(x.flatten(1, 2), (0, 0, 0, 1))  # [B, H * W + 1, C]
        qkv = self.qkv(tokens)
        apart = x.device.type == "cpu" and not torch.is_grad_enabled()
        parts = []
        for places in order.split(_WINDOWS_AT_ONCE * window**2 if apart else len(order)):
            some = qkv.index_select(1, places).view(-1, window, window, 3 * channels)
            parts.append(self._attend(some).view(batch, -1, channels))
        out = torch.cat(parts, dim=1).index_select(1, back)
        return self.proj(out).view(x.shape)  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor) -> Tensor:
        """[B, H, W, 3 C] to [B, H, W, C]."""
        batch, height, width, channels = qkv.shape
        qkv = qkv.view(batch, height * width, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, N, C / heads]
        if self.relative_positions:
            rows, columns = _for_side(self.rel_pos_h, height), _for_side(self.rel_pos_w, width)
            out = attend_with_positions(q, k, v, rows, columns, grid=(height, width))
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(batch, height, width, channels // 3)


@lru_cache(maxsize=8)
def _window_order(height: int, width: int, window: int) -> tuple[Ints, Ints]:
    """Which token of a grid is at each place of its windows, [windows * window²], with H * W for
    padding; and at which place each token is, [H * W]."""
    tokens = np.arange(height * width).reshape(height, width)
    padding = ((0, -height % window), (0, -width % window))
    padded = np.pad(tokens, padding, constant_values=tokens.size)
    rows, columns = padded.shape[0] // window, padded.shape[1] // window
    order = padded.reshape(rows, window, columns, window).swapaxes(1, 2).reshape(-1)
    return order, order.argsort()[: tokens.size]


def _for_side(table: Tensor, side: int) -> Tensor:
    """Relative positions [2 S - 1, C] of another side, interpolated linearly as in SAM's code."""
    length = 2 * side - 1
    if len(table) == length:
        return table
    return F.interpolate(table.t()[None], length, mode="linear")[0].t()
