"""Prompted classification: what is the object that a prompt points at (arXiv 2411.16222, downstream).

The mask decoder also gives a class: from its first mask token after decoding, the mean of the decoded image,
and the mean of the encoder's features, joined, through one linear layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from ultrasam.downstream.annotated import Annotated
from ultrasam.downstream.classifier import focal
from ultrasam.downstream.features import canvas
from ultrasam.downstream.saved import PROMPTED, read_model, write_model
from ultrasam.downstream.training import Schedule, changed, parts, train
from ultrasam.errors import DataError
from ultrasam.geometry import Letterbox
from ultrasam.images.masks import box_of, centre_of_mass
from ultrasam.inference.loading import placed
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike
from ultrasam.model.config import ModelConfig
from ultrasam.model.prompt_encoder import (
    BOTTOM_RIGHT,
    FOREGROUND,
    PADDING,
    TOP_LEFT,
    PromptTensors,
)
from ultrasam.model.two_way import Parts
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import ClickStyle, Prediction, Prompt, jitter_box, simulate_click
from ultrasam.training.interaction import LoopStyle, interact


class Settings(Schedule):
    """How a prompted classifier is trained; prompts, losses and rounds are those of segmentation (arXiv
    2411.16222, 3.2), whose mask losses are trained along.

    Attributes:
        box: share of box prompts, the corners moved by up to ``jitter`` of the side; the rest are clicks.
        weight: of the class's focal loss, ``gamma`` its exponent.
    """

    batch: int = Field(8, ge=1)
    lr: float = Field(3e-4, gt=0)
    encoder_lr: float = Field(1.0, gt=0)
    shift: float = Field(0.0, ge=0)
    box: float = Field(0.5, ge=0, le=1)
    jitter: float = Field(0.05, ge=0, lt=1)
    rounds: int = Field(2, ge=1)
    weight: float = Field(1.0, ge=0)
    gamma: float = Field(2.0, ge=0)


class PromptedClassifier(nn.Module):
    """A model that gives a class with its masks; ``model`` is used as it is, and trained."""

    def __init__(self, model: UltraSam, classes: Sequence[str]) -> None:
        super().__init__()
        self.model, self.classes = model, tuple(classes)
        width = 2 * model.config.decoder_width + model.config.width
        self.classify = nn.Linear(width, len(self.classes))
        self._decoded: tuple[Tensor, Tensor] | None = None
        self._seen: Tensor | None = None
        # What is needed lies inside of two forward passes that are otherwise used as they are: the image's
        # tokens must be written.
        model.keeping = False
        model.mask_decoder.transformer.register_forward_hook(self._keep_decoded)
        model.image_encoder.neck.register_forward_pre_hook(self._keep_seen)

    def _keep_decoded(self, _module: nn.Module, _given: Any, out: tuple[Tensor, Parts]) -> None:
        tokens, parts = out
        self._decoded = tokens[:, 1], torch.cat(parts, dim=1).mean(dim=1)

    def _keep_seen(self, _module: nn.Module, given: tuple[Tensor]) -> None:
        self._seen = given[0].mean(dim=(2, 3))

    def last_classes(self, image_index: Tensor) -> Tensor:
        """Logits [N, classes] of the prompts that were decoded last, each of one of the images that were
        encoded last."""
        assert self._decoded is not None
        assert self._seen is not None
        token, image = self._decoded
        seen = self._seen.to(token.dtype).index_select(0, image_index)
        out: Tensor = self.classify(torch.cat([token, image.expand(len(token), -1), seen], dim=1))
        return out


def fit(
    model: UltraSam,
    images: Sequence[Annotated],
    settings: Settings,
    *,
    device: str = "cpu",
    say: Callable[[int, float], object] = lambda _step, _loss: None,
) -> PromptedClassifier:
    """Train masks and classes together, all parameters; ``model`` is changed.

    Raises:
        DataError: fewer than two classes.
    """
    classes = sorted({label for image in images for label in image.labels})
    if len(classes) < 2:
        raise DataError(
            f"The objects have {len(classes)} class ({', '.join(classes) or 'none'}); two are needed."
        )
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    classifier = placed(PromptedClassifier(model, classes), device).train()
    model.image_encoder.checkpointing = settings.checkpointing
    style = LoopStyle(rounds=settings.rounds, masks="last", feedback_gradient=False)

    def losses(_step: int) -> Iterator[Tensor]:
        chosen = rng.choice(len(images), settings.batch)
        objects = sum(len(images[i].labels) for i in chosen)
        for part in parts(settings.batch, settings.at_once):
            pixels, prompts, targets, index, labels = _batch(
                rng, [images[i] for i in chosen[part]], model.config, classes, settings
            )
            prompts = PromptTensors(prompts.coords.to(device), prompts.labels.to(device))
            targets, index, labels = targets.to(device), index.to(device), labels.to(device)
            rounds = interact(
                model, model.encode(pixels.to(device)), prompts, targets, image_index=index, style=style,
                seeds=torch.from_numpy(rng.integers(0, 2**31, len(index))),
            )  # fmt: skip
            loss = torch.stack([r.loss for r in rounds]).sum(dim=0).mean()
            said = classifier.last_classes(index)
            loss = loss + settings.weight * focal(said, labels, gamma=settings.gamma)
            yield loss * (len(index) / objects)

    train(classifier, settings, losses, encoder="model.image_encoder.", say=say)
    return classifier.eval()


def _batch(
    rng: np.random.Generator,
    images: Sequence[Annotated],
    config: ModelConfig,
    classes: Sequence[str],
    settings: Settings,
) -> tuple[Tensor, PromptTensors, Tensor, Tensor, Tensor]:
    """Pixels [B, 3, S, S], N prompts, targets [N, 1, M, M], image index [N] and labels [N]."""
    size, side = config.image_size, config.mask_size
    pixels, coords, kinds, targets, index, labels = [], [], [], [], [], []
    for number, image in enumerate(images):
        frame, masks = changed(rng, image.pixels, image.masks, settings)
        if not masks.any():  # all turned out of sight
            frame, masks = image.pixels, image.masks
        view = Letterbox.whole(*frame.shape, size=size)
        pixels.append(canvas(config, frame, size)[0])
        for mask, label in zip(masks, image.labels, strict=True):
            if not mask.any():
                continue  # turned out of sight
            if rng.random() < settings.box:
                corners = view.boxes_to_model(jitter_box(rng, box_of(mask), settings.jitter))
                coords.append(np.clip(corners.reshape(2, 2), 0, size))
                kinds.append([TOP_LEFT, BOTTOM_RIGHT])
            else:
                click = view.points_to_model(simulate_click(rng, mask, ClickStyle()))
                coords.append(np.stack([click, np.zeros(2)]))
                kinds.append([FOREGROUND, PADDING])
            height, width = (round(v * side / size) for v in view.inner)
            target = np.zeros((side, side), np.float32)
            target[:height, :width] = cv2.resize(
                np.ascontiguousarray(mask, dtype=np.float32),
                (width, height),
                interpolation=cv2.INTER_AREA,
            )
            targets.append(target)
            index.append(number)
            labels.append(classes.index(label))
    return (
        torch.stack(pixels),
        PromptTensors(torch.from_numpy(np.stack(coords)).float(), torch.tensor(kinds)),
        torch.from_numpy(np.stack(targets))[:, None],
        torch.tensor(index),
        torch.tensor(labels),
    )


class PromptedPredictor:
    """Masks and classes of what prompts point at; a `Segmenter` that also tells classes."""

    def __init__(self, classifier: PromptedClassifier) -> None:
        self.classifier = classifier.eval()
        self.classes = classifier.classes
        # Classes are told from one look at the whole image, as in training.
        self.predictor = Predictor(classifier.model, once=True)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Encode one frame."""
        self.predictor.set_image(scan, frame=frame)

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt, as `Predictor`."""
        return self.predictor.predict(prompts)

    def classes_of(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """Probabilities [N, classes]."""
        rows = []
        for prompt in prompts:
            self.predictor.predict(prompt)
            with torch.inference_mode():
                alone = torch.zeros(
                    1, dtype=torch.long, device=self.classifier.classify.weight.device
                )
                logits = self.classifier.last_classes(alone)
            rows.append(logits[0].softmax(dim=0).double().cpu().numpy())
        return np.stack(rows) if rows else np.zeros((0, len(self.classifier.classes)))


def right(
    classifier: PromptedClassifier, images: Sequence[Annotated], kind: str
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Of each object whether its class is told right (1 or 0) from its tight ``box`` or a click at its centre
    of mass (``point``); and its subject."""
    predictor = PromptedPredictor(classifier)
    found, subjects = list[float](), list[str]()
    for image in images:
        predictor.set_image(image.pixels)
        prompts = [
            Prompt(box=tuple(box_of(mask)))
            if kind == "box"
            else Prompt(points=centre_of_mass(mask)[None])
            for mask in image.masks
        ]
        said = predictor.classes_of(prompts).argmax(axis=1)
        found += [
            float(classifier.classes[i] == label)
            for i, label in zip(said, image.labels, strict=True)
        ]
        subjects += [image.subject] * len(image.labels)
    return np.asarray(found), subjects


def accuracy(classifier: PromptedClassifier, images: Sequence[Annotated], kind: str) -> float:
    """The share of what `right` counts."""
    return float(right(classifier, images, kind)[0].mean())


def save_prompted(classifier: PromptedClassifier, folder: Path, note: dict[str, Any]) -> None:
    """Weights, and a JSON file with classes, sizes and ``note``."""
    config = classifier.model.config.to_json()
    write_model(classifier, folder, PROMPTED, classes=classifier.classes, config=config, about=note)


def load_prompted(folder: Path) -> PromptedClassifier:
    """A saved prompted classifier.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """

    def build(about: dict[str, Any]) -> PromptedClassifier:
        config = ModelConfig.from_json(json.dumps(about["config"]))
        return PromptedClassifier(UltraSam(config), about["classes"])

    return read_model(folder, PROMPTED, build)
