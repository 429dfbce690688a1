"""Layers shared by the three parts of the network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# q [B, heads, N, C], k and v [B, heads, S, C], keys to attend to [B, 1, 1, S] or None, to [B, heads, N, C].
PlainAttentionFunction = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def plain_attention(q: Tensor, k: Tensor, v: Tensor, used: Tensor | None = None) -> Tensor:
    """Softmax attention without relative positions, by PyTorch's kernel for the device."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=used)


class LayerNorm2d(nn.Module):
    """Layer normalization over the channels of [B, C, H, W]."""

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation in between, as in every transformer block.

    ``dropout`` follows both layers; its ``p`` is 0 unless training sets it.
    """

    def __init__(self, width: int, hidden: int, *, activation: type[nn.Module]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation()
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.act(self.lin1(x)))
        out: Tensor = self.dropout(self.lin2(hidden))
        return out


class MLP(nn.Module):
    """``layers`` linear layers with ReLU in between, for the hypernetworks and the IoU head."""

    def __init__(self, width: int, hidden: int, out: int, *, layers: int) -> None:
        super().__init__()
        widths = [width, *[hidden] * (layers - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out
