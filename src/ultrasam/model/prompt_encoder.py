"""The prompt encoder: points, boxes and masks to tokens and a dense embedding (SAM, appendix A).

A batch holds N prompts with the same number of point slots. Empty slots are ``UNUSED``; attention masks them
out, so they do not change the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import LayerNorm2d
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT, UNUSED, PromptArrays


@dataclass(frozen=True, slots=True)
class PromptTensors:
    """N prompts in model pixels: the tensor version of `ultrasam.prompts.PromptArrays`, same attributes.

    ``masks`` are [N, 1, mask_size, mask_size] logits.
    """

    coords: Tensor
    labels: Tensor
    masks: Tensor | None = None
    has_mask: Tensor | None = None

    def __len__(self) -> int:
        return self.coords.shape[0]

    def __getitem__(self, index: slice | Tensor) -> PromptTensors:
        return PromptTensors(
            self.coords[index],
            self.labels[index],
            None if self.masks is None else self.masks[index],
            None if self.has_mask is None else self.has_mask[index],
        )

    @classmethod
    def from_arrays(cls, prompts: PromptArrays) -> PromptTensors:
        """Convert prompts to tensors on the CPU."""
        masks, has_mask = prompts.masks, prompts.has_mask
        return cls(
            torch.from_numpy(prompts.coords),
            torch.from_numpy(prompts.labels),
            None if masks is None else torch.from_numpy(masks),
            None if has_mask is None else torch.from_numpy(has_mask),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> PromptTensors:
        return replace(
            self,
            coords=self.coords.to(device, dtype),
            labels=self.labels.to(device),
            masks=None if self.masks is None else self.masks.to(device, dtype),
            has_mask=None if self.has_mask is None else self.has_mask.to(device),
        )


class EncodedPrompts(NamedTuple):
    """N prompts as the mask decoder's input.

    Attributes:
        tokens: [N, T, C] sparse embeddings.
        unused: [N, T] bool, tokens to ignore.
        dense: [N, C, H, W], or [1, C, 1, 1] if no prompt has a mask.
        maps: [N, 3, mask_size, mask_size] for a model with prompt maps, else None.
    """

    tokens: Tensor
    unused: Tensor
    dense: Tensor
    maps: Tensor | None


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of positions in the unit square (Tancik et al. 2020)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        matrix = nn.init.normal_(torch.empty(2, features))
        self.register_buffer("positional_encoding_gaussian_matrix", matrix)
        self.positional_encoding_gaussian_matrix: Tensor

    def forward(self, coords: Tensor) -> Tensor:
        """[..., 2] in [0, 1] to [..., 2 * features]."""
        # Angles reach hundreds of radians, beyond the resolution of bfloat16. Elementwise products stay in
        # float32 under autocast; a matrix product would not.
        x, y = (2 * coords.float() - 1).unsqueeze(-2).unbind(-1)  # [..., 1] both
        by_x, by_y = self.positional_encoding_gaussian_matrix.float()
        angles = 2 * math.pi * (x * by_x + y * by_y)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """``forward(prompts: PromptTensors) -> EncodedPrompts``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.config = config
        self.pe_layer = PositionEmbeddingRandom(width // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.no_mask_embed = nn.Embedding(1, width)
        first, second = config.mask_prompt_channels
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(3 if config.prompt_maps else 1, first, 2, stride=2),
            LayerNorm2d(first),
            nn.GELU(),
            nn.Conv2d(first, second, 2, stride=2),
            LayerNorm2d(second),
            nn.GELU(),
            nn.Conv2d(second, width, 1),
        )

    def forward(self, prompts: PromptTensors) -> EncodedPrompts:
        tokens = self._embed_points(prompts.coords, prompts.labels)
        unused = prompts.labels == UNUSED
        if self.config.prompt_maps:
            maps = self._rasterize(prompts).to(tokens.dtype)
            return EncodedPrompts(tokens, unused, self.mask_downscaling(maps), maps)
        dense = self.no_mask_embed.weight.view(1, -1, 1, 1)
        if prompts.masks is not None:
            embedded = self.mask_downscaling(prompts.masks)
            if prompts.has_mask is None:
                dense = embedded
            else:
                dense = torch.where(prompts.has_mask.view(-1, 1, 1, 1), embedded, dense)
        return EncodedPrompts(tokens, unused, dense, None)

    def get_dense_pe(self) -> Tensor:
        """Positional encoding of the embedding's tokens, [H * W, C]."""
        grid = self.config.grid
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        axis = (torch.arange(grid, device=matrix.device, dtype=torch.float32) + 0.5) / grid
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        positions: Tensor = self.pe_layer(torch.stack([x, y], dim=-1)).view(grid * grid, -1)
        return positions.to(self.no_mask_embed.weight.dtype)

    def _embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Tokens [N, K, C] from coordinates [N, K, 2] and labels [N, K]."""
        points = [cast(nn.Embedding, point).weight for point in self.point_embeddings]
        table = torch.cat([self.not_a_point_embed.weight, *points])
        # rows: not a point, background, foreground, top-left, bottom-right
        positions: Tensor = self.pe_layer(coords / self.config.image_size)
        positions = positions * (labels >= 0).unsqueeze(-1)
        tokens: Tensor = F.embedding(labels.clamp(min=-1) + 1, table)
        return tokens + positions.to(table.dtype)

    def _rasterize(self, prompts: PromptTensors) -> Tensor:
        """Mask logits, boxes and clicks as three images [N, 3, mask_size, mask_size].

        - Mask logits are scaled to ± 2; without a mask, 0.
        - A box is a smooth bump whose zero level is the largest ellipse in the box, the best guess at an
        object
          given only its box; without a box, -1.
        - Clicks are Gaussians with a standard deviation of 3 % of the input, + 1 foreground, - 1 background.
        """
        size, side = self.config.mask_size, self.config.image_size
        coords, labels = prompts.coords.float(), prompts.labels
        axis = (torch.arange(size, device=coords.device, dtype=torch.float32) + 0.5) * (side / size)

        if prompts.masks is None:
            mask = coords.new_zeros(len(prompts), size, size)
        else:
            mask = prompts.masks[:, 0].float().clamp(-8, 8) / 4
            if prompts.has_mask is not None:
                mask = mask * prompts.has_mask.view(-1, 1, 1)

        low = _corner(coords, labels == TOP_LEFT)  # [N, 2]
        high = _corner(coords, labels == BOTTOM_RIGHT)
        has_box = (labels == TOP_LEFT).any(dim=1).view(-1, 1, 1)
        center, radius = (low + high) / 2, ((high - low) / 2).clamp(min=1.0)
        u = (axis - center[:, :1]) / radius[:, :1]  # [N, size]
        v = (axis - center[:, 1:]) / radius[:, 1:]
        bump = 1 - (u.square()[:, None, :] + v.square()[:, :, None])
        box = torch.where(has_box, bump.clamp(-1, 1), bump.new_tensor(-1.0))

        spread = 2 * (0.03 * side) ** 2
        gx = torch.exp(-((axis - coords[..., :1]).square()) / spread)  # [N, K, size]
        gy = torch.exp(-((axis - coords[..., 1:]).square()) / spread)
        sign = (labels == FOREGROUND).float() - (labels == BACKGROUND).float()
        clicks = torch.einsum("nky,nkx->nyx", gy * sign.unsqueeze(-1), gx).clamp(-1, 1)
        return torch.stack([mask, box, clicks], dim=1)


def _corner(coords: Tensor, selected: Tensor) -> Tensor:
    """The coordinates [N, 2] of each prompt's selected slot, or 0."""
    return (coords * selected.unsqueeze(-1)).sum(dim=1)
