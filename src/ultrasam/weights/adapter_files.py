"""Save and load adapters: the trained tensors, and which base weights they belong to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save

from ultrasam.errors import CheckpointError, one_line
from ultrasam.files import atomic_write
from ultrasam.model.config import ModelConfig
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adaptation import Adaptation
from ultrasam.weights.adapters import adapt
from ultrasam.weights.files import all_finite
from ultrasam.weights.formats import current_key
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.infer import earlier_settings

ADAPTER_FILE = "adaptation.safetensors"
_KEY = "ultrasam_adaptation"


def save_adaptation(
    model: UltraSam, adaptation: Adaptation, path: Path, *, init: str | None
) -> None:
    """Save only the trained tensors, as safetensors.

    Args:
        init: name or path of the base model.
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
        "postprocessing": model.postprocessor.to_dict(),
        "adaptation": asdict(adaptation),
        "init": init,
        "base_weights_hash": weights_hash(model, exclude=trained),
    }
    atomic_write(path, save(trained, metadata={_KEY: json.dumps(note), "format": "pt"}))


def load_adaptation(model: UltraSam, path: Path) -> Adaptation:
    """Apply a saved adaptation to its base model, in place.

    Raises:
        CheckpointError: The file is missing or damaged, or was made for another model or other weights.
    """
    note = _read_note(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {current_key(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        adaptation = Adaptation(**note["adaptation"])
        config = ModelConfig.from_json(note["model"])
    except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not an adapter file: {one_line(error)}.") from error
    if config != model.config:
        raise CheckpointError(
            f"{path} was made for the model '{config.name}', whose sizes differ from '{model.config.name}'."
        )
    # Earlier versions called the hash "frozen"; the first ones had none.
    expected_hash = note.get("base_weights_hash", note.get("frozen"))
    if expected_hash not in (None, weights_hash(model, exclude=tensors)):
        raise CheckpointError(
            f"{path} was made for other weights of the model '{config.name}'; load it on the weights that it "
            "was trained from, or train it again."
        )
    model.preprocessor, model.tta = _read_settings(note)  # as in the adapter's training
    model.postprocessor = Postprocessor.from_dict(note.get("postprocessing", {}))
    adapt(model, adaptation)
    state = model.state_dict()
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if missing := [name for name in trained if name not in tensors]:
        raise CheckpointError(
            f"{path} lacks {len(missing)} of the {len(trained)} trained tensors ({missing[0]}, …)."
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name not in state or state[name].shape != tensor.shape:
                raise CheckpointError(
                    f"{path} does not fit the model: tensor {name} is unexpected or has another shape."
                )
            if not all_finite(tensor):
                raise CheckpointError(
                    f"{path} has NaN or infinite values in {name}; its training probably diverged, so use an "
                    "earlier one."
                )
            state[name].copy_(tensor)
    return adaptation


def find_adaptation(path: Path) -> tuple[Path, str] | None:
    """Find the adapter file at a path: the file itself, or the one in a folder without a complete model.

    Returns:
        The file, and the name or path of its base model; None if there is no adapter.

    Raises:
        CheckpointError: The file is damaged, or does not name its base model.
    """
    if path.is_dir():
        if (path / "model.safetensors").exists() or not (path / ADAPTER_FILE).is_file():
            return None
        path = path / ADAPTER_FILE
    elif not _is_adaptation(path):
        return None
    init = _read_note(path).get("init")
    if init is None:
        raise CheckpointError(
            f"{path} does not name its base model; load that model yourself and call load_adaptation."
        )
    return path, init


def _read_settings(note: dict[str, Any]) -> tuple[Preprocessor, TestTimeAugmentation]:
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


def _read_note(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            note: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not an adapter file: {one_line(error)}.") from error
    return note
