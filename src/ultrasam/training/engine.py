"""Train any task, in one process or many, and resume interrupted runs exactly.

Lightning provides the loop, mixed precision, distributed training, checkpoints and early stopping. This
module adds that a run is never overwritten, that checkpoints are written atomically, and that a resumed run
equals an uninterrupted one.
"""

from __future__ import annotations

import logging
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
from ultrasam.training.run_folder import LAST, check_folder, started_as_first
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
    """Summary of a run.

    Attributes:
        steps: steps since the run started or was resumed.
        seconds: duration of these steps.
        kept_best: whether the weights are those of the best validation.
        score: score of the last validation.
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
    """Train a task in place; with validation, its final weights are those of the best validation.

    Args:
        folder: for checkpoints and logs; without it, nothing is saved and the run cannot be resumed.
        resume: continue from the last checkpoint in the folder.
        on_progress: called after each step with (step, total steps) and the logged scores.

    Raises:
        RecipeError: The folder already contains a run or has none to resume, the batch does not fit into
            memory, or the run was interrupted.
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
                f"A batch of {settings.trainer.batch} does not fit into memory; reduce trainer.batch, "
                "increase trainer.accumulate, or set trainer.checkpointing=true."
            ) from error
        if trainer.interrupted:
            hint = "" if folder is None else f" Resume it with --resume (from {folder / LAST})."
            raise RecipeError(f"Training was interrupted.{hint}")
        kept = _restore_best(task, trainer)
        trainer.strategy.barrier()  # keep the first process's scratch folder until all have read it
    score = trainer.callback_metrics.get(task.monitor)
    return FitResult(
        trainer.global_step - data.first_step,
        time.monotonic() - started,
        kept,
        None if score is None else float(score),
    )


def seed_everything(settings: RunSettings) -> None:
    """Seed all randomness outside of batches, such as the initial weights of a head."""
    lightning.seed_everything(settings.seed, workers=True, verbose=False)


def is_first_process() -> bool:
    """Whether this is the process that writes files and prints: the first, or the only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return started_as_first()


# Lightning's warnings about choices that are deliberate here.
_EXPECTED_WARNINGS = (
    "your dataloader is not resumable",  # it is, because views depend only on their index
    "Checkpoint directory .* exists",
    "Experiment logs directory .* exists",
    "smaller than the logging interval",
    "WeightAveraging callback with a model that overrides",  # sharded runs refuse EMA
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
    """Create Lightning's trainer from the settings.

    Args:
        folder: for checkpoints and logs.
        scratch: for the best weights if there is no ``folder``.

    Raises:
        RecipeError: Two settings are incompatible.
        DeviceError: The settings require a GPU, and there is none.
    """
    trainer = settings.trainer
    if trainer.accelerator == "gpu" and not (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    ):
        raise DeviceError("No GPU is available; use --device cpu or trainer.accelerator=cpu.")
    # Lightning's own log lines (devices, precision, tips) only repeat the recipe.
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
    """Writes checkpoints atomically, so that a process killed while writing loses none."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write to a temporary file, then rename it."""
        part = Path(f"{path}.part")
        super().save_checkpoint(checkpoint, part, storage_options)
        part.replace(path)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Load a checkpoint; keys of earlier versions are renamed."""
        return cast(
            dict[str, Any], current_keys(super().load_checkpoint(path, *arguments, **options))
        )


class _Progress(Callback):
    """Calls back after each step, in the first process only."""

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
            raise RecipeError(
                "trainer.ema does not work with trainer.strategy=fsdp; set trainer.ema=0."
            )
        if settings.validation.every:
            raise RecipeError(
                "Validation does not work with trainer.strategy=fsdp; set validation.every=0."
            )
        devices = trainer.device_count or max(1, torch.cuda.device_count())
        return ModelParallelStrategy(
            data_parallel_size=devices * trainer.nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
    if trainer.strategy == "ddp" or trainer.device_count != 1 or trainer.nodes > 1:
        # Some tokens and biases are unused in some batches.
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
    """Load the weights of the best validation into the task, if there are any."""
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
                "trainer.logger=wandb requires wandb: pip install wandb."
            ) from error
        return WandbLogger(name=folder.name, save_dir=folder)
    if trainer.logger == "tensorboard":
        return TensorBoardLogger(folder, name="log", version="")
    return CSVLogger(folder, name="log", version="")


def _steps_done(path: Path) -> int:
    """Number of steps completed at a checkpoint."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    return cast(int, content["global_step"])
