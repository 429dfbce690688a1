"""AdamW over groups of parameters, and the learning rate's course."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from ultrasam.model.ultrasam import UltraSam
from ultrasam.training.recipe import Optimiser
from ultrasam.weights.adapters import layer_scales


def configure(model: UltraSam, settings: Optimiser, steps: int) -> dict[str, Any]:
    """An optimiser of what is trained and its schedule, as Lightning wants them."""
    optimiser = torch.optim.AdamW(
        parameter_groups(model, settings), lr=settings.lr, betas=settings.betas
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: rate_factor(step, steps, settings)
    )
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(model: UltraSam, settings: Optimiser) -> list[dict[str, Any]]:
    """Trained parameters by weight decay (none on vectors, unless asked for) and learning rate."""
    scales = layer_scales(model, settings.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 or settings.decay_vectors
            decay = settings.weight_decay if decayed else 0.0
            groups[decay, scales[name]].append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr": settings.lr * scale}
        for (decay, scale), parameters in groups.items()
    ]


def rate_factor(step: int, steps: int, settings: Optimiser) -> float:
    """The learning rate at a step over its full value; see `ultrasam.training.recipe.Optimiser`."""
    warm = 1.0
    if step < settings.warmup_steps:
        start = settings.warmup_start or 1 / settings.warmup_steps
        warm = start + (1 - start) * step / max(1, settings.warmup_steps - 1)
    if settings.schedule == "steps":
        passed = sum(step >= round(share * steps) for share in settings.milestones)
        return float(warm * settings.gamma**passed)
    left = (steps - step) / max(1.0, steps * settings.decay_share)
    return float(warm * min(1.0, max(0.0, left)))
