"""Train any task, in one process or many, and resume interrupted runs exactly.

Lightning provides the loop, mixed precision, distributed training, checkpoints and early stopping. This
module adds that a run is never overwritten, that a resumed run equals an uninterrupted one, and that an
interrupted run says how to go on.
"""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ultrasam.errors import (
    InterruptedRunError,
    MissingDependencyError,
    RecipeError,
)  # fmt: skip
from ultrasam.extras import needs
from ultrasam.hardware import choose_precision, require_gpu
from ultrasam.processes import exit_with_launcher
from ultrasam.progress import OnProgress, no_progress
from ultrasam.training.callbacks import StartScore, StepProgress
from ultrasam.training.checkpoints import BEST, RunCheckpoints, read_checkpoint, steps_done
from ultrasam.training.datamodule import IndexedData
from ultrasam.training.run_folder import LAST, check_folder, started_as_first
from ultrasam.training.run_log import RunLog
from ultrasam.training.run_settings import RunSettings, TrainerSettings
from ultrasam.training.task import TrainingTask
from ultrasam.weights.formats import current_key

logger = logging.getLogger(__name__)

with needs("Training", extra="train"):
    import lightning
    from lightning.pytorch.callbacks import (
        Callback,
        EarlyStopping,
        EMAWeightAveraging,
        ModelCheckpoint,
    )
    from lightning.pytorch.loggers import Logger, TensorBoardLogger
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy


@dataclass(frozen=True, slots=True)
class FitResult:
    """Summary of a run.

    Attributes:
        steps: steps since the run started or was resumed.
        seconds: duration of these steps.
        kept_best: whether the weights are those of the best validation.
        score: score of the last validation.
        start: score before training; None if it was not asked for.
        best: score of the best validation.
        best_step: the step after which it took place.
    """

    steps: int
    seconds: float
    kept_best: bool
    score: float | None
    start: float | None = None
    best: float | None = None
    best_step: int | None = None


def fit(
    task: TrainingTask[Any],
    data: IndexedData,
    *,
    folder: Path | None = None,
    resume: bool = False,
    validate_start: bool = False,
    on_progress: OnProgress = no_progress,
) -> FitResult:
    """Train a task in place; with validation, its final weights are those of the best validation.

    Args:
        folder: for checkpoints and logs; without it, nothing is saved and the run cannot be resumed.
        resume: continue from the last checkpoint in the folder.
        validate_start: validate the initial weights too, so that the result says what training changed.
        on_progress: called after each step with (step, total steps) and the logged scores.

    Raises:
        RecipeError: The folder already contains a run or has none to resume, or the batch does not fit into
            memory.
        CheckpointError: The last checkpoint is damaged, or could run code.
        InterruptedRunError: The user stopped the run.
    """
    settings: RunSettings = task.settings
    if folder is not None:
        check_folder(folder, resume=resume)
    exit_with_launcher(first=started_as_first())
    last = folder / LAST if folder is not None and resume else None
    data.first_step = steps_done(last) if last is not None else 0
    start = StartScore(task.monitor, folder)
    started = time.monotonic()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=f".*{message}")
        trainer = make_trainer(
            settings, task.monitor, folder=folder, scratch=Path(scratch), first_step=data.first_step,
            on_progress=on_progress, start=start if validate_start and last is None else None,
        )  # fmt: skip
        with _interruptible(trainer, folder):
            trainer.fit(
                task,
                datamodule=data,
                ckpt_path=None if last is None else str(last),
                weights_only=True,
            )
        best = _restore_best(task, trainer)
        trainer.strategy.barrier()  # keep the first process's scratch folder until all have read it
    score = trainer.callback_metrics.get(task.monitor)
    return FitResult(
        trainer.global_step - data.first_step,
        time.monotonic() - started,
        best is not None,
        None if score is None else float(score),
        start.score if validate_start else None,
        *(best or ()),
    )


