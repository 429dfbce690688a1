"""The mask-quality head: rate each mask by what lies inside it, along its border and around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig

_RING = 7  # side in low-res pixels of the neighborhood that counts as around a mask
_SHAPE_FEATURES = 5
_OBJECT_BIAS = 3.0  # before training, 95 % of prompts are taken to mean an object


class MaskQuality(nn.Module):
    """Estimates how much better or worse each mask is than its mask token tells, and whether there is an
    object at all.

    SAM's IoU head sees only a token, and learns which token is right on average more than which mask is right
    in this image. This head sees the mask: features are averaged inside it, along its border and in a ring
    around it (as Huang et al. 2019, "Mask Scoring R-CNN", rate a mask with its features).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, fine = config.decoder_width, config.upscale_channels[1]
        maps = 3 if config.prompt_maps else 0
        inputs = 2 * width + 2 * width + 3 * (fine + maps) + _SHAPE_FEATURES
        self.norm = nn.LayerNorm(inputs)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width // 2), nn.GELU()
        )
        self.out = nn.Linear(width // 2, 2)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([0.0, _OBJECT_BIAS]))

    def forward(
        self,
        iou_token: Tensor,
        mask_tokens: Tensor,
        image: Tensor,
        masks: Tensor,
        upscaled: Tensor,
        maps: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Rate N × M masks.

        Args:
            iou_token, mask_tokens: [N, C] and [N, M, C] after the transformer.
            image: [N, C, H, W] after the transformer.
            masks: low-res logits [N, M, h, w]; no gradient flows into them.
            upscaled: [N, F, h, w], the features whose products with the tokens are the masks.
            maps: [N, 3, h, w], rasterized prompts, for a model that has them.

        Returns:
            What to add to the predicted IoU [N, M], and logits [N, M] of there being an object.
        """
        logits = masks.detach().float()
        inside = logits.sigmoid()
        border = 4 * inside * (1 - inside)
        features = upscaled if maps is None else torch.cat([upscaled, maps.to(upscaled)], dim=1)
        token_size = (image.shape[-2], image.shape[-1])
        coarse = F.adaptive_avg_pool2d(inside, token_size)
        described = [
            iou_token.unsqueeze(1).expand_as(mask_tokens),
            mask_tokens,
            _mean_in(coarse, image),
            _mean_in(_around(coarse, 3), image),
            *(_mean_in(part, features) for part in (inside, border, _around(inside, _RING))),
            _shape(logits, inside, border).to(mask_tokens),
        ]
        delta, present = self.out(self.layers(self.norm(torch.cat(described, dim=-1)))).unbind(-1)
        return delta, present


def _around(inside: Tensor, side: int) -> Tensor:
    """Weights [N, M, h, w] of a ring around a mask, from its probabilities."""
    near = F.avg_pool2d(inside, side, stride=1, padding=side // 2)
    return near * (1 - inside)


def _mean_in(weight: Tensor, features: Tensor) -> Tensor:
    """Mean [N, M, F] of features [N, F, h, w] under weights [N, M, h, w]."""
    weight = weight / (weight.sum(dim=(-2, -1), keepdim=True) + 1.0)
    flat = weight.to(features).flatten(2)
    return flat @ features.flatten(2).transpose(1, 2)


def _shape(logits: Tensor, inside: Tensor, border: Tensor) -> Tensor:
    """Size, compactness, stability and certainty of each mask, [N, M, 5]."""
    area = inside.mean(dim=(-2, -1))
    edge = border.mean(dim=(-2, -1))
    low, high = ((logits + s).sigmoid().mean(dim=(-2, -1)) for s in (-1.0, 1.0))
    certain = (logits.abs().clamp(max=10) * inside).mean(dim=(-2, -1)) / (area + 1e-4)
    values = [
        (area + 1e-4).log(),
        edge / (area + 1e-4).sqrt(),
        low / (high + 1e-4),
        certain / 5,
        (logits > 0).flatten(2).any(dim=2).float(),
    ]
    return torch.stack(values, dim=-1)
