"""The promptable task: interactive training of a segmenter from points, boxes and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.protocol import PromptKind, attempt, evaluate, targets_of
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

_DRAWN = 6  # pictures at each validation


class PromptableTask(TrainingTask[Recipe]):
    """Interactive training of one model as a recipe describes it.

    Args:
        pictures: a folder for pictures at each validation.
    """

    monitor = "val_dice"  # mean over images and kinds of prompts

    def __init__(self, model: UltraSam, recipe: Recipe, *, pictures: Path | None = None) -> None:
        super().__init__(model, recipe)
        self.pictures = pictures

    def losses(self, batch: PromptableBatch) -> tuple[Tensor, dict[str, Tensor]]:
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
        )
        boxes = (batch.labels == BOTTOM_RIGHT).any(dim=1)
        scores = {}
        for kind, chosen in (("box", boxes), ("click", ~boxes)):
            if bool(chosen.any()):
                scores[f"{kind}_iou"] = rounds[0].iou[chosen].mean()
                scores[f"{kind}_iou_last"] = rounds[-1].iou[chosen].mean()
        return torch.stack([r.loss for r in rounds]).sum(dim=0), scores

    def validate(self, image: AnnotatedImage, index: int) -> dict[str, float]:
        predictor = Predictor(self.model)
        if index < _DRAWN and self.global_rank == 0:
            self._draw(predictor, image, index)
        scores = {}
        for kind in self.settings.validation.kinds:
            dice = [score.dice for score in evaluate(predictor, [image], [kind])]
            if dice:
                scores[f"val_dice_{kind}"] = float(np.mean(dice))
        if scores:
            scores[self.monitor] = float(np.mean(list(scores.values())))
        return scores

    def _draw(self, predictor: Predictor, image: AnnotatedImage, index: int) -> None:
        """A picture of the image's largest object, segmented from its box."""
        if self.pictures is None or not (targets := targets_of(image)):
            return
        target = max(targets, key=lambda t: int(t.truth.sum()))
        pixels = image.gray
        predictor.set_image(pixels)
        (found,) = attempt(predictor, [target], PromptKind.parse("box"))
        path = self.pictures / f"{self.global_step:07d}_{index}.png"
        write_png(path, draw_case(pixels, bounding_box(target.truth), target.truth, found.mask))
