"""Training a classifier, once or in folds."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from ultrasam.downstream.classifier import Classifier, Head, Mode, focal
from ultrasam.downstream.features import canvas
from ultrasam.downstream.labelled import Labelled, check_apart
from ultrasam.model.ultrasam import UltraSam


class Settings(BaseModel):
    """How a classifier is trained.

    Attributes:
        mode: see `ultrasam.downstream.classifier.Head`.
        size: side of the canvas; the model's own where None.
        lr: of the head, and of what is trained of the encoder times ``encoder_lr``.
        balance: classes are drawn alike, whatever their counts.
        gamma: of the focal loss.
        flip, shift: augmentations of all but frozen encoders: chance of a horizontal flip; rotation by up to
            10 degrees, scale by up to 10 % and brightness by up to 20 %, times ``shift``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    mode: Mode = "linear"
    size: int | None = Field(None, ge=16)
    steps: int = Field(300, ge=1)
    batch: int = Field(16, ge=1)
    lr: float = Field(1e-3, gt=0)
    encoder_lr: float = Field(0.1, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup: int = Field(20, ge=0)
    milestones: tuple[float, ...] = (0.8,)
    clip: float = Field(1.0, gt=0)
    balance: bool = True
    gamma: float = Field(2.0, ge=0)
    flip: float = Field(0.5, ge=0, le=1)
    shift: float = Field(1.0, ge=0)
    seed: int = Field(0, ge=0)


class Scheduled(Protocol):
    """Settings with a warm-up and milestones, as shares of the steps."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def milestones(self) -> tuple[float, ...]: ...


def rate_at(step: int, settings: Scheduled) -> float:
    """The learning rate over its full value: a linear warm-up, then × 0.1 at each milestone."""
    passed = sum(step >= share * settings.steps for share in settings.milestones)
    return float(min(1.0, (step + 1) / max(1, settings.warmup)) * 0.1**passed)


def fit(
    model: UltraSam,
    items: Sequence[Labelled],
    classes: Sequence[str],
    settings: Settings,
    *,
    device: str = "cpu",
    say: Callable[[int, float], object] = lambda _step, _loss: None,
) -> Classifier:
    """A classifier trained on ``items``; ``model`` itself is left as it is.

    Args:
        say: told the step and its loss.
    """
    head = Head(settings.mode, tuple(classes), settings.size or model.config.image_size)
    torch.manual_seed(settings.seed)
    classifier = Classifier(copy.deepcopy(model), head).to(device)
    rng = np.random.default_rng(settings.seed)
    labels = torch.tensor([head.classes.index(item.label) for item in items])
    frames = [item.read() for item in items]
    weights = np.ones(len(items))
    if settings.balance:
        counts = Counter(labels.tolist())
        weights = np.array([1 / counts[int(label)] for label in labels])
    draw = weights / weights.sum()
    known = _tokens(classifier, frames, device) if head.frozen else None
    optimiser = _optimiser(classifier, settings)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["full_lr"] * rate_at(step, settings)
        chosen = rng.choice(len(items), settings.batch, p=draw)
        classifier.train(not head.frozen)
        if known is None:
            views = [
                canvas(model.config, _view(rng, frames[i], settings), head.size) for i in chosen
            ]
            pixels, shown = (torch.stack(part).to(device) for part in zip(*views, strict=True))
            logits = classifier(pixels, shown)
        else:
            logits = classifier.from_tokens(known[0][chosen], known[1][chosen])
        loss = focal(logits, labels[chosen].to(device), gamma=settings.gamma)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip)
        optimiser.step()
        say(step, float(loss.detach()))
    return classifier.eval()


def cross_validate(
    model: UltraSam,
    items: Sequence[Labelled],
    classes: Sequence[str],
    folds: Sequence[tuple[list[int], list[int]]],
    settings: Settings,
    *,
    device: str = "cpu",
    say: Callable[[int, int, float], object] = lambda _fold, _step, _loss: None,
) -> npt.NDArray[np.float64]:
    """Probabilities [N, classes] of each item by the classifier of the fold that tests it; NaN of items that
    no fold tests."""
    out = np.full((len(items), len(classes)), np.nan)
    for number, (train, test) in enumerate(folds):
        seen, held = [items[i] for i in train], [items[i] for i in test]
        check_apart(seen, held)
        classifier = fit(
            model, seen, classes, settings, device=device,
            say=lambda step, loss, number=number: say(number, step, loss),  # type: ignore[misc]
        )  # fmt: skip
        out[test] = classifier.predict(item.read() for item in held).double().numpy()
    return out


def _optimiser(classifier: Classifier, settings: Settings) -> torch.optim.Optimizer:
    groups = []
    for inside, factor in ((True, settings.encoder_lr), (False, 1.0)):
        parameters = [
            p
            for name, p in classifier.named_parameters()
            if p.requires_grad and name.startswith("encoder.") == inside
        ]
        if parameters:
            rate = settings.lr * factor
            groups.append({"params": parameters, "lr": rate, "full_lr": rate})
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


@torch.no_grad()
def _tokens(
    classifier: Classifier, frames: Sequence[npt.NDArray[np.uint8]], device: str
) -> tuple[Tensor, Tensor]:
    """Patches of all images by a frozen encoder, seen once."""
    tokens, shown = [], []
    for start in range(0, len(frames), 8):
        views = [
            canvas(classifier.config, frame, classifier.head.size)
            for frame in frames[start : start + 8]
        ]
        pixels = torch.stack([view[0] for view in views]).to(device)
        tokens.append(classifier.encoder.features(pixels)[-1])
        shown.append(torch.stack([view[1] for view in views]).to(device))
    return torch.cat(tokens), torch.cat(shown)


def _view(
    rng: np.random.Generator, frame: npt.NDArray[np.uint8], settings: Settings
) -> npt.NDArray[np.uint8]:
    height, width = frame.shape[:2]
    if rng.random() < settings.flip:
        frame = np.ascontiguousarray(frame[:, ::-1])
    if settings.shift:
        angle, scale = (
            rng.uniform(-10, 10) * settings.shift,
            1 + rng.uniform(-0.1, 0.1) * settings.shift,
        )
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        gain = 1 + rng.uniform(-0.2, 0.2) * settings.shift
        turned = cv2.warpAffine(frame, turn, (width, height))
        frame = np.asarray(cv2.convertScaleAbs(turned, alpha=gain), np.uint8)
    return np.asarray(frame, np.uint8)
