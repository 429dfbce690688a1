"""Prompted classification: what is the object that a prompt points at (arXiv 2411.16222, downstream).

The mask decoder also gives a class: from its first mask token after decoding, the mean of the decoded image,
and the mean of the encoder's features, joined, through one linear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from ultrasam.downstream.annotated import Annotated
from ultrasam.downstream.backbone import empty_backbone
from ultrasam.downstream.classifier import focal
from ultrasam.downstream.task_folders import PROMPTED, read_model, write_model
from ultrasam.downstream.training import Schedule, changed, parts, train
from ultrasam.errors import DataError
from ultrasam.hardware import place
from ultrasam.images.masks import box_of, centre_of_mass
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike
from ultrasam.model.mask_decoder import MaskDecoderOutput
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompt_simulation import ClickStyle, jitter_box, simulate_click
from ultrasam.prompts import (
    BOTTOM_RIGHT,
    FOREGROUND,
    NOT_A_POINT,
    TOP_LEFT,
    Float32,
    Prediction,
    Prompt,
)
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.runtimes.torch_backend import TorchBackend, TorchEmbedding
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

    def encode(self, pixels: Tensor) -> tuple[ImageEmbedding, Tensor]:
        """Preprocessed pixels [B, 3, S, S] to their embedding, and the mean of the encoder's tokens [B,
        C]."""
        encoder, decoder = self.model.image_encoder, self.model.mask_decoder
        tokens, high_res = encoder.forward_features(pixels)
        image = encoder.neck(tokens.permute(0, 3, 1, 2))
        return ImageEmbedding(image, decoder.project_high_res(high_res)), tokens.mean(dim=(1, 2))

    def forward(self, output: MaskDecoderOutput, features: Tensor) -> Tensor:
        """Logits [N, classes] of N decoded prompts, and the encoder's mean tokens of their images [N, C]."""
        token, image = output.mask_tokens[:, 0], output.image.mean(dim=(2, 3))
        features = features.to(token.dtype)
        out: Tensor = self.classify(torch.cat([token, image, features], dim=1))
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
    model.preprocessor = replace(model.preprocessor, prompt_types=Preprocessor().prompt_types)
    classifier = place(PromptedClassifier(model, classes), device).train()
    set_attention(model, device)
    checkpoint_blocks(model.image_encoder, enabled=settings.checkpointing)
    style = LoopStyle(rounds=settings.rounds, masks="last", feedback_gradient=False)

    def losses(_step: int) -> Iterator[Tensor]:
        chosen = rng.choice(len(images), settings.batch)
        objects = sum(len(images[i].labels) for i in chosen)
        for part in parts(settings.batch, settings.at_once):
            pixels, prompts, targets, index, labels = _batch(
                rng, [images[i] for i in chosen[part]], model, classes, settings
            )
            prompts = PromptTensors(prompts.coords.to(device), prompts.labels.to(device))
            targets, index, labels = targets.to(device), index.to(device), labels.to(device)
            encoded, features = classifier.encode(pixels.to(device))
            rounds = interact(
                model, encoded, prompts, targets, image_index=index, style=style,
                seeds=torch.from_numpy(rng.integers(0, 2**31, len(index))),
            )  # fmt: skip
            loss = torch.stack([r.loss for r in rounds]).sum(dim=0).mean()
            logits = classifier(rounds[-1].output, features.index_select(0, index))
            loss = loss + settings.weight * focal(logits, labels, gamma=settings.gamma)
            yield loss * (len(index) / objects)

    train(classifier, settings, losses, encoder="model.image_encoder.", say=say)
    return classifier.eval()


def _batch(
    rng: np.random.Generator,
    images: Sequence[Annotated],
    model: UltraSam,
    classes: Sequence[str],
    settings: Settings,
) -> tuple[Tensor, PromptTensors, Tensor, Tensor, Tensor]:
    """Pixels [B, 3, S, S], N prompts, targets [N, 1, M, M], image index [N] and labels [N]."""
    size, side = model.config.image_size, model.config.mask_size
    pixels, coords, kinds, targets, index, labels = [], [], [], [], [], []
    for number, image in enumerate(images):
        frame, masks = changed(rng, image.pixels, image.masks, settings)
        if not masks.any():  # all turned out of sight
            frame, masks = image.pixels, image.masks
        view = model.preprocessor.view(*frame.shape[:2])
        pixels.append(torch.from_numpy(model.preprocessor.image(frame, view)))
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
                kinds.append([FOREGROUND, NOT_A_POINT])
            height, width = (round(v * side / size) for v in view.resized_shape)
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
        self.predictor = Predictor(_Backend(classifier), tta=False)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Encode one frame."""
        self.predictor.set_image(scan, frame=frame)

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt, as `Predictor`."""
        return self.predictor.predict(prompts)

    def classes_of(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """Probabilities [N, classes]."""
        embedding: _Embedding = self.predictor.embedding
        model = self.classifier.model
        rows = []
        for prompt in prompts:
            arrays = self.predictor.prompt_arrays([prompt])
            with torch.inference_mode():
                tensors = PromptTensors.from_arrays(arrays).to(model.device)
                output = model.decode(embedding.image, tensors)
                logits = self.classifier(output, embedding.features)
            rows.append(logits[0].softmax(dim=0).double().cpu().numpy())
        return np.stack(rows) if rows else np.zeros((0, len(self.classes)))


@dataclass(slots=True)
class _Embedding(TorchEmbedding):
    """With the mean of the encoder's tokens, [1, C]."""

    features: Tensor = field(default_factory=lambda: torch.zeros(1, 0))


class _Backend(TorchBackend):
    """Keeps of each image what its objects' classes are told from."""

    def __init__(self, classifier: PromptedClassifier) -> None:
        super().__init__(classifier.model)
        self.classifier = classifier

    def encode(self, pixels: Float32) -> list[TorchEmbedding]:
        with torch.inference_mode():
            images, features = self.classifier.encode(
                torch.from_numpy(pixels).to(self.model.device)
            )
        return [
            _Embedding(image, features=mean)
            for image, mean in zip(images.split(), features.split(1), strict=True)
        ]


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
    model = classifier.model
    write_model(
        classifier, folder, PROMPTED, classes=classifier.classes, config=model.config.to_json(),
        preprocessor=model.preprocessor, about=note,
    )  # fmt: skip


def load_region_classifier(folder: str | Path, device: str | None = None) -> PromptedPredictor:
    """A saved prompted classifier, ready to use.

    Raises:
        CheckpointError: there is none, or it is damaged.
        DeviceError: the device is not available.
    """

    def build(about: dict[str, Any]) -> PromptedClassifier:
        return PromptedClassifier(cast(UltraSam, empty_backbone(about)), about["classes"])

    return PromptedPredictor(read_model(Path(folder), PROMPTED, build, device=device))
