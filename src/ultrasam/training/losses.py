"""Mask losses of the paper (arXiv 2411.16222, 3.3): focal and Dice; and the true IoU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017), mean over pixels.

    Args:
        logits: [..., H, W].
        targets: same shape, coverage in [0, 1].

    Returns:
        [...].
    """
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    miss = probability + targets - 2 * probability * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * miss**gamma * plain).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, targets: Tensor, *, eps: float = 1.0) -> Tensor:
    """1 - soft Dice (Milletari et al. 2016, squared denominator), [..., H, W] to [...]."""
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(dim=(-2, -1))
    total = (probability.square() + targets.square()).sum(dim=(-2, -1))
    return 1 - (2 * overlap + eps) / (total + eps)


@torch.no_grad()
def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of thresholded logits and targets, [..., H, W] to [...]; 1 if both are empty."""
    mask, truth = logits > 0, targets > 0.5
    overlap = (mask & truth).sum(dim=(-2, -1)).float()
    union = (mask | truth).sum(dim=(-2, -1)).float()
    return torch.where(union > 0, overlap / union.clamp(min=1), torch.ones_like(union))
