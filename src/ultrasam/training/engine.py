"""`fit`: any task from data to trained weights, on one process or many, and on again after a cut.

Lightning does the loop, precision, several processes, checkpoints and early stopping; what is added here is
that a run is never overwritten, that checkpoints are whole, and that a resumed run equals an uninterrupted
one.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch

from ultrasam.errors import DeviceError, MissingDependencyError, RecipeError
from ultrasam.extras import needs
from ultrasam.progress import OnProgress, no_progress
from ultrasam.training.datamodule import IndexedData
from ultrasam.training.run_folder import LAST, check_folder
from ultrasam.training.run_settings import RunSettings, TrainerSettings
from ultrasam.training.task import TrainingTask
from ultrasam.weights.formats import current_key, current_keys

logger = logging.getLogger(__name__)

BEST = "best.ckpt"

with needs("Training", extra="train"):
    import lightning
    from lightning.pytorch.callbacks import (
        Callback,
        EarlyStopping,
        EMAWeightAveraging,
        ModelCheckpoint,
    )
    from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
    from lightning.pytorch.plugins.io import TorchCheckpointIO
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run did.

    Attributes:
        steps: steps taken now, those before a resumption not counted.
        seconds: how long they took.
        kept_best: the weights are those of the best validation.
        score: of the last validation.
    """

    steps: int
    seconds: float
    kept_best: bool
    score: float | None


def fit(
    task: TrainingTask[Any],
    data: IndexedData,
    *,
    folder: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> FitResult:
    """Train a task; its weights are changed in place, and are those of the best validation if it validates.

    Args:
        folder: for checkpoints and the log; without one nothing is kept, and the run cannot be resumed.
        resume: continue from the last checkpoint in the folder.
        on_progress: called after each step with (step, all steps) and the scores that were logged.

    Raises:
        RecipeError: the folder already holds a run, or has none to resume; memory is short; or the run was
            interrupted.
    """
    settings: RunSettings = task.settings
    if folder is not None:
        check_folder(folder, resume=resume)
    last = folder / LAST if folder is not None and resume else None
    data.first_step = _steps_done(last) if last is not None else 0
    started = time.monotonic()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=f".*{message}")
        trainer = make_trainer(
            settings, task.monitor, folder=folder, scratch=Path(scratch), on_progress=on_progress
        )
        try:
            trainer.fit(
                task,
                datamodule=data,
                ckpt_path=str(last) if last is not None else None,
                weights_only=False if last is not None else None,
            )
        except torch.OutOfMemoryError as error:
            raise RecipeError(
                f"A batch of {settings.trainer.batch} does not fit into memory; lower trainer.batch, raise "
                "trainer.accumulate, or set trainer.checkpointing=true."
            ) from error
        if trainer.interrupted:
            hint = "" if folder is None else f" Resume it with --resume (from {folder / LAST})."
            raise RecipeError(f"Training was interrupted.{hint}")
        kept = _restore_best(task, trainer)
        trainer.strategy.barrier()  # the scratch folder is the first process's
    score = trainer.callback_metrics.get(task.monitor)
    return FitResult(
        trainer.global_step - data.first_step,
        time.monotonic() - started,
        kept,
        None if score is None else float(score),
    )


def seed_everything(settings: RunSettings) -> None:
    """Seed what is drawn outside of batches, such as a head's first weights."""
    lightning.seed_everything(settings.seed, workers=True, verbose=False)


def is_first_process() -> bool:
    """Whether this process writes files and prints: the first of a run's, or the only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", os.environ.get("LOCAL_RANK", "0")))
    return rank == "0"


# Expected by design.
_EXPECTED_WARNINGS = (
    "your dataloader is not resumable",  # it is: its views depend on their index alone
    "Checkpoint directory .* exists",
    "Experiment logs directory .* exists",
    "smaller than the logging interval",
    "WeightAveraging callback with a model that overrides",  # sharded runs refuse averages
    "overridden `transfer_batch_to_device`",
    "does not have many workers",
    "module.s. in eval mode at the start of training",  # a frozen encoder stays so
    "`isinstance.treespec, LeafSpec.` is deprecated",
    "You are using a CUDA device .* Tensor Cores",
    "GPU available but not used",
)


def make_trainer(
    settings: RunSettings,
    monitor: str,
    *,
    folder: Path | None = None,
    scratch: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> lightning.Trainer:
    """Lightning's trainer as the settings describe it.

    Args:
        folder: for checkpoints and the log.
        scratch: for the best weights where there is no ``folder``.

    Raises:
        RecipeError: Some settings exclude one another.
        DeviceError: A GPU is asked for and there is none.
    """
    trainer = settings.trainer
    # Lightning's own lines (devices, precision, advertisements) say nothing that a recipe does not.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise DeviceError("Device 'cuda' is not available; use 'cpu'.")
    return lightning.Trainer(
        max_steps=trainer.max_steps,
        max_epochs=-1,
        precision=trainer.precision,
        accelerator=trainer.accelerator,
        devices=list(trainer.devices) if isinstance(trainer.devices, tuple) else trainer.devices,
        num_nodes=trainer.nodes,
        strategy=_strategy(settings),
        accumulate_grad_batches=trainer.accumulate,
        gradient_clip_val=settings.optimizer.clip,
        logger=_logger(trainer, folder) if folder is not None else False,
        callbacks=_callbacks(settings, monitor, folder, scratch, on_progress),
        plugins=[_WholeCheckpoints()],
        log_every_n_steps=trainer.log_every,
        enable_checkpointing=folder is not None or settings.validation.every > 0,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        val_check_interval=settings.validation.every * trainer.accumulate or None,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if settings.validation.every else 0,
        num_sanity_val_steps=0,
    )


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all: a process killed while it writes loses none."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        part = Path(f"{path}.part")
        super().save_checkpoint(checkpoint, part, storage_options)
        part.replace(path)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """A run that began with an earlier version goes on under today's names."""
        return cast(
            dict[str, Any], current_keys(super().load_checkpoint(path, *arguments, **options))
        )


