"""Train an image classifier, once or with cross-validation."""

from __future__ import annotations

import copy
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.backbone import Backbone
from ultrasam.downstream.class_files import label_of
from ultrasam.downstream.classification.model import Classifier, Head, focal
from ultrasam.downstream.finetuning import ready, run
from ultrasam.downstream.images import check_classes
from ultrasam.downstream.settings import ClassifierSettings
from ultrasam.downstream.targets import validation_split
from ultrasam.errors import InterruptedRunError
from ultrasam.files import atomic_file, require_space
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.progress import OnProgress, no_progress
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.training.augmentation import NO_AUGMENTATION, augment
from ultrasam.training.datamodule import TensorBatch
from ultrasam.training.engine import is_first_process, seed_everything
from ultrasam.training.task import TrainingTask

_NO_MASKS = np.zeros((0, 1, 1), bool)
_ENCODER_BATCH = 8  # for a frozen encoder


@dataclass(frozen=True, slots=True)
class ClassBatch(TensorBatch):
    """B images.

    Attributes:
        inputs: preprocessed pixels [B, 3, S, S], or tokens [B, h, w, C] of a frozen encoder.
        valid: [B, h, w], the fraction of each patch that the image covers.
        labels: [B], class indices.
    """

    inputs: Tensor
    valid: Tensor
    labels: Tensor


