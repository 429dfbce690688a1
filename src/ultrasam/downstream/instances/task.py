"""Train an instance segmenter."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.backbone import Backbone
from ultrasam.downstream.features import ModelInput
from ultrasam.downstream.finetuning import ready, run
from ultrasam.downstream.instances.metrics import evaluate_instances
from ultrasam.downstream.instances.model import HeadConfig, InstanceSegmenter, start_head
from ultrasam.downstream.settings import HeadSettings, InstanceSettings
from ultrasam.downstream.targets import InstanceTarget, validation_split
from ultrasam.errors import DataError
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.progress import OnProgress, no_progress
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.training.augmentation import augment
from ultrasam.training.datamodule import TensorBatch
from ultrasam.training.engine import seed_everything
from ultrasam.training.task import TrainingTask


@dataclass(frozen=True, slots=True)
class InstanceBatch(TensorBatch):
    """B images: pixels [B, 3, S, S]; for each image, masks [n, S, S] and class indices [n]."""

    pixels: Tensor
    masks: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


class InstanceTask(TrainingTask[InstanceSettings]):
    """Trains an instance segmenter with Mask2Former's losses."""

    monitor = "val_dice"
    encoder = "model.net.model.pixel_level_module.encoder.pyramid.encoder."

    def __init__(
        self,
        model: InstanceSegmenter,
        settings: InstanceSettings,
        validation: Sequence[InstanceTarget] = (),
    ) -> None:
        super().__init__(model, settings)
        self.targets = {target.name: target for target in validation}

    def losses(self, batch: InstanceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the batch, expanded to [B]."""
        loss: Tensor = self.model(batch.pixels, list(batch.masks), list(batch.labels))
        return loss.expand(len(batch.pixels)), {}

    def validate(self, image: AnnotatedImage, index: int) -> dict[str, float]:
        """Mean Dice over the classes in one image; empty if there are none."""
        dice = evaluate_instances(self.model, [self.targets[image.key]]).per_image()[0]
        return {} if np.isnan(dice) else {self.monitor: float(dice)}


class InstanceViews(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented images by index; sampling and augmentation depend only on the index and the seed."""

    def __init__(
        self,
        model: InstanceSegmenter,
        targets: Sequence[InstanceTarget],
        settings: InstanceSettings,
    ) -> None:
        self.targets, self.settings = targets, settings
        config = model.head_config
        self.classes = {name: index for index, name in enumerate(config.classes)}
        self.preprocess = ModelInput(model.preprocessor, config.size, model.config.patch_size)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels [3, S, S], masks [n, S, S] and class indices [n] of the visible objects."""
        rng = np.random.default_rng((self.settings.seed, index))
        target = self.targets[int(rng.integers(len(self.targets)))]
        pixels, masks = augment(rng, target.pixels, target.masks, self.settings.augmentation)
        visible = np.asarray(masks.any(axis=(1, 2)), bool)
        labels = [
            self.classes[name]
            for name, is_visible in zip(target.labels, visible, strict=True)
            if is_visible
        ]
        return (
            self.preprocess(pixels)[0],
            masks_in_input(masks[visible], self.preprocess.preprocessor, self.preprocess.size),
            torch.tensor(labels, dtype=torch.long),
        )


def collate(views: list[tuple[Tensor, Tensor, Tensor]]) -> InstanceBatch:
    """Combine views into a batch."""
    pixels, masks, labels = zip(*views, strict=True)
    return InstanceBatch(torch.stack(pixels), masks, labels)


def masks_in_input(masks: npt.NDArray[np.bool_], preprocessor: Preprocessor, size: int) -> Tensor:
    """Resample masks [N, H, W] to the model input [N, size, size], nearest neighbor."""
    out = torch.zeros(len(masks), size, size)
    height, width = replace(preprocessor, size=size).view(*masks.shape[1:]).resized_shape
    for index, mask in enumerate(masks):
        small = cv2.resize(
            mask.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
        )
        out[index, :height, :width] = torch.from_numpy(small)
    return out


def new_segmenter(
    model: Backbone, classes: Sequence[str], settings: InstanceSettings
) -> InstanceSegmenter:
    """An untrained segmenter with a copy of ``model`` as its backbone.

    Raises:
        DataError: The size is not a multiple of the coarsest stride.
        CheckpointError: The weights of the head cannot be loaded.
    """
    config = HeadConfig.model_validate(
        settings.model_dump(include=set(HeadSettings.model_fields))
        | {"classes": classes, "size": settings.size or model.config.image_size}
    )
    seed_everything(settings)
    segmenter = InstanceSegmenter(copy.deepcopy(model), config)
    coarsest = max(*segmenter.pyramid.strides, model.config.patch_size)
    if config.size % coarsest:
        raise DataError(
            f"Size {config.size} is not a multiple of {coarsest}, the coarsest stride; change size."
        )
    if settings.head is not None:
        start_head(segmenter, settings.head)
    return segmenter


def train_instance_segmenter(
    model: Backbone,
    targets: Sequence[InstanceTarget],
    classes: Sequence[str],
    settings: InstanceSettings,
    *,
    folder: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> InstanceSegmenter:
    """Train a segmenter on ``targets``; ``model`` is not modified.

    Args:
        folder: for checkpoints, from which ``resume`` continues.
        on_progress: called after each step with (step, total steps) and the logged scores.

    Raises:
        DataError: The size is not a multiple of the coarsest stride.
        CheckpointError: The weights of the head cannot be loaded.
        RecipeError: The folder already contains a run, or has none to resume.
    """
    segmenter = new_segmenter(model, classes, settings)
    if isinstance(segmenter.pyramid.encoder, ImageEncoder):
        checkpoint_blocks(segmenter.pyramid.encoder, enabled=settings.trainer.checkpointing)
    held_out: list[InstanceTarget] = []
    if settings.validation.every:
        targets, held_out = validation_split(
            targets, settings.validation.fraction, settings.validation.images
        )
    segmenter.train()
    run(
        InstanceTask(segmenter, settings, held_out),
        InstanceViews(segmenter, targets, settings), collate,
        validation=[target.image for target in held_out],
        folder=folder, resume=resume, on_progress=on_progress,
    )  # fmt: skip
    return ready(segmenter, settings)