@contextmanager
def _interruptible(trainer: lightning.Trainer, folder: Path | None) -> Iterator[None]:
    """Turn what can end a run early into a sentence that says how to go on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except torch.OutOfMemoryError as error:
        batch = trainer.train_dataloader.batch_size if trainer.train_dataloader else "this size"
        raise RecipeError(
            f"A batch of {batch} does not fit into memory; reduce trainer.batch, increase "
            "trainer.accumulate, or set trainer.checkpointing=true."
        ) from error
    except (SystemExit, KeyboardInterrupt) as error:
        # Lightning ends the process on Ctrl-C, without a word.
        if not trainer.interrupted:
            raise
        raise InterruptedRunError(_how_to_go_on(trainer, folder)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Lightning ignores the signal from then on


def _how_to_go_on(trainer: lightning.Trainer, folder: Path | None) -> str:
    where = f"Interrupted after step {trainer.global_step:,} of {trainer.max_steps:,}"
    if folder is None:
        return f"{where}."
    last = folder / LAST
    if last.exists():
        return (
            f"{where}; run the same command with --resume to continue from step {steps_done(last):,} "
            f"({last})."
        )
    return f"{where}, before the first checkpoint; run the same command again to start over."


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
    first_step: int = 0,
    start: StartScore | None = None,
    on_progress: OnProgress = no_progress,
) -> lightning.Trainer:
    """Create Lightning's trainer from the settings.

    Args:
        folder: for checkpoints and logs.
        scratch: for the best weights if there is no ``folder``.
        first_step: the step from which a run is resumed.
        start: takes the score of the initial weights, which are then validated too.

    Raises:
        RecipeError: Two settings are incompatible.
        DeviceError: The settings require a GPU, and there is none.
    """
    trainer = settings.trainer
    if trainer.accelerator == "gpu":
        require_gpu()
    # Lightning's own log lines (devices, precision, tips) only repeat the recipe.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    _warn_if_slow(trainer)
    logger.debug(
        "Training on %s in %s from step %d.", trainer.device, trainer.number_format, first_step
    )
    return lightning.Trainer(
        max_steps=trainer.max_steps,
        max_epochs=-1,
        precision=trainer.number_format,
        # Lightning would use Apple's GPU, which is untested, without being asked to.
        accelerator="cpu" if trainer.device == "cpu" else trainer.accelerator,
        devices=list(trainer.devices) if isinstance(trainer.devices, tuple) else trainer.devices,
        num_nodes=trainer.nodes,
        strategy=_strategy(settings),
        accumulate_grad_batches=trainer.accumulate,
        gradient_clip_val=settings.optimizer.clip,
        logger=_logger(trainer, folder, first_step) if folder is not None else False,
        callbacks=[
            StepProgress(on_progress),
            *([start] if start is not None and settings.validation.every else []),
            *_callbacks(settings, monitor, folder, scratch),
        ],
        plugins=[RunCheckpoints()],
        log_every_n_steps=trainer.log_every,
        enable_checkpointing=folder is not None or settings.validation.every > 0,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        val_check_interval=settings.validation.every * trainer.accumulate or None,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if settings.validation.every else 0,
        # What Lightning calls a sanity check is a validation before the first step.
        num_sanity_val_steps=-1 if start is not None and settings.validation.every else 0,
    )


def _warn_if_slow(trainer: TrainerSettings) -> None:
    if trainer.precision != "bf16-mixed" or not is_first_process():
        return
    best = choose_precision("auto", trainer.device)
    if best.precision != "bfloat16":
        logger.warning(
            "trainer.precision=bf16-mixed is slower than 32-true here, because %s.", best.reason
        )


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
) -> list[Callback]:
    trainer, validation = settings.trainer, settings.validation
    callbacks: list[Callback] = []
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


def _restore_best(
    task: TrainingTask[Any], trainer: lightning.Trainer
) -> tuple[float, int | None] | None:
    """Load the weights of the best validation into the task, if there are any; its score and step."""
    if task.settings.trainer.strategy == "fsdp":
        return None
    for callback in trainer.checkpoint_callbacks:
        best = getattr(callback, "best_model_path", "")
        if getattr(callback, "monitor", None) != task.monitor or not best:
            continue
        writer = trainer.strategy.checkpoint_io
        state = writer.unsaved.get(Path(best)) if isinstance(writer, RunCheckpoints) else None
        step: int | None = None
        if state is None:
            content = read_checkpoint(Path(best))
            state, step = content["state_dict"], content["global_step"]
        task.load_state_dict({current_key(key): value for key, value in state.items()})
        return float(callback.best_model_score), step  # type: ignore[attr-defined]
    return None


def _logger(trainer: TrainerSettings, folder: Path, first_step: int) -> Logger:
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
    return RunLog(folder / "log" / "metrics.csv", first_step=first_step)
