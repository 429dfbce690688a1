"""What every fine-tuning has in common: settings, the learning rate's course, the loop, augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ultrasam.training.optimisation import rate_factor
from ultrasam.training.recipe import Optimiser

Pixels = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]


class Schedule(BaseModel):
    """Settings of every fine-tuning.

    Attributes:
        steps, batch: how often is learnt, from how many images each time.
        at_once: images in memory at once, whose gradients add up to the batch's; all where None.
        checkpointing: compute a ViT's blocks twice instead of keeping them in memory.
        lr: learning rate; that of what is trained of the encoder is ``encoder_lr`` times as large.
        decay_all: weight decay of norms, biases and embeddings, too.
        warmup: steps of the linear warm-up.
        milestones: shares of the steps at each of which the learning rate is × 0.1.
        clip: largest norm of the gradient.
        flip, shift: augmentations: chance of a horizontal flip; rotation by up to 10 degrees, scale by up to
            10 % and brightness by up to 20 %, times ``shift``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(300, ge=1)
    batch: int = Field(16, ge=1)
    at_once: int | None = Field(None, ge=1)
    checkpointing: bool = False
    lr: float = Field(1e-3, gt=0)
    encoder_lr: float = Field(0.1, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    decay_all: bool = True
    warmup: int = Field(20, ge=0)
    milestones: tuple[float, ...] = (0.8,)
    clip: float = Field(1.0, gt=0)
    flip: float = Field(0.5, ge=0, le=1)
    shift: float = Field(1.0, ge=0)
    seed: int = Field(0, ge=0)


def train(
    module: nn.Module,
    settings: Schedule,
    losses: Callable[[int], Iterator[Tensor]],
    *,
    encoder: str,
    say: Callable[[int, float], object] = lambda _step, _loss: None,
) -> None:
    """Take all steps, with AdamW; the module's mode (training or evaluation) is the caller's.

    Args:
        losses: of a step, the losses of the parts that its batch is seen in, weighted to add up to the
            batch's; each part is forgotten before the next is computed.
        encoder: what the names of the encoder's parameters begin with.
        say: told the step and its loss.
    """
    optimiser = torch.optim.AdamW(parameter_groups(module, settings, encoder=encoder))
    course = Optimiser(
        schedule="steps", warmup_steps=settings.warmup, milestones=settings.milestones
    )
    trained = [p for p in module.parameters() if p.requires_grad]
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["full_lr"] * rate_factor(step, settings.steps, course)
        optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for loss in losses(step):
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        say(step, total)


def parameter_groups(
    module: nn.Module, settings: Schedule, *, encoder: str
) -> list[dict[str, object]]:
    """What is trained, by learning rate and weight decay."""
    embeddings = {
        id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            rate = settings.lr * (settings.encoder_lr if name.startswith(encoder) else 1.0)
            plain = parameter.ndim > 1 and id(parameter) not in embeddings
            decay = settings.weight_decay if plain or settings.decay_all else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "full_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def parts(count: int, at_once: int | None) -> Iterator[slice]:
    """A batch of ``count`` in parts of at most ``at_once``."""
    size = at_once or count
    yield from (slice(start, min(start + size, count)) for start in range(0, count, size))


def changed(
    rng: np.random.Generator, frame: Pixels, masks: Masks, settings: Schedule
) -> tuple[Pixels, Masks]:
    """A frame [H, W] and its masks [N, H, W] as another scan could have shown them; an object at the border
    may be turned out of sight."""
    height, width = frame.shape[:2]
    if rng.random() < settings.flip:
        frame = np.ascontiguousarray(frame[:, ::-1])
        masks = np.ascontiguousarray(masks[:, :, ::-1])
    if settings.shift:
        angle = rng.uniform(-10, 10) * settings.shift
        scale = 1 + rng.uniform(-0.1, 0.1) * settings.shift
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        gain = 1 + rng.uniform(-0.2, 0.2) * settings.shift
        turned = cv2.warpAffine(frame, turn, (width, height))
        frame = np.asarray(cv2.convertScaleAbs(turned, alpha=gain), np.uint8)
        found = [
            cv2.warpAffine(m.astype(np.uint8), turn, (width, height), flags=cv2.INTER_NEAREST)
            for m in masks
        ]
        masks = np.asarray(found, bool).reshape(masks.shape)
    return np.asarray(frame, np.uint8), masks
