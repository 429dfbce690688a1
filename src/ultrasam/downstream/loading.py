"""`ultrasam.load`: models of ours and fine-tuned ones alike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, overload

from ultrasam.downstream.saved import CLASSIFIER, INSTANCES, PROMPTED, task_of
from ultrasam.inference import loading
from ultrasam.model.ultrasam import UltraSam

Precision = Literal["float32", "bfloat16"]
Named = Literal["nano", "base", "sam-base", "sam-large", "sam-huge", "medsam"]


@overload
def load(
    name: Named = "nano", *, device: str | None = None, precision: Precision = "float32"
) -> UltraSam: ...
@overload
def load(
    name: str | os.PathLike[str], *, device: str | None = None, precision: Precision = "float32"
) -> Any: ...
def load(
    name: str | os.PathLike[str] = "nano",
    *,
    device: str | None = None,
    precision: Precision = "float32",
) -> Any:
    """A model ready for use.

    Args:
        name: ``nano`` (in the package), ``base`` (UltraSam as published, downloaded once),
            ``sam-base``, ``sam-large``, ``sam-huge``, ``medsam``; the path of a checkpoint; a repository on
            the Hugging Face hub; or a folder that ``ultrasam finetune`` wrote.
        device: a torch device; where None, the GPU if there is one.
        precision: of the image encoder's weights, of models that take prompts: ``bfloat16`` halves their
            memory and is several times faster on processors and GPUs that have it.

    Returns:
        An `UltraSam`, for a `Predictor`. Of a fine-tuned folder: a `Classifier` (``predict(frames)``), a
        `PromptedPredictor` (a predictor that also has ``classes_of(prompts)``), or an `InstanceSegmenter`
        (``find(frame)``, ``label_map(frame)``).

    Raises:
        CheckpointError: the weights or the device are not to be had.
    """
    folder = Path(name)
    task = task_of(folder)
    chosen = loading.device_or_default(device)
    if task == CLASSIFIER:
        from ultrasam.downstream.classifier import load_classifier

        return loading.placed(load_classifier(folder), chosen)
    if task == PROMPTED:
        from ultrasam.downstream.prompted import PromptedPredictor, load_prompted

        return PromptedPredictor(loading.placed(load_prompted(folder), chosen))
    if task == INSTANCES:
        from ultrasam.downstream.instances import load_instances

        return loading.placed(load_instances(folder), chosen)
    return loading.load(name, device=device, precision=precision)
