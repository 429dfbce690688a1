"""`load`: a model by name or path, on a device, in a precision."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from ultrasam.errors import CheckpointError
from ultrasam.model.adaptation_files import adaptation_at, load_adaptation
from ultrasam.model.adapters import merge
from ultrasam.model.ultrasam import UltraSam

M = TypeVar("M", bound=nn.Module)


def load(
    name: str | os.PathLike[str] = "nano",
    *,
    device: str | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> UltraSam:
    """A model ready for a `Predictor`.

    Args:
        name: ``nano`` (in the package), ``base`` (UltraSam as published, downloaded once),
            ``sam-base``, ``sam-large``, ``sam-huge``, ``medsam``; the path of a checkpoint, or of an
            adaptation, whose model is loaded, too; or a repository on the Hugging Face hub.
        device: a torch device; where None, the GPU if there is one.
        precision: of the image encoder's weights. ``bfloat16`` halves their memory and is several
            times faster on processors and GPUs that have it; the decoder stays in float32.

    Raises:
        CheckpointError: the weights or the device are not to be had.
    """
    model = _with_adaptation(os.fspath(name))
    if precision == "bfloat16":
        model.image_encoder.to(torch.bfloat16)
    return placed(model, device_or_default(device))


def _with_adaptation(name: str) -> UltraSam:
    found = adaptation_at(Path(name).expanduser())
    if found is None:
        return UltraSam.from_pretrained(name)
    file, init = found
    try:
        model = UltraSam.from_pretrained(init)
    except CheckpointError as error:
        raise CheckpointError(f"{file} adapts a model that is not to be had: {error}") from error
    adaptation = load_adaptation(model, file)
    return (merge(model) if adaptation.kind == "lora" else model).eval()


def placed(module: M, device: str) -> M:
    """A module on a device.

    Raises:
        CheckpointError: the device is not to be had.
    """
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"The device '{device}' is not to be had here; try 'cpu'.") from error


def device_or_default(device: str | None) -> str:
    """The device that is named; where None, the GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
