"""Read and write checkpoints: find the file, read it safely, detect its format and validate its tensors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ultrasam.errors import CheckpointError, UltraSamWarning, one_line
from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import LayerNorm2d
from ultrasam.model.preprocessing import (
    Preprocessor,
    TestTimeAugmentation,
)
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.formats import State, detect_format, strip_prefix, to_our_keys
from ultrasam.weights.infer import (
    CONFIG_KEY,
    MASK_PROMPTS,
    PREPROCESSING_KEY,
    TTA_KEY,
    infer_config,
    infer_settings,
)
from ultrasam.weights.pickles import read_pickle
from ultrasam.weights.registry import PREPROCESSING

_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
# In a folder, the first of these that exists.
_IN_FOLDER = (
    "model.safetensors", "model.safetensors.index.json",
    "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# Keys under which trainers nest weights, most likely first; other keys are tried afterwards.
_NESTS = (
    "state_dict", "model", "model_state_dict", "model_state", "module", "network_weights", "net",
    "network", "weights", "params", "sam", "ema", "model_ema", "state_dict_ema",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        config, preprocessor, tta: settings of the model.
        state: the tensors, under our names.
        source: the file or folder, for error messages.
    """

    config: ModelConfig
    preprocessor: Preprocessor
    tta: TestTimeAugmentation
    state: State
    source: str


def read_checkpoint(path: Path, *, preprocessing: str | None = None) -> Checkpoint:
    """Read a checkpoint file, or a folder that holds one, sharded or not.

    Supports our own safetensors, Meta's SAM and MedSAM, transformers' ``SamModel`` and the published UltraSam
    checkpoint (mmdetection), also nested and with the prefixes of training wrappers. Tensors outside the
    model are ignored with a warning.

    Args:
        preprocessing: a key of ``PREPROCESSING``; by default from the file's metadata or its format.

    Raises:
        CheckpointError: The file is missing, damaged, not a checkpoint, or in an unknown format.
        ConfigError: The file's model configuration is invalid or unknown.
    """
    file = checkpoint_file(path)
    content, metadata = _read_content(file)
    state, format_ = _state_of(content, path)
    state = to_our_keys(state, format_)
    config = (
        ModelConfig.from_json(metadata[CONFIG_KEY])
        if CONFIG_KEY in metadata
        else infer_config(state, path)
    )
    preprocessor, tta = infer_settings(metadata, state, format_, path)
    if preprocessing is not None:
        preprocessor = PREPROCESSING[preprocessing]
    extra = sorted(name for name in state if not name.startswith(_PARTS))
    reported = [name for name in extra if name not in ("pixel_mean", "pixel_std")]
    if reported:
        warnings.warn(
            f"{path}: ignored {len(reported)} tensors that are not part of the model "
            f"({', '.join(reported[:3])}{', …' if len(reported) > 3 else ''}).",
            UltraSamWarning,
            stacklevel=3,
        )
    for name in extra:
        del state[name]
    preprocessor = replace(preprocessor, size=config.image_size)
    return Checkpoint(config, preprocessor, tta, state, str(path))


