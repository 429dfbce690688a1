"""Adapters in files: what was trained and no more, and which weights it was made for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file

from ultrasam.errors import CheckpointError
from ultrasam.model.config import ModelConfig
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adaptation import Adaptation
from ultrasam.weights.adapters import adapt
from ultrasam.weights.formats import current_key
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.infer import earlier_settings

FILE = "adaptation.safetensors"
_KEY = "ultrasam_adaptation"


def save_adaptation(
    model: UltraSam, adaptation: Adaptation, path: Path, *, init: str | None
) -> None:
    """Write what the adaptation trained, and no more, as safetensors.

    Args:
        init: the name or path of the model that was adapted.
    """
    state = model.state_dict()
    trained = {
        name: state[name].detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    note = {
        "model": model.config.to_json(),
        "preprocessing": model.preprocessor.to_dict(),
        "tta": model.tta.to_dict(),
        "adaptation": asdict(adaptation),
        "init": init,
        "frozen": weights_hash(model, without=trained),
    }
    save_file(trained, path, metadata={_KEY: json.dumps(note), "format": "pt"})


def load_adaptation(model: UltraSam, path: Path) -> Adaptation:
    """Add a saved adaptation to the model that it was made from, in place.

    Raises:
        CheckpointError: no such file, or it is of another model, or of the same with other weights.
    """
    note = _note_of(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {current_key(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        adaptation = Adaptation(**note["adaptation"])
        config = ModelConfig.from_json(note["model"])
    except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not an adapter file ({error}).") from error
    if config != model.config:
        raise CheckpointError(
            f"{path} was made for the model '{config.name}' of other sizes than this '{model.config.name}'."
        )
    if note.get("frozen") not in (None, weights_hash(model, without=tensors)):
        raise CheckpointError(
            f"{path} was made for other weights of the model '{config.name}' than these; train it anew "
            "on these, or load it on the ones that it was trained from."
        )
    model.preprocessor, model.tta = _settings_of(note)  # the adapter was trained with these
    adapt(model, adaptation)
    state = model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name not in state or state[name].shape != tensor.shape:
                raise CheckpointError(f"{path} does not fit the model at {name}.")
            state[name].copy_(tensor)
    return adaptation


def find_adaptation(path: Path) -> tuple[Path, str] | None:
    """The adaptation that a file is, or that a folder holds in place of a whole model.

    Returns:
        Its file, and the name or path of the model that was adapted; None where there is none.

    Raises:
        CheckpointError: it is damaged, or does not say what it adapts.
    """
    if path.is_dir():
        if (path / "model.safetensors").exists() or not (path / FILE).is_file():
            return None
        path = path / FILE
    elif not _is_adaptation(path):
        return None
    init = _note_of(path).get("init")
    if init is None:
        raise CheckpointError(
            f"{path} does not say what it adapts; load that model and use load_adaptation on it."
        )
    return path, init


def _settings_of(note: dict[str, Any]) -> tuple[Preprocessor, TestTimeAugmentation]:
    if "preprocessing" not in note:
        return earlier_settings(json.loads(note["model"]))
    return (
        Preprocessor.from_dict(note["preprocessing"]), TestTimeAugmentation.from_dict(note["tta"]),
    )  # fmt: skip


def _is_adaptation(file: Path) -> bool:
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            return _KEY in (opened.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return False


def _note_of(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            note: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not an adapter file ({error}).") from error
    return note
