"""Run the training engine for any fine-tuning task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from torch.utils.data import Dataset

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.hardware import default_device, place
from ultrasam.progress import OnProgress, no_progress
from ultrasam.runtimes.attention import set_attention
from ultrasam.training.datamodule import IndexedData
from ultrasam.training.engine import FitResult, fit, is_first_process
from ultrasam.training.run_settings import RunSettings
from ultrasam.training.task import TrainingTask
from ultrasam.training.train import report_scores

M = TypeVar("M", bound=nn.Module)


def run(
    task: TrainingTask[Any],
    views: Dataset[Any],
    collate: Any,
    *,
    validation: list[AnnotatedImage],
    folder: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> FitResult:
    """Train a task on views by index; see `ultrasam.training.engine.fit`.

    A run with a folder says what training changed on the validation images, if there are any.
    """
    settings: RunSettings = task.settings
    set_attention(task, device_of(settings))
    data = IndexedData(views, settings.trainer, collate=collate, validation=validation)
    told = folder is not None
    result = fit(
        task, data, folder=folder, resume=resume, validate_start=told, on_progress=on_progress
    )
    if told and is_first_process():
        report_scores(result, len(validation), score=task.monitor.removeprefix("val_"))
    return result


def device_of(settings: RunSettings) -> str:
    """The device on which a run with these settings trains."""
    trainer = settings.trainer
    if trainer.accelerator == "cpu":
        return "cpu"
    device = default_device()
    if device == "cuda" and isinstance(trainer.devices, tuple):
        return f"cuda:{trainer.devices[0]}"
    return device


def ready(module: M, settings: RunSettings) -> M:
    """Put a trained module in evaluation mode, on its training device."""
    device = device_of(settings)
    set_attention(module, device)
    return place(module.eval(), device)
