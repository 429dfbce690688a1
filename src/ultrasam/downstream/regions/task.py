"""Train and test a region classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.classification.model import focal
from ultrasam.downstream.finetuning import ready, run
from ultrasam.downstream.regions.model import RegionClassifier, RegionPredictor
from ultrasam.downstream.settings import RegionSettings
from ultrasam.downstream.targets import InstanceTarget, validation_split
from ultrasam.errors import DataError
from ultrasam.images.masks import bounding_box, center_of_mass
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.progress import OnProgress, no_progress
from ultrasam.prompts import Prompt
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.training.engine import seed_everything
from ultrasam.training.interaction import interact
from ultrasam.training.promptable_data import PromptableBatch, PromptableViews, Source, collate
from ultrasam.training.task import TrainingTask
from ultrasam.training.train import trained_preprocessor


class RegionTask(TrainingTask[RegionSettings]):
    """Trains masks and classes together."""

    monitor = "val_accuracy"
    encoder = "model.model.image_encoder."

    def __init__(
        self,
        model: RegionClassifier,
        settings: RegionSettings,
        validation: Sequence[InstanceTarget] = (),
    ) -> None:
        super().__init__(model, settings)
        self.targets = {target.name: target for target in validation}

    def losses(self, batch: PromptableBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mask and class losses [N], and the accuracy."""
        classifier: RegionClassifier = self.model
        settings = self.settings
        encoded, features = classifier.encode(batch.inputs(classifier.model.preprocessor))
        rounds = interact(
            classifier.model,
            encoded,
            PromptTensors(batch.coords, batch.labels),
            batch.targets,
            image_index=batch.image_index,
            interaction=settings.interaction,
            losses=settings.losses,
            seeds=batch.seeds,
        )
        logits = classifier(rounds[-1].output, features.index_select(0, batch.image_index))
        accuracy = (logits.argmax(dim=1) == batch.classes).float().mean()
        masks = torch.stack([r.loss for r in rounds]).sum(dim=0)
        classes = focal(logits.float(), batch.classes, gamma=settings.gamma)
        return masks + settings.weight * classes, {"accuracy": accuracy}

    def validate(self, image: AnnotatedImage, index: int) -> dict[str, float]:
        """Accuracy from boxes and from clicks, and their mean."""
        target = self.targets[image.key]
        scores = {
            f"val_accuracy_{kind}": accuracy(self.model, [target], kind)
            for kind in ("box", "point")
        }
        return {**scores, self.monitor: float(np.mean(list(scores.values())))}


@dataclass(frozen=True, slots=True)
class ClassIndex:
    """Class index of each instance of an image; None for instances to ignore."""

    by_key: dict[str, dict[int, int]]

    @classmethod
    def of(cls, targets: Sequence[InstanceTarget], classes: Sequence[str]) -> ClassIndex:
        """Index the instances of targets by their position in ``classes``."""
        index = {name: number for number, name in enumerate(classes)}
        return cls(
            {
                target.name: {
                    row: index[label] for row, label in zip(target.rows, target.labels, strict=True)
                }
                for target in targets
            }
        )

    def __call__(self, image: AnnotatedImage) -> list[int | None]:
        known = self.by_key[image.key]
        return [known.get(row) for row in range(len(image.areas))]


def train_region_classifier(
    model: UltraSam,
    targets: Sequence[InstanceTarget],
    settings: RegionSettings,
    *,
    folder: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> RegionClassifier:
    """Train all parameters for masks and classes together; ``model`` is modified.

    Args:
        folder: for checkpoints, from which ``resume`` continues.
        on_progress: called after each step with (step, total steps) and the logged scores.

    Raises:
        DataError: There are fewer than two classes.
        RecipeError: The folder already contains a run, or has none to resume.
    """
    classes = sorted({label for target in targets for label in target.labels})
    if len(classes) < 2:
        raise DataError(
            f"Region classification needs at least two classes; the objects have only "
            f"{', '.join(classes) or 'none'}."
        )
    seed_everything(settings)
    model.preprocessor = trained_preprocessor(model.preprocessor)
    classifier = RegionClassifier(model, classes).train()
    checkpoint_blocks(model.image_encoder, enabled=settings.trainer.checkpointing)
    held_out: list[InstanceTarget] = []
    if settings.validation.every:
        targets, held_out = validation_split(
            targets, settings.validation.fraction, settings.validation.images
        )
    views = PromptableViews(
        [Source("the training data", [target.image for target in targets], 1.0)],
        image_size=model.config.image_size,
        mask_size=model.config.mask_size,
        augmentation=settings.augmentation,
        prompts=settings.prompts,
        seed=settings.seed,
        classes=ClassIndex.of(targets, classes),
    )
    run(
        RegionTask(classifier, settings, held_out), views, collate,
        validation=[target.image for target in held_out],
        folder=folder, resume=resume, on_progress=on_progress,
    )  # fmt: skip
    return ready(classifier, settings)


def correct(
    classifier: RegionClassifier, targets: Sequence[InstanceTarget], kind: str
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Whether the class of each object is predicted correctly (1 or 0), and the object's subject.

    Args:
        kind: prompt with the tight ``box``, or with a click at the center of mass (``point``).
    """
    predictor = RegionPredictor(classifier)
    results, subjects = list[float](), list[str]()
    for target in targets:
        predictor.set_image(target.pixels)
        prompts = [
            Prompt(box=tuple(bounding_box(mask)))
            if kind == "box"
            else Prompt(points=center_of_mass(mask)[None])
            for mask in target.masks
        ]
        predicted = predictor.classify(prompts).argmax(axis=1)
        results += [
            float(classifier.classes[i] == label)
            for i, label in zip(predicted, target.labels, strict=True)
        ]
        subjects += [target.subject] * len(target.labels)
    return np.asarray(results), subjects


def accuracy(classifier: RegionClassifier, targets: Sequence[InstanceTarget], kind: str) -> float:
    """Fraction of objects whose class is predicted correctly; see `correct`."""
    return float(correct(classifier, targets, kind)[0].mean())
