"""Small layers that the three parts of the network share."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of [B, C, H, W]."""

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.channels_last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def channels_last(self, x: Tensor) -> Tensor:
        """The same over the last dimension of [..., C]."""
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


# Tokens of which the hidden layer is held at once without gradients: 1,024 × 3,072 in fp32 are 12 MB,
# which stay in a processor's cache between the three steps.
_TOKENS_AT_ONCE = 1024

# Tokens, such as those of four prompts, for which a product is bound by reading the weight: shared out
# among threads by parts of the weight it takes three fifths of the time.
_FEW = 32
_PARTS = 8


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them, as in every transformer block."""

    def __init__(self, width: int, hidden: int, *, activation: type[nn.Module]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation()
        self.dropout = 0.0  # after the activation and at the end, while training

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.device.type != "cpu" or x.numel() < 2**21:
            hidden = self.act(_linear(x, self.lin1))
            if self.dropout and self.training:
                return F.dropout(self.lin2(F.dropout(hidden, self.dropout)), self.dropout)
            return _linear(hidden, self.lin2)
        tokens = x.flatten(0, -2)
        parts = [self.lin2(self.act(self.lin1(part))) for part in tokens.split(_TOKENS_AT_ONCE)]
        return torch.cat(parts).view(x.shape)


def _linear(x: Tensor, linear: nn.Linear) -> Tensor:
    """``linear(x)``; few rows on a CPU without gradients by parts of the output."""
    few = x.shape[:-1].numel() <= _FEW and x.device.type == "cpu" and not torch.is_grad_enabled()
    plain = type(linear) is nn.Linear  # and not one with low-rank updates, which adds to it
    if not few or not plain or linear.out_features % _PARTS:
        return linear(x)  # type: ignore[no-any-return]
    weight = linear.weight.view(_PARTS, -1, linear.in_features).mT
    bias = linear.bias.view(_PARTS, 1, -1)
    rows = x.reshape(1, -1, linear.in_features).expand(_PARTS, -1, -1)
    out = torch.baddbmm(bias, rows, weight)  # [parts, rows, out / parts]
    return out.transpose(0, 1).reshape(*x.shape[:-1], -1)


class MLP(nn.Module):
    """``layers`` linear layers with ReLU between them: hypernetworks and the IoU head."""

    def __init__(self, width: int, hidden: int, out: int, *, layers: int) -> None:
        super().__init__()
        widths = [width, *[hidden] * (layers - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out
