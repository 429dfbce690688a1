"""The promptable task: train a segmenter interactively with points, boxes and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import evaluate_prompts, segment_targets, targets_of
from ultrasam.images.masks import bounding_box
from ultrasam.inference.predictor import Predictor
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BOTTOM_RIGHT
from ultrasam.reporting.plots import draw_case
from ultrasam.store.journal import write_png
from ultrasam.training.interaction import interact
from ultrasam.training.promptable_data import PromptableBatch
from ultrasam.training.recipe import Recipe
from ultrasam.training.task import TrainingTask

_PICTURES = 6  # per validation


class PromptableTask(TrainingTask[Recipe]):
    """Trains one model interactively, as specified by a recipe.

    Args:
        pictures: folder for sample images from each validation.
    """

    monitor = "val_dice"  # mean over images and prompt types

    def __init__(self, model: UltraSam, recipe: Recipe, *, pictures: Path | None = None) -> None:
        super().__init__(model, recipe)
        self.pictures = pictures

    def losses(self, batch: PromptableBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses [N] of all prompts, summed over rounds, and the IoU of boxes and clicks."""
        image = self.model.encode(batch.inputs(self.model.preprocessor))
        rounds = interact(
            self.model,
            image,
            PromptTensors(batch.coords, batch.labels),
            batch.targets,
            image_index=batch.image_index,
            interaction=self.settings.interaction,
            losses=self.settings.losses,
            seeds=batch.seeds,
            present=batch.present,
        )
        boxes = (batch.labels == BOTTOM_RIGHT).any(dim=1)
        scores = {}
        for kind, selected in (("box", boxes), ("click", ~boxes)):
            selected = selected & batch.present
            if bool(selected.any()):
                scores[f"{kind}_iou"] = rounds[0].iou[selected].mean()
                scores[f"{kind}_iou_last"] = rounds[-1].iou[selected].mean()
        return torch.stack([r.loss for r in rounds]).sum(dim=0), scores

    def validate(self, image: AnnotatedImage, index: int) -> dict[str, float]:
        """Dice per prompt type, and their mean."""
        predictor = Predictor(self.model)
        if index < _PICTURES and self.global_rank == 0:
            self._draw(predictor, image, index)
        scores = {}
        for kind in self.settings.validation.kinds:
            dice = [score.dice for score in evaluate_prompts(predictor, [image], [kind])]
            if dice:
                scores[f"val_dice_{kind}"] = float(np.mean(dice))
        if scores:
            scores[self.monitor] = float(np.mean(list(scores.values())))
        return scores

    def _draw(self, predictor: Predictor, image: AnnotatedImage, index: int) -> None:
        """Save a picture of the largest object, segmented from its box."""
        if self.pictures is None or not (targets := targets_of(image)):
            return
        target = max(targets, key=lambda t: int(t.truth.sum()))
        pixels = image.gray
        predictor.set_image(pixels)
        (prediction,) = segment_targets(predictor, [target], PromptKind.parse("box"))
        path = self.pictures / f"{self.global_step:07d}_{index}.png"
        write_png(
            path, draw_case(pixels, bounding_box(target.truth), target.truth, prediction.mask)
        )
