"""Simulate interactive segmentation in training (SAM, appendix A; arXiv 2411.16222, 3.2).

After the first prompt, each round feeds the previous mask back as a mask prompt, either with the same prompt
(the paper's refinement) or with one more click in the error region (SAM's interactive training).
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

_RANKING_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round.

    Attributes:
        loss: [N], per prompt.
        iou: [N], true IoU of the mask that a user would see.
        output: decoder output.
    """

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
    present: Tensor | None = None,
) -> list[RoundResult]:
    """Run all rounds for N prompts.

    Args:
        image: B image embeddings.
        first: N first prompts in model pixels.
        targets: [N, 1, M, M] coverage in [0, 1].
        image_index: [N], the image of each prompt.
        seeds: [N], one per prompt, so that its randomness does not depend on the rest of the batch.
        present: [N] bool, whether there is an object; None if there is one for all. Otherwise only the score
            is trained.

    Returns:
        One result per round; the training loss is the sum over rounds.
    """
    prompts, results = first, []
    ambiguous = is_ambiguous(first.labels)
    count = _rounds(interaction, seeds)
    for index in range(count):
        output = model.decode(image, prompts, image_index=image_index)
        logits, iou = output.masks.float(), output.iou_if_present.float()
        last = index + 1 == count
        if interaction.masks == "last":
            ambiguous = torch.full_like(ambiguous, last)
        if interaction.masks == "last" and last:
            loss = _best_of_three(logits[:, 1:], iou[:, 1:], targets, losses)
        else:
            loss = _loss(
                logits, iou, targets, ambiguous, losses, rated=output.object_logits is not None
            )
        if present is not None:
            loss = loss * present
        loss = (loss + _present_loss(output, present, losses)) * (interaction.rounds / count)
        visible = choose_mask(logits, output.predicted_iou.float(), ambiguous)
        results.append(RoundResult(loss, mask_iou(visible, targets)[:, 0], output))
        if not last:
            mask_input = visible if interaction.feedback_gradient else visible.detach()
            prompts = _next_prompts(
                model, prompts, mask_input, targets, interaction, Noise(seeds, index)
            )
            ambiguous = torch.zeros_like(ambiguous)  # the previous mask resolves the ambiguity
    return results


def _rounds(interaction: Interaction, seeds: Tensor) -> int:
    """The number of rounds of a batch."""
    more = interaction.max_rounds - interaction.rounds
    if more <= 0:
        return interaction.rounds
    return interaction.rounds + int(seeds[0]) % (more + 1)


def _present_loss(
    output: MaskDecoderOutput, present: Tensor | None, losses: MaskLosses
) -> Tensor | float:
    """Loss [N] of the estimate that there is an object; 0 for a model that makes none."""
    logits = output.object_logits
    if logits is None or not losses.present:
        return 0.0
    truth = logits.new_ones(len(logits)) if present is None else present.to(logits)
    off = F.binary_cross_entropy_with_logits(
        logits.float(), truth.float().unsqueeze(1).expand_as(logits), reduction="none"
    )
    return losses.present * off.mean(dim=1)


def is_ambiguous(labels: Tensor) -> Tensor:
    """Labels [N, K] to bool [N]: whether the prompt is a single click."""
    clicks = ((labels == FOREGROUND) | (labels == BACKGROUND)).sum(dim=1)
    return (clicks == 1) & ~(labels == BOTTOM_RIGHT).any(dim=1)


def choose_mask(logits: Tensor, iou: Tensor, ambiguous: Tensor) -> Tensor:
    """Select from [N, 4, M, M] the mask that a user sees [N, 1, M, M]: for ambiguous prompts the best of
    three by predicted IoU, otherwise the single mask."""
    best = torch.where(ambiguous, iou[:, 1:].argmax(dim=1) + 1, 0)
    return logits[torch.arange(len(best), device=best.device), best].unsqueeze(1)


def _loss(
    logits: Tensor,
    iou: Tensor,
    targets: Tensor,
    ambiguous: Tensor,
    losses: MaskLosses,
    *,
    rated: bool = False,
) -> Tensor:
    """Loss [N] of the single mask, plus the best of three masks for ambiguous prompts.

    Args:
        rated: whether a mask-quality head rates the masks, which then learns from all four for any prompt.
    """
    single = _mask_loss(logits[:, :1], targets, losses)[:, 0]
    scored = slice(0, 4) if rated else slice(0, 1)
    true_iou = mask_iou(logits[:, scored], targets)
    off = F.mse_loss(iou[:, scored], true_iou, reduction="none").mean(dim=1)
    loss = single + losses.iou * off
    if bool(ambiguous.any()):
        three, truth = logits[ambiguous, 1:], targets[ambiguous]
        true_iou = mask_iou(three, truth)  # [A, 3]
        best = true_iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        chosen = _mask_loss(three[rows, best].unsqueeze(1), truth, losses)[:, 0]
        # The IoU head must rank the three masks, so all three of its predictions are trained.
        predicted = iou[ambiguous, 1:]
        off = F.mse_loss(predicted, true_iou, reduction="none").mean(dim=1)
        extra = chosen + losses.iou * off
        if losses.ranking:
            extra = extra + losses.ranking * _ranking_loss(predicted, true_iou)
        loss = loss.index_add(0, ambiguous.nonzero()[:, 0], extra)
    return loss


def _ranking_loss(predicted: Tensor, true_iou: Tensor) -> Tensor:
    """Cross-entropy [N] between the orders of three masks, as distributions over which is the best (ListNet,
    Cao et al. 2007); differences in IoU below `_RANKING_SCALE` hardly matter."""
    order = (true_iou / _RANKING_SCALE).softmax(dim=1)
    return -(order * (predicted / _RANKING_SCALE).log_softmax(dim=1)).sum(dim=1)


def _best_of_three(logits: Tensor, iou: Tensor, targets: Tensor, losses: MaskLosses) -> Tensor:
    """Loss of the mask with the highest true IoU and of its predicted IoU (arXiv 2411.16222, 3.2)."""
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
    if interaction.corrective == 0:  # skip simulating clicks that would not be used; it is slow
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
    """Uniform random numbers on the CPU, with a separate generator for each of N prompts."""

    def __init__(self, seeds: Tensor, stream: int) -> None:
        self.generators = [
            torch.Generator().manual_seed(seed * 1024 + stream) for seed in seeds.tolist()
        ]

    def __call__(self, *shape: int) -> Tensor:
        """[N, *shape] in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self.generators])


@torch.no_grad()
def error_clicks(logits: Tensor, targets: Tensor, *, noise: Noise) -> tuple[Tensor, Tensor]:
    """Sample one click per prompt in the error region, favoring its deep interior.

    Args:
        logits, targets: [N, 1, M, M].

    Returns:
        Coordinates [N, 2] in low-res pixels and labels [N]; ``UNUSED`` if there is no error.
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
    has_error = weight.amax(dim=1) > 0
    return coords, torch.where(has_error, labels, UNUSED)
