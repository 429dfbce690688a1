"""Training a classifier, once or in folds."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from ultrasam.downstream.backbone import Backbone
from ultrasam.downstream.classifier import Classifier, Head, Mode, focal
from ultrasam.downstream.labelled import Labelled, check_apart
from ultrasam.downstream.training import Schedule, changed, parts, train
from ultrasam.hardware import place
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks

_NO_MASKS = np.zeros((0, 1, 1), bool)


class Settings(Schedule):
    """How a classifier is trained; an encoder that is frozen sees no augmentation.

    Attributes:
        mode: see `ultrasam.downstream.classifier.Head`.
        size: side of the canvas; the model's own where None.
        balance: classes are drawn alike, whatever their counts.
        gamma: of the focal loss.
    """

    mode: Mode = "linear"
    size: int | None = Field(None, ge=16)
    balance: bool = True
    gamma: float = Field(2.0, ge=0)


def fit(
    model: Backbone,
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
    classifier = place(Classifier(copy.deepcopy(model), head), device)
    set_attention(classifier, device)
    rng = np.random.default_rng(settings.seed)
    labels = torch.tensor([head.classes.index(item.label) for item in items])
    frames = [item.read() for item in items]
    weights = np.ones(len(items))
    if settings.balance:
        counts = Counter(labels.tolist())
        weights = np.array([1 / counts[int(label)] for label in labels])
    draw = weights / weights.sum()
    known = _tokens(classifier, frames, device) if head.frozen else None
    if isinstance(classifier.encoder, ImageEncoder):
        checkpoint_blocks(classifier.encoder, enabled=settings.checkpointing)
    # A frozen encoder's features are known beforehand, so that only its head has a mode.
    classifier.train(not head.frozen)

    def losses(_step: int) -> Iterator[Tensor]:
        chosen = rng.choice(len(items), settings.batch, p=draw)
        for part in parts(settings.batch, None if known else settings.at_once):
            rows = chosen[part]
            if known is None:
                views = [
                    classifier.input(changed(rng, frames[i], _NO_MASKS, settings)[0]) for i in rows
                ]
                pixels, shown = (torch.stack(each).to(device) for each in zip(*views, strict=True))
                logits = classifier(pixels, shown)
            else:
                logits = classifier.from_tokens(known[0][rows], known[1][rows])
            loss = focal(logits, labels[rows].to(device), gamma=settings.gamma)
            yield loss * (len(rows) / settings.batch)

    train(classifier, settings, losses, encoder="encoder.", say=say)
    return classifier.eval()


def cross_validate(
    model: Backbone,
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
    for number, (seen_rows, test) in enumerate(folds):
        seen, held = [items[i] for i in seen_rows], [items[i] for i in test]
        check_apart(seen, held)
        classifier = fit(
            model, seen, classes, settings, device=device,
            say=lambda step, loss, number=number: say(number, step, loss),  # type: ignore[misc]
        )  # fmt: skip
        out[test] = classifier.predict(item.read() for item in held).double().numpy()
    return out


@torch.no_grad()
def _tokens(
    classifier: Classifier, frames: Sequence[npt.NDArray[np.uint8]], device: str
) -> tuple[Tensor, Tensor]:
    """Patches of all images by a frozen encoder, seen once."""
    tokens, shown = [], []
    for start in range(0, len(frames), 8):
        views = [classifier.input(frame) for frame in frames[start : start + 8]]
        pixels = torch.stack([view[0] for view in views]).to(device)
        tokens.append(classifier.encoder.features(pixels)[-1])
        shown.append(torch.stack([view[1] for view in views]).to(device))
    return torch.cat(tokens), torch.cat(shown)
