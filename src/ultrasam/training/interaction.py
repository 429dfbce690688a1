"""The interactive loop: a first prompt, then rounds that mend or refine (SAM, appendix A; arXiv
2411.16222, 3.2).

Each round the mask from before comes back as a mask prompt, either with the same prompt (the paper's
refinement) or with one more click in the error region (SAM's interactive training).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ultrasam.model.prompt_encoder import (
    ABSENT,
    BACKGROUND,
    BOTTOM_RIGHT,
    FOREGROUND,
    PromptTensors,
)
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.training.losses import dice_loss, focal_loss, mask_iou


@dataclass(frozen=True, slots=True)
class LoopStyle:
    """The loop's rounds and the weights of its losses.

    Attributes:
        rounds: rounds in all, the first prompt's included.
        corrective: chance, per prompt and round, of a click in the error region; else the same prompt.
        feedback_gradient: let gradients flow through the mask that is fed back.
        focal, dice, iou: weights of the losses.
        alpha, gamma: of the focal loss.
    """

    rounds: int = 2
    corrective: float = 0.0
    feedback_gradient: bool = True
    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    alpha: float = 0.25
    gamma: float = 2.0


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round: its loss, and per prompt the true IoU of the mask that a user would see."""

    loss: Tensor
    iou: Tensor


def interact(
    model: UltraSam,
    image: ImageEmbedding,
    first: PromptTensors,
    targets: Tensor,
    *,
    image_index: Tensor,
    style: LoopStyle,
    generator: torch.Generator,
) -> list[RoundResult]:
    """Run all rounds of N prompts.

    Args:
        image: B embedded images.
        first: N first prompts in model pixels.
        targets: [N, 1, M, M] shares in [0, 1].
        image_index: [N].
        generator: on the CPU; the loop's only randomness.

    Returns:
        One result per round; the training loss is the sum of theirs.
    """
    prompts, results = first, []
    ambiguous = is_ambiguous(first.labels)
    for index in range(style.rounds):
        logits, iou = model.decode(image, prompts, image_index=image_index, masks=slice(None))
        logits, iou = logits.float(), iou.float()
        loss = _loss(logits, iou, targets, ambiguous, style)
        seen = choose_mask(logits, iou, ambiguous)
        results.append(RoundResult(loss, mask_iou(seen, targets)[:, 0]))
        if index + 1 < style.rounds:
            fed = seen if style.feedback_gradient else seen.detach()
            prompts = _next_prompts(model, prompts, fed, targets, style, generator)
            ambiguous = torch.zeros_like(ambiguous)  # the mask from before says which was meant
    return results


def is_ambiguous(labels: Tensor) -> Tensor:
    """[N, K] labels to [N] bool: nothing but one click is known of the object."""
    clicks = ((labels == FOREGROUND) | (labels == BACKGROUND)).sum(dim=1)
    return (clicks == 1) & ~(labels == BOTTOM_RIGHT).any(dim=1)


def choose_mask(logits: Tensor, iou: Tensor, ambiguous: Tensor) -> Tensor:
    """[N, 4, M, M] to the mask that a user sees [N, 1, M, M]: of an ambiguous prompt the best of three
    by predicted IoU, else the single mask."""
    best = torch.where(ambiguous, iou[:, 1:].argmax(dim=1) + 1, 0)
    return logits[torch.arange(len(best), device=best.device), best].unsqueeze(1)


def _loss(
    logits: Tensor, iou: Tensor, targets: Tensor, ambiguous: Tensor, style: LoopStyle
) -> Tensor:
    """The single mask of all prompts, and the best of three of the ambiguous ones."""
    single = _mask_loss(logits[:, :1], targets, style)[:, 0]
    true_iou = mask_iou(logits[:, :1], targets)
    loss = (single + style.iou * F.mse_loss(iou[:, :1], true_iou, reduction="none")[:, 0]).mean()
    if bool(ambiguous.any()):
        three, truth = logits[ambiguous, 1:], targets[ambiguous]
        true_iou = mask_iou(three, truth)  # [A, 3]
        best = true_iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        chosen = _mask_loss(three[rows, best].unsqueeze(1), truth, style)[:, 0]
        # The head must rank the three, so all of its predictions are trained, not the best alone.
        ranking = F.mse_loss(iou[ambiguous, 1:], true_iou, reduction="none").mean(dim=1)
        loss = loss + (chosen + style.iou * ranking).sum() / len(logits)
    return loss


def _mask_loss(logits: Tensor, targets: Tensor, style: LoopStyle) -> Tensor:
    focal = focal_loss(logits, targets, alpha=style.alpha, gamma=style.gamma)
    return style.focal * focal + style.dice * dice_loss(logits, targets)


def _next_prompts(
    model: UltraSam,
    prompts: PromptTensors,
    logits: Tensor,
    targets: Tensor,
    style: LoopStyle,
    generator: torch.Generator,
) -> PromptTensors:
    size = model.config.image_size
    coords, labels = error_clicks(logits.detach(), targets, generator=generator)
    corrective = torch.rand(len(labels), generator=generator).to(labels.device) < style.corrective
    labels = torch.where(corrective, labels, ABSENT)
    coords = coords * (size / targets.shape[-1])
    return PromptTensors(
        torch.cat([prompts.coords, coords.unsqueeze(1).to(prompts.coords.dtype)], dim=1),
        torch.cat([prompts.labels, labels.unsqueeze(1)], dim=1),
        masks=logits,
    )


@torch.no_grad()
def error_clicks(
    logits: Tensor, targets: Tensor, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One click per prompt inside the error region, the more likely the deeper.

    Args:
        logits, targets: [N, 1, M, M].

    Returns:
        coords [N, 2] in low-res pixels and labels [N]; ``ABSENT`` where there is no error.
    """
    mask, truth = logits > 0, targets > 0.5
    error = (mask != truth).float()
    depth = F.avg_pool2d(error, 7, stride=1, padding=3) * error  # [N, 1, M, M]
    noise = torch.rand(depth.shape, generator=generator).to(depth.device)
    weight = (depth**4 * noise).flatten(1)
    best = weight.argmax(dim=1)
    side = targets.shape[-1]
    jitter = torch.rand((len(best), 2), generator=generator).to(depth.device)
    coords = torch.stack([best % side, best // side], dim=1) + jitter
    labels = truth.flatten(1).gather(1, best.unsqueeze(1))[:, 0].long()
    found = weight.amax(dim=1) > 0
    return coords, torch.where(found, labels, ABSENT)
