"""Base class of training tasks: a network, the loss of a batch, and the score of a validation image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.extras import needs
from ultrasam.training.datamodule import TensorBatch
from ultrasam.training.optimization import configure
from ultrasam.training.run_settings import RunSettings
from ultrasam.training.sharding import shard

with needs("Training", extra="train"):
    import lightning

S = TypeVar("S", bound=RunSettings)


class TrainingTask(lightning.LightningModule, ABC, Generic[S]):
    """Base class of all tasks: seeds each step, logs gradients, and sets up optimizer and sharding.

    A subclass defines `losses` and `validate`.

    Attributes:
        monitor: score that selects the best weights; higher is better.
        encoder: name prefix of the image encoder's parameters.
        model: the network; its weights are saved under this name.
    """

    monitor = "val_score"
    encoder = "model.image_encoder."

    def __init__(self, model: nn.Module, settings: S) -> None:
        super().__init__()
        self.model: Any = model
        self.settings = settings
        self._sharded = False

    @abstractmethod
    def losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses [N] of the items in a batch, and scores to log.

        The mean over the items of all processes is minimized, even if their numbers differ.
        """

    @abstractmethod
    def validate(self, image: AnnotatedImage, index: int) -> dict[str, float]:
        """Scores of one validation image, including `monitor`; empty if there is nothing to score."""

    def training_step(self, batch: TensorBatch, batch_idx: int) -> Tensor:
        """Mean loss of a batch; logs the scores."""
        # The seed depends only on step and process, so that a resumed run repeats it.
        torch.manual_seed((self.settings.seed * 2**20 + batch_idx) * 4096 + self.global_rank)
        losses, scores = self.losses(batch)
        scores = {"loss": losses.detach().mean(), **scores}
        self.log_dict(scores, prog_bar=True, batch_size=max(1, len(losses)))
        return self._mean_over_processes(losses)

    def validation_step(self, image: AnnotatedImage, batch_idx: int) -> None:
        """Log the scores of one image."""
        for name, value in self.validate(image, batch_idx).items():
            self.log(name, value, batch_size=1, sync_dist=True, prog_bar=name == self.monitor)

    def _mean_over_processes(self, losses: Tensor) -> Tensor:
        """A loss whose average over processes is the mean over all items, although processes hold different
        numbers of them."""
        processes = self.trainer.world_size
        if processes == 1:
            return losses.mean()
        count = torch.tensor(float(len(losses)), device=losses.device)
        total = cast(Tensor, self.all_gather(count)).sum()
        return losses.sum() * (processes / total)

    def on_train_start(self) -> None:
        """Set the learning rate of the first step from the schedule.

        A checkpoint holds the rate of the run that wrote it: at the end of a linear schedule 0, from which a
        longer run would take its next step.
        """
        scheduler: Any = self.lr_schedulers()
        groups = scheduler.optimizer.param_groups
        for group, lr, factor in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = lr * factor(scheduler.last_epoch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norm before clipping, in total and per part of the model."""
        # All processes must get here, because sharded norms are sums over processes.
        if (self.trainer.global_step + 1) % self.settings.trainer.log_every:
            return
        norms = {"": gradient_norm(self.model.parameters())}
        for name, part in self.model.named_children():
            norms[f"_{name}"] = gradient_norm(part.parameters())
        self.log_dict({f"grad_norm{name}": norm for name, norm in norms.items()})

    def configure_model(self) -> None:
        """Shard the model if the strategy is FSDP."""
        if self.settings.trainer.strategy == "fsdp" and not self._sharded:
            mesh = cast(Any, self.device_mesh)["data_parallel"]
            shard(self, self.encoder_blocks(), mesh)
            self._sharded = True

    def encoder_blocks(self) -> nn.ModuleList:
        """Modules that FSDP shards one by one; everything else is one shard."""
        return cast(nn.ModuleList, self.get_submodule(f"{self.encoder}blocks"))

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule."""
        steps = self.settings.trainer.max_steps
        return configure(self, self.settings.optimizer, steps, encoder=self.encoder)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move training batches; validation images stay on the CPU."""
        return batch.to(device) if isinstance(batch, TensorBatch) else batch


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients together, sharded or not; 0 if there are none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    return cast(Any, norm).full_tensor() if hasattr(norm, "full_tensor") else norm