def checkpoint_file(path: Path) -> Path:
    """The weights file at a path: the file itself, or the one in a folder.

    Raises:
        CheckpointError: There is no weights file, or several and none has a standard name.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"There is no file or folder {path}.")
    for name in _IN_FOLDER:
        if (path / name).is_file():
            return path / name
    if (path / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{path} holds a PEFT adapter, not a complete model; merge it into its base model "
            "(merge_and_unload), save the result and load that."
        )
    candidates = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file())
    if len(candidates) == 1:
        return candidates[0]
    if not candidates and (path / "model").is_dir():
        return checkpoint_file(path / "model")  # a run of `ultrasam train`
    if candidates:
        names = ", ".join(p.name for p in candidates[:5])
        raise CheckpointError(
            f"{path} holds several weights files ({names}); give the path of one."
        )
    raise CheckpointError(f"The folder {path} holds no weights file ({', '.join(_SUFFIXES)}).")


def write_checkpoint(model: UltraSam, path: Path, *, dtype: torch.dtype | None = None) -> None:
    """Save weights as safetensors, with the configuration, preprocessing and test-time augmentation as
    metadata.

    Args:
        dtype: of the saved weights; ``torch.float16`` halves the file. The model's by default.
    """
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    metadata = {
        CONFIG_KEY: model.config.to_json(),
        PREPROCESSING_KEY: json.dumps(model.preprocessor.to_dict()),
        TTA_KEY: json.dumps(model.tta.to_dict()),
        "format": "pt",
    }
    save_file(state, path, metadata=metadata)


def build_model(checkpoint: Checkpoint) -> UltraSam:
    """Build a model with a checkpoint's weights, in evaluation mode, in fp32, on the CPU.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of the wrong shape.
    """
    with torch.device("meta"):
        model = UltraSam(
            checkpoint.config, preprocessor=checkpoint.preprocessor, tta=checkpoint.tta
        )
    model = model.to_empty(device="cpu")
    untrained = load_state(model, checkpoint.state, source=checkpoint.source)
    if untrained:
        warnings.warn(
            f"{checkpoint.source} was trained without refinement and has no weights for mask prompts; they "
            "are initialized randomly.",
            UltraSamWarning,
            stacklevel=3,
        )
    return model.float().eval()


def load_state(model: UltraSam, state: State, *, source: str) -> list[str]:
    """Copy a state dict into a model.

    Returns:
        Names of missing tensors that were initialized randomly: those for mask prompts if the checkpoint was
        trained without refinement, otherwise none.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of the wrong shape.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in state]
    untrained = []
    if missing and all(name.startswith(MASK_PROMPTS) for name in missing):
        untrained, missing = missing, []
    unexpected = [name for name in state if name not in expected]
    wrong = [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of the wrong shape", wrong),
        )
        if names
    ]
    if parts:
        raise CheckpointError(f"{source} does not fit the model: tensors {'; '.join(parts)}.")
    if untrained:
        for module in model.prompt_encoder.mask_downscaling:
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
            elif isinstance(module, LayerNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
    model.load_state_dict(state, strict=False)
    return untrained


def _read_content(file: Path) -> tuple[Any, Mapping[str, str]]:
    """The content and metadata of a file; for an index, of all its shards."""
    if file.name.endswith(".index.json"):
        return _read_shards(file), {}
    with file.open("rb") as opened:
        start = opened.read(512)
    if not start:
        raise CheckpointError(f"{file} is empty; download or save it again.")
    if start[8:9] == b"{":
        try:
            with safetensors.safe_open(file, framework="pt") as tensors:
                metadata = tensors.metadata() or {}
                return {name: tensors.get_tensor(name) for name in tensors.keys()}, metadata  # noqa: SIM118
        except Exception as error:
            raise CheckpointError(
                f"{file} is damaged: {one_line(error)}; download it again."
            ) from error
    if (text := _kind_of_text(start)) is not None:
        raise CheckpointError(f"{file} is {text}, not weights.")
    return read_pickle(file), {}


def _kind_of_text(start: bytes) -> str | None:
    """The kind of a text file, from its first bytes; None if it is not text."""
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run 'git lfs pull' to fetch the file)"
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (probably a login or error page)"
    if all(byte >= 32 or byte in (9, 10, 13) for byte in start) and len(start) > 3:
        return "a text file"
    return None


def _read_shards(index: Path) -> State:
    try:
        files = sorted(
            {str(v) for v in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not the index of a sharded checkpoint.") from error
    state: State = {}
    for name in files:
        shard = index.parent / Path(name).name
        if not shard.is_file():
            raise CheckpointError(
                f"{index} lists the shard {name}, which is not in the same folder."
            )
        content, _ = _read_content(shard)
        state |= _tensors(content)
    return state


def _state_of(content: Any, path: Path) -> tuple[State, str]:
    """The first nested state dict in a known format, and that format."""
    first_names: list[str] = []
    for tensors in _candidates(content):
        stripped = strip_prefix(tensors)
        format_ = detect_format(list(stripped))
        if format_ is not None:
            return stripped, format_
        first_names = first_names or list(tensors)[:3]
    if not first_names:
        raise CheckpointError(f"{path} holds no named tensors; it is not a model checkpoint.")
    raise CheckpointError(
        f"{path} holds no Segment-Anything model in a known format (its first tensors are "
        f"{', '.join(first_names)}); known are UltraSam, Meta's SAM, MedSAM and transformers' SamModel."
    )


def _candidates(content: Any, depth: int = 0) -> Iterator[State]:
    """The state dicts in nested mappings, most likely first."""
    if not isinstance(content, Mapping) or depth > 3:
        return
    tensors = _tensors(content)
    if tensors:
        yield tensors
    order = sorted(
        (key for key, value in content.items() if isinstance(value, Mapping)),
        key=lambda key: _NESTS.index(key) if key in _NESTS else len(_NESTS),
    )
    for key in order:
        yield from _candidates(content[key], depth + 1)


def _tensors(content: Any) -> State:
    """The tensors in a mapping; arrays are converted to tensors."""
    if not isinstance(content, Mapping):
        return {}
    return {
        str(key): torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in content.items()
        if isinstance(value, Tensor)
        or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.isnative)
    }
