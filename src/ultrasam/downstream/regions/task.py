"""Training a region classifier, and how often it is right."""

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
    """Masks and classes together."""

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
        target = self.targets[image.key]
        scores = {
            f"val_accuracy_{kind}": accuracy(self.model, [target], kind)
            for kind in ("box", "point")
        }
        return {**scores, self.monitor: float(np.mean(list(scores.values())))}


@dataclass(frozen=True, slots=True)
class ClassIndex:
    """The class index of each of an image's instances, None for those that do not count."""

    by_key: dict[str, dict[int, int]]

    @classmethod
    def of(cls, targets: Sequence[InstanceTarget], classes: Sequence[str]) -> ClassIndex:
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
    """Train masks and classes together, all parameters; ``model`` is changed.

    Args:
        folder: for checkpoints, from which ``resume`` continues.
        on_progress: called after each step with (step, all steps) and the scores that were logged.

    Raises:
        DataError: fewer than two classes.
        RecipeError: the folder already holds a run, or has none to resume.
    """
    classes = sorted({label for target in targets for label in target.labels})
    if len(classes) < 2:
        raise DataError(
            f"The objects have {len(classes)} class ({', '.join(classes) or 'none'}); at least two are "
            "needed."
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
        [Source("the data", [target.image for target in targets], 1.0)],
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
    """Of each object whether its class is predicted correctly (1 or 0) from its tight ``box`` or a click at
    its center of mass (``point``); and its subject."""
    predictor = RegionPredictor(classifier)
    found, subjects = list[float](), list[str]()
    for target in targets:
        predictor.set_image(target.pixels)
        prompts = [
            Prompt(box=tuple(bounding_box(mask)))
            if kind == "box"
            else Prompt(points=center_of_mass(mask)[None])
            for mask in target.masks
        ]
        predicted = predictor.classify(prompts).argmax(axis=1)
        found += [
            float(classifier.classes[i] == label)
            for i, label in zip(predicted, target.labels, strict=True)
        ]
        subjects += [target.subject] * len(target.labels)
    return np.asarray(found), subjects


def accuracy(classifier: RegionClassifier, targets: Sequence[InstanceTarget], kind: str) -> float:
    """The fraction of what `correct` counts."""
    return float(correct(classifier, targets, kind)[0].mean())
