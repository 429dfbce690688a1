"""The LightningModule: one step of interactive training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor

from ultrasam.datasets.annotated_image import Sample
from ultrasam.evaluation.protocol import PromptKind, attempt, evaluate, targets_of
from ultrasam.images.masks import box_of
from ultrasam.images.pixels import grey
from ultrasam.inference.predictor import Predictor
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BOTTOM_RIGHT
from ultrasam.reporting.plots import draw_case
from ultrasam.store.journal import write_png
from ultrasam.training.interaction import LoopStyle, interact
from ultrasam.training.loader import Batch
from ultrasam.training.optimisation import configure
from ultrasam.training.recipe import Recipe
from ultrasam.training.sharding import shard

_SAMPLES = 6  # pictures at each validation
MEAN = "val_dice"  # over images and kinds of prompts


class SegmentationTask(lightning.LightningModule):
    """Interactive training of one model as a recipe says."""

    def __init__(self, model: UltraSam, recipe: Recipe, *, samples: Path | None = None) -> None:
        """``samples``: a folder for pictures at each validation."""
        super().__init__()
        self.samples = samples
        self.model = model
        self.recipe = recipe
        self.sharded = False
        prompts, losses = recipe.prompts, recipe.losses
        self.style = LoopStyle(
            rounds=prompts.rounds,
            corrective=prompts.corrective,
            feedback_gradient=prompts.feedback_gradient,
            focal=losses.focal,
            dice=losses.dice,
            iou=losses.iou,
            alpha=losses.alpha,
            gamma=losses.gamma,
            masks=prompts.masks,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Dropout's randomness depends on step and process alone, so that a resumed run repeats it; the
        # prompts' depends on each prompt's own seed.
        torch.manual_seed((self.recipe.seed * 2**20 + batch_idx) * 4096 + self.global_rank)
        rgb = batch.pixels.expand(-1, 3, -1, -1).float()
        pixels = self.model.preprocessor.normalize(rgb)
        image = self.model.encode(pixels)
        rounds = interact(
            self.model,
            image,
            PromptTensors(batch.coords, batch.labels),
            batch.targets,
            image_index=batch.image_index,
            style=self.style,
            seeds=batch.seeds,
        )
        per_prompt = torch.stack([r.loss for r in rounds]).sum(dim=0)
        boxes = (batch.labels == BOTTOM_RIGHT).any(dim=1)
        loss = self._mean_over_processes(per_prompt)
        scores = {"loss": per_prompt.detach().mean()}
        for kind, chosen in (("box", boxes), ("click", ~boxes)):
            if bool(chosen.any()):
                scores[f"{kind}_iou"] = rounds[0].iou[chosen].mean()
                scores[f"{kind}_iou_last"] = rounds[-1].iou[chosen].mean()
        self.log_dict(scores, prog_bar=True, batch_size=len(batch.pixels))
        return loss

    def validation_step(self, sample: Sample, batch_idx: int) -> None:
        self.model.eval()
        predictor = Predictor(self.model)
        if batch_idx < _SAMPLES and self.global_rank == 0:
            self._draw(predictor, sample, batch_idx)
        for kind in self.recipe.validation.kinds:
            scores = [score.dice for score in evaluate(predictor, [sample], [kind])]
            if scores:
                mean = float(np.mean(scores))
                self.log(f"val_dice_{kind}", mean, batch_size=len(scores), sync_dist=True)
                self.log(MEAN, mean, batch_size=len(scores), sync_dist=True, prog_bar=True)

    def _draw(self, predictor: Predictor, sample: Sample, index: int) -> None:
        """A picture of the sample's largest object, segmented from its box."""
        if self.samples is None or not (targets := targets_of(sample)):
            return
        target = max(targets, key=lambda t: int(t.truth.sum()))
        pixels = grey(sample.pixels)
        predictor.set_image(pixels)
        (found,) = attempt(predictor, [target], PromptKind.parse("box"))
        path = self.samples / f"{self.global_step:07d}_{index}.png"
        write_png(path, draw_case(pixels, box_of(target.truth), target.truth, found.mask))

    def on_validation_end(self) -> None:
        self.model.train()

    def _mean_over_processes(self, per_prompt: Tensor) -> Tensor:
        """What, averaged over processes as their gradients are, is the mean over all prompts: processes
        hold different numbers of them."""
        processes = self.trainer.world_size
        if processes == 1:
            return per_prompt.mean()
        count = torch.tensor(float(len(per_prompt)), device=per_prompt.device)
        total = cast(Tensor, self.all_gather(count)).sum()
        return per_prompt.sum() * (processes / total)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient's norm, whole and by part of the model, before it is clipped."""
        # Every process must take part, as sharded norms are sums over them.
        if (self.trainer.global_step + 1) % self.recipe.trainer.log_every:
            return
        norms = {"": gradient_norm(self.model.parameters())}
        for name, part in self.model.named_children():
            norms[f"_{name}"] = gradient_norm(part.parameters())
        self.log_dict({f"grad_norm{name}": norm for name, norm in norms.items()})

    def configure_model(self) -> None:
        if self.recipe.trainer.strategy == "fsdp" and not self.sharded:
            mesh = cast(Any, self.device_mesh)["data_parallel"]
            shard(self, self.model.image_encoder.blocks, mesh)
            self.sharded = True

    def configure_optimizers(self) -> Any:
        return configure(self.model, self.recipe.optimiser, self.recipe.trainer.max_steps)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.to(device) if isinstance(batch, Batch) else batch


def gradient_norm(parameters: Iterator[torch.nn.Parameter]) -> Tensor:
    """The Euclidean norm of all gradients together, sharded or not; 0 where there is none."""
    found = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(found)
    return cast(Any, norm).full_tensor() if hasattr(norm, "full_tensor") else norm