class _Progress(Callback):
    """Calls back after each step; in the first process only."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.on_progress = on_progress
        self.scores: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero:
            return
        # Reading a score makes a GPU finish its step, so it is read only when it is logged too.
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step % every == 0 or step == trainer.max_steps:
            self.scores = {name: float(v) for name, v in trainer.progress_bar_metrics.items()}
        self.on_progress(step, trainer.max_steps, **self.scores)


def _strategy(settings: RunSettings) -> Strategy | str:
    trainer = settings.trainer
    if trainer.strategy == "fsdp":
        if trainer.ema:
            raise RecipeError("trainer.ema does not work with strategy fsdp; set it to 0.")
        if settings.validation.every:
            raise RecipeError(
                "Validation does not work with strategy fsdp; set validation.every=0."
            )
        devices = trainer.device_count or max(1, torch.cuda.device_count())
        return ModelParallelStrategy(
            data_parallel_size=devices * trainer.nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
    if trainer.strategy == "ddp" or trainer.device_count != 1 or trainer.nodes > 1:
        # Which tokens and biases take part differs from batch to batch.
        return DDPStrategy(find_unused_parameters=True)
    return "auto"


def _callbacks(
    settings: RunSettings,
    monitor: str,
    folder: Path | None,
    scratch: Path | None,
    on_progress: OnProgress,
) -> list[Callback]:
    trainer, validation = settings.trainer, settings.validation
    callbacks: list[Callback] = [_Progress(on_progress)]
    if folder is not None:
        callbacks.append(
            ModelCheckpoint(
                folder,
                filename=Path(LAST).stem,
                every_n_train_steps=trainer.checkpoint_every,
                save_top_k=1,
                enable_version_counter=False,
                save_on_train_epoch_end=False,
            )
        )
    if validation.every:
        callbacks.append(
            ModelCheckpoint(
                folder or scratch,
                filename=Path(BEST).stem,
                monitor=monitor,
                mode="max",
                save_weights_only=True,
                enable_version_counter=False,
            )
        )
        if validation.patience:
            callbacks.append(EarlyStopping(monitor, mode="max", patience=validation.patience))
    if trainer.ema:
        callbacks.append(
            EMAWeightAveraging(decay=trainer.ema, update_starting_at_step=trainer.ema_start)
        )
    return callbacks


def _restore_best(task: TrainingTask[Any], trainer: lightning.Trainer) -> bool:
    """Load the weights of the best validation into the task, if any were kept."""
    if task.settings.trainer.strategy == "fsdp":
        return False
    for callback in trainer.checkpoint_callbacks:
        best = getattr(callback, "best_model_path", "")
        if getattr(callback, "monitor", None) == task.monitor and best:
            state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
            task.load_state_dict({current_key(key): value for key, value in state.items()})
            return True
    return False


def _logger(trainer: TrainerSettings, folder: Path) -> Logger:
    if trainer.logger == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        try:
            import_module("wandb")
        except ImportError as error:
            raise MissingDependencyError(
                "trainer.logger is wandb, which is not installed: pip install wandb."
            ) from error
        return WandbLogger(name=folder.name, save_dir=folder)
    if trainer.logger == "tensorboard":
        return TensorBoardLogger(folder, name="log", version="")
    return CSVLogger(folder, name="log", version="")


def _steps_done(path: Path) -> int:
    """The step of a checkpoint that a run of ours wrote."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    return cast(int, content["global_step"])
