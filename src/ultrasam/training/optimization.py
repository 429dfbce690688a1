"""AdamW with parameter groups, and the learning-rate schedule."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from ultrasam.training.run_settings import OptimizerSettings
from ultrasam.weights.adapters import layer_scales


def configure(
    module: nn.Module, settings: OptimizerSettings, steps: int, *, encoder: str
) -> dict[str, Any]:
    """Optimizer and schedule for all trained parameters, in Lightning's format.

    Args:
        encoder: name prefix of the image encoder's parameters.
    """
    optimizer = torch.optim.AdamW(
        parameter_groups(module, settings, encoder=encoder), lr=settings.lr, betas=settings.betas
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, steps, settings)
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(
    module: nn.Module, settings: OptimizerSettings, *, encoder: str
) -> list[dict[str, Any]]:
    """Group the trained parameters by learning rate and weight decay.

    Norms, biases and embeddings get no weight decay unless ``decay_vectors`` is set. The encoder has its own
    learning rate (``encoder_lr``), which decreases towards its input (``layer_decay``).
    """
    embeddings = {
        id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    scales = layer_scales(module, encoder, settings.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            vector = parameter.ndim < 2 or id(parameter) in embeddings
            decay = settings.weight_decay if settings.decay_vectors or not vector else 0.0
            factor = settings.encoder_lr if name.startswith(encoder) else 1.0
            groups[decay, factor * scales[name]].append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr": settings.lr * scale}
        for (decay, scale), parameters in groups.items()
    ]


def rate_factor(step: int, steps: int, settings: OptimizerSettings) -> float:
    """Learning rate at a step relative to its full value; see `OptimizerSettings`."""
    warm = 1.0
    if step < settings.warmup_steps:
        start = settings.warmup_start or 1 / settings.warmup_steps
        warm = start + (1 - start) * step / max(1, settings.warmup_steps - 1)
    if settings.schedule == "steps":
        passed = sum(step >= round(fraction * steps) for fraction in settings.milestones)
        return float(warm * settings.gamma**passed)
    left = (steps - step) / max(1.0, steps * settings.decay_fraction)
    return float(warm * min(1.0, max(0.0, left)))
