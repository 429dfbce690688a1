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

from ultrasam.model.mask_decoder import MaskDecoderOutput
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, UNUSED
from ultrasam.training.losses import dice_loss, focal_loss, mask_iou
from ultrasam.training.recipe import Interaction, MaskLosses


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round: per prompt its loss, and the true IoU of the mask that a user would see, [N] both; and what
    the decoder gave."""

    loss: Tensor
    iou: Tensor
    output: MaskDecoderOutput


def interact(
    model: UltraSam,
    image: ImageEmbedding,
    first: PromptTensors,
    targets: Tensor,
    *,
    image_index: Tensor,
    interaction: Interaction,
    losses: MaskLosses,
    seeds: Tensor,
) -> list[RoundResult]:
    """Run all rounds of N prompts.

    Args:
        image: B embedded images.
        first: N first prompts in model pixels.
        targets: [N, 1, M, M] shares in [0, 1].
        image_index: [N].
        seeds: [N], the loop's only randomness: each prompt has its own, whatever else is in the batch.

    Returns:
        One result per round; the training loss is the sum of theirs.
    """
    prompts, results = first, []
    ambiguous = is_ambiguous(first.labels)
    for index in range(interaction.rounds):
        output = model.decode(image, prompts, image_index=image_index)
        logits, iou = output.masks.float(), output.predicted_iou.float()
        last = index + 1 == interaction.rounds
        if interaction.masks == "last":
            ambiguous = torch.full_like(ambiguous, last)
        if interaction.masks == "last" and last:
            loss = _best_of_three(logits[:, 1:], iou[:, 1:], targets, losses)
        else:
            loss = _loss(logits, iou, targets, ambiguous, losses)
        seen = choose_mask(logits, iou, ambiguous)
        results.append(RoundResult(loss, mask_iou(seen, targets)[:, 0], output))
        if index + 1 < interaction.rounds:
            fed = seen if interaction.feedback_gradient else seen.detach()
            prompts = _next_prompts(model, prompts, fed, targets, interaction, Noise(seeds, index))
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
    logits: Tensor, iou: Tensor, targets: Tensor, ambiguous: Tensor, losses: MaskLosses
) -> Tensor:
    """Per prompt [N]: the single mask of all, and the best of three of the ambiguous ones."""
    single = _mask_loss(logits[:, :1], targets, losses)[:, 0]
    true_iou = mask_iou(logits[:, :1], targets)
    loss = single + losses.iou * F.mse_loss(iou[:, :1], true_iou, reduction="none")[:, 0]
    if bool(ambiguous.any()):
        three, truth = logits[ambiguous, 1:], targets[ambiguous]
        true_iou = mask_iou(three, truth)  # [A, 3]
        best = true_iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        chosen = _mask_loss(three[rows, best].unsqueeze(1), truth, losses)[:, 0]
        # The head must rank the three, so all of its predictions are trained, not the best alone.
        ranking = F.mse_loss(iou[ambiguous, 1:], true_iou, reduction="none").mean(dim=1)
        loss = loss.index_add(0, ambiguous.nonzero()[:, 0], chosen + losses.iou * ranking)
    return loss


def _best_of_three(logits: Tensor, iou: Tensor, targets: Tensor, losses: MaskLosses) -> Tensor:
    """The loss of the mask that is truly best, and of its predicted IoU alone (arXiv 2411.16222, 3.2)."""
    true_iou = mask_iou(logits, targets)  # [N, 3]
    best = true_iou.argmax(dim=1, keepdim=True)
    rows = torch.arange(len(best), device=best.device)
    chosen = _mask_loss(logits[rows, best[:, 0]].unsqueeze(1), targets, losses)[:, 0]
    off = F.mse_loss(iou.gather(1, best), true_iou.gather(1, best), reduction="none")[:, 0]
    return chosen + losses.iou * off


def _mask_loss(logits: Tensor, targets: Tensor, losses: MaskLosses) -> Tensor:
    focal = focal_loss(logits, targets, alpha=losses.alpha, gamma=losses.gamma)
    return losses.focal * focal + losses.dice * dice_loss(logits, targets)


def _next_prompts(
    model: UltraSam,
    prompts: PromptTensors,
    logits: Tensor,
    targets: Tensor,
    interaction: Interaction,
    noise: Noise,
) -> PromptTensors:
    if interaction.corrective == 0:  # drawing clicks that none takes would cost much of a step
        return PromptTensors(prompts.coords, prompts.labels, masks=logits)
    size = model.config.image_size
    coords, labels = error_clicks(logits.detach(), targets, noise=noise)
    corrective = noise(1)[:, 0].to(labels.device) < interaction.corrective
    labels = torch.where(corrective, labels, UNUSED)
    coords = coords * (size / targets.shape[-1])
    return PromptTensors(
        torch.cat([prompts.coords, coords.unsqueeze(1).to(prompts.coords.dtype)], dim=1),
        torch.cat([prompts.labels, labels.unsqueeze(1)], dim=1),
        masks=logits,
    )


class Noise:
    """Uniform numbers for each of N prompts from a generator of its own, on the CPU."""

    def __init__(self, seeds: Tensor, stream: int) -> None:
        self.generators = [
            torch.Generator().manual_seed(seed * 1024 + stream) for seed in seeds.tolist()
        ]

    def __call__(self, *shape: int) -> Tensor:
        """[N, *shape] in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self.generators])


@torch.no_grad()
def error_clicks(logits: Tensor, targets: Tensor, *, noise: Noise) -> tuple[Tensor, Tensor]:
    """One click per prompt inside the error region, the more likely the deeper.

    Args:
        logits, targets: [N, 1, M, M].

    Returns:
        coords [N, 2] in low-res pixels and labels [N]; ``UNUSED`` where there is no error.
    """
    mask, truth = logits > 0, targets > 0.5
    error = (mask != truth).float()
    depth = F.avg_pool2d(error, 7, stride=1, padding=3) * error  # [N, 1, M, M]
    weight = (depth**4 * noise(*depth.shape[1:]).to(depth.device)).flatten(1)
    best = weight.argmax(dim=1)
    side = targets.shape[-1]
    jitter = noise(2).to(depth.device)
    coords = torch.stack([best % side, best // side], dim=1) + jitter
    labels = truth.flatten(1).gather(1, best.unsqueeze(1))[:, 0].long()
    found = weight.amax(dim=1) > 0
    return coords, torch.where(found, labels, UNUSED)