class ClassificationTask(TrainingTask[ClassifierSettings]):
    """Trains a classifier with the focal loss."""

    monitor = "val_accuracy"
    encoder = "model.encoder."

    def losses(self, batch: ClassBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Focal loss [B] and accuracy."""
        model: Classifier = self.model
        forward = model.from_tokens if model.head.frozen else model
        logits = forward(batch.inputs, batch.valid)
        accuracy = (logits.argmax(dim=1) == batch.labels).float().mean()
        return focal(logits, batch.labels, gamma=self.settings.gamma), {"accuracy": accuracy}

    def validate(self, image: AnnotatedImage, index: int) -> dict[str, float]:
        """Accuracy of one image; empty if its class is unknown to the model."""
        model: Classifier = self.model
        if image.class_label not in model.head.classes:
            return {}
        predicted = int(model.predict([image.gray])[0].argmax())
        correct = model.head.classes[predicted] == image.class_label
        return {self.monitor: float(correct)}


class ClassificationViews(Dataset[tuple[Tensor, Tensor, int]]):
    """Images by index; sampling and augmentation depend only on the index and the seed."""

    def __init__(
        self, model: Classifier, images: Sequence[AnnotatedImage], settings: ClassifierSettings
    ) -> None:
        self.images, self.settings = images, settings
        self.preprocess = model.input_of()
        self.labels = [model.head.classes.index(label_of(image)) for image in images]
        counts = Counter(self.labels)
        weights = np.array([1 / counts[i] if settings.balance else 1.0 for i in self.labels])
        self.probabilities = weights / weights.sum()
        frozen = model.head.frozen
        self.augmentation = NO_AUGMENTATION if frozen else settings.augmentation

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        """Model input, valid fraction of its patches, and class index."""
        rng = np.random.default_rng((self.settings.seed, index))
        row = int(rng.choice(len(self.images), p=self.probabilities))
        return (*self.input(rng, row), self.labels[row])

    def input(self, rng: np.random.Generator, row: int) -> tuple[Tensor, Tensor]:
        """Model input for one image, augmented."""
        pixels, _ = augment(rng, self.images[row].gray, _NO_MASKS, self.augmentation)
        return self.preprocess(pixels)


class FrozenViews(ClassificationViews):
    """`ClassificationViews` with the tokens of a frozen encoder, which encodes each image only once.

    The tokens are stored in a file, so that any number of images fits into memory.
    """

    def __init__(
        self,
        model: Classifier,
        images: Sequence[AnnotatedImage],
        settings: ClassifierSettings,
        file: Path,
    ) -> None:
        super().__init__(model, images, settings)
        device = model.classify.weight.device
        self.valid: list[Tensor] = []
        tokens: np.memmap[Any, np.dtype[np.float32]] | None = None
        for start in range(0, len(images), _ENCODER_BATCH):
            inputs = [
                self.preprocess(image.gray) for image in images[start : start + _ENCODER_BATCH]
            ]
            self.valid += [valid for _, valid in inputs]
            with torch.no_grad():
                pixels = torch.stack([pixels for pixels, _ in inputs]).to(device)
                encoded = model.encoder.features(pixels)[-1].float().cpu().numpy()
            if tokens is None:
                shape = (len(images), *encoded.shape[1:])
                # Writing to a mapped file on a full disk would end the process without a word.
                require_space(file.parent, 4 * math.prod(shape))
                tokens = np.memmap(file, np.float32, "w+", shape=shape)
            tokens[start : start + len(encoded)] = encoded
        assert tokens is not None
        self.tokens = tokens

    def input(self, rng: np.random.Generator, row: int) -> tuple[Tensor, Tensor]:
        """Stored tokens of one image."""
        return torch.from_numpy(np.array(self.tokens[row])), self.valid[row]


def collate(views: list[tuple[Tensor, Tensor, int]]) -> ClassBatch:
    """Combine views into a batch."""
    inputs, valid, labels = zip(*views, strict=True)
    return ClassBatch(torch.stack(inputs), torch.stack(valid), torch.tensor(labels))


def train_classifier(
    model: Backbone,
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    settings: ClassifierSettings,
    *,
    folder: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> Classifier:
    """Train a classifier on images with a class label; ``model`` is not modified.

    Args:
        folder: for checkpoints, from which ``resume`` continues.
        on_progress: called after each step with (step, total steps) and the logged scores.

    Raises:
        DataError: An image is damaged.
        DiskFullError: The temporary folder has no space for the tokens of a frozen encoder.
        RecipeError: The folder already contains a run, or has none to resume.
    """
    head = Head(settings.mode, tuple(classes), settings.size or model.config.image_size)
    seed_everything(settings)
    classifier = Classifier(copy.deepcopy(model), head)
    if isinstance(classifier.encoder, ImageEncoder):
        checkpoint_blocks(classifier.encoder, enabled=settings.trainer.checkpointing)
    validation: list[AnnotatedImage] = []
    if settings.validation.every:
        images, validation = validation_split(
            images, settings.validation.fraction, settings.validation.images
        )
    with tempfile.TemporaryDirectory() as scratch:
        views = ClassificationViews(classifier, images, settings)
        if head.frozen:
            ready(classifier, settings)
            views = FrozenViews(classifier, images, settings, Path(scratch) / "tokens")
        # A frozen encoder stays in evaluation mode; only its head is trained.
        classifier.train(not head.frozen)
        run(
            ClassificationTask(classifier, settings), views, collate, validation=validation,
            folder=folder, resume=resume, on_progress=on_progress,
        )  # fmt: skip
    return ready(classifier, settings)


def cross_validate(
    model: Backbone,
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    folds: Sequence[tuple[list[int], list[int]]],
    settings: ClassifierSettings,
    *,
    folder: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> npt.NDArray[np.float64]:
    """Class probabilities [N, classes] of each image from the fold in which it is tested; NaN for images that
    no fold tests.

    Args:
        folder: stores the probabilities of each finished fold, so that it is not trained again.
        on_progress: called with (step, total steps) over all folds.

    Raises:
        DataError: A fold has a subject in both training and test data, or tests a class without training
        images.
    """
    out = np.full((len(images), len(classes)), np.nan)
    steps = settings.trainer.max_steps

    for number, (trained, tested) in enumerate(folds):
        done = None if folder is None else folder / f"fold-{number}.npy"
        if done is not None and done.exists():
            out[tested] = np.load(done)
            continue
        train, test = [images[i] for i in trained], [images[i] for i in tested]
        check_classes(train, test)

        shifted = _Shifted(on_progress, number * steps, len(folds) * steps)
        try:
            classifier = train_classifier(model, train, classes, settings, on_progress=shifted)
        except InterruptedRunError as error:
            raise _interrupted(error, number, len(folds), saved=folder is not None) from error
        out[tested] = classifier.predict(image.gray for image in test).double().numpy()
        if done is not None and is_first_process():
            with atomic_file(done) as file:
                np.save(file, out[tested])
    return out


def _interrupted(
    error: InterruptedRunError, done: int, folds: int, *, saved: bool
) -> InterruptedRunError:
    where = f"{str(error).rstrip('.')}, in fold {done + 1} of {folds}"
    if not saved or not done:
        return InterruptedRunError(f"{where}.")
    kept = "the finished fold is" if done == 1 else f"the {done} finished folds are"
    return InterruptedRunError(
        f"{where}; {kept} kept: run the same command with --resume to continue."
    )


@dataclass(frozen=True, slots=True)
class _Shifted:
    """Reports the progress of one run as progress of several consecutive runs."""

    on_progress: OnProgress
    before: int
    total: int

    def __call__(self, done: int, _total: int, /, **info: Any) -> None:
        self.on_progress(self.before + done, self.total, **info)
