"""Export models that were fine-tuned for a task to ONNX."""

from __future__ import annotations

from pathlib import Path

from ultrasam.downstream.classification.exported import export_classifier
from ultrasam.downstream.classification.model import load_classifier
from ultrasam.downstream.instances.exported import export_instance_segmenter
from ultrasam.downstream.instances.model import load_instance_segmenter
from ultrasam.downstream.regions.exported import export_region_classifier
from ultrasam.downstream.regions.model import load_region_classifier
from ultrasam.downstream.task_folders import CLASSIFIER, INSTANCES
from ultrasam.errors import ConfigError
from ultrasam.extras import require
from ultrasam.runtimes.exported_folder import check_free
from ultrasam.weights.exported import is_exported
from ultrasam.weights.model_card import card_of
from ultrasam.weights.spec import ModelSpec


def export_task(model: Path, task: str, folder: Path, *, overwrite: bool = False) -> None:
    """Write a fine-tuned classifier or instance segmenter for ONNX Runtime; `ultrasam.load` opens it.

    Args:
        model: a folder of ``ultrasam finetune``.
        task: of this model, as from `ultrasam.weights.tasks.detect_task`.
        folder: where to; it appears only when it is complete and was compared with PyTorch.
        overwrite: replace an earlier export.

    Raises:
        CheckpointError: The model cannot be loaded.
        ConfigError: The model is exported already.
        ExportError: The graph's results differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
        UltraSamError: The folder exists, or cannot be written.
    """
    if is_exported(model):
        raise ConfigError(f"{model} is exported already; give the folder that it was made from.")
    check_free(folder, overwrite=overwrite)
    require("Exporting for onnx", "onnx", "onnxscript", "onnxruntime", extra="export")
    card = card_of(ModelSpec.parse(model))
    if task == CLASSIFIER:
        export_classifier(load_classifier(model, "cpu"), folder, card)
    elif task == INSTANCES:
        export_instance_segmenter(load_instance_segmenter(model, "cpu"), folder, card)
    else:
        export_region_classifier(load_region_classifier(model, "cpu").classifier, folder, card)
