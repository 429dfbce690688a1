"""Read and write checkpoints: find the file, read it safely, detect its format and validate its tensors."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ultrasam.errors import CheckpointError, UltraSamWarning, one_line
from ultrasam.files import atomic_write
from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import LayerNorm2d
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import (
    Preprocessor,
    TestTimeAugmentation,
)
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.folders import checkpoint_file, peft_message, shards_beside
from ultrasam.weights.formats import State
from ultrasam.weights.infer import (
    CONFIG_KEY,
    MASK_PROMPTS,
    POSTPROCESSING_KEY,
    PREPROCESSING_KEY,
    TTA_KEY,
    infer_config,
    infer_settings,
    read_postprocessor,
)
from ultrasam.weights.pickles import read_pickle
from ultrasam.weights.search import PIXELS, find_model, named_tensors

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        config, preprocessor, tta, postprocessor: settings of the model.
        state: the tensors, under our names.
        source: the file or folder, for error messages.
    """

    config: ModelConfig
    preprocessor: Preprocessor
    tta: TestTimeAugmentation
    postprocessor: Postprocessor
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
    content, metadata, classes = _read_content(checkpoint_file(path))
    found = find_model(content)
    if found is None:
        raise CheckpointError(_no_model(content, classes, path))
    state = found.state
    if found.key:
        log.info("%s: the weights are under '%s'.", path, found.key)
    if found.others:
        chosen, *others = (
            f"under '{key}'" if key else "at the top" for key in (found.key, *found.others)
        )
        _warn(
            f"{path} holds several models; the one {chosen} is loaded, not the one {' or '.join(others)}. "
            "To load another, save it as a file of its own."
        )
    if found.extra:
        count = len(found.extra)
        ignored = "1 tensor" if count == 1 else f"{count} tensors"
        _warn(f"{path}: ignored {ignored} outside the model ({_first(sorted(found.extra))}).")
    config = (
        ModelConfig.from_json(metadata[CONFIG_KEY])
        if CONFIG_KEY in metadata
        else infer_config(state, path)
    )
    preprocessor, tta = infer_settings(metadata, state, found.format, path, preprocessing)
    for name in PIXELS:
        state.pop(name, None)
    preprocessor = replace(preprocessor, size=config.image_size)
    log.debug(
        "%s: %s, in the format of %s; preprocessing: %s.",
        path, config.name, found.format,
        ", ".join(f"{name} {value}" for name, value in preprocessor.to_dict().items()),
    )  # fmt: skip
    postprocessor = read_postprocessor(metadata, path)
    return Checkpoint(config, preprocessor, tta, postprocessor, state, str(path))


def write_checkpoint(model: UltraSam, path: Path, *, dtype: torch.dtype | None = None) -> None:
    """Save weights as safetensors, with the configuration, preprocessing, test-time augmentation and
    postprocessing as metadata.

    Args:
        dtype: of the saved weights; ``torch.float16`` halves the file. The model's by default.

    Raises:
        UltraSamError: The disk is full, or the folder is not writable; an existing file is kept.
    """
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    metadata = {
        CONFIG_KEY: model.config.to_json(),
        PREPROCESSING_KEY: json.dumps(model.preprocessor.to_dict()),
        TTA_KEY: json.dumps(model.tta.to_dict()),
        POSTPROCESSING_KEY: json.dumps(model.postprocessor.to_dict()),
        "format": "pt",
    }
    atomic_write(path, save(state, metadata=metadata))


class _WithoutInitialization(TorchFunctionMode):
    """Leaves tensors as they are where a module would initialize them.

    The device ``meta``, which is for that, runs code of PyTorch whose import takes as long as PyTorch's own.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_model(checkpoint: Checkpoint) -> UltraSam:
    """Build a model with a checkpoint's weights, in evaluation mode, in fp32, on the CPU.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of the wrong shape.
    """
    with _WithoutInitialization(), torch.random.fork_rng(devices=[]):
        model = UltraSam(
            checkpoint.config,
            preprocessor=checkpoint.preprocessor,
            tta=checkpoint.tta,
            postprocessor=checkpoint.postprocessor,
        )
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
    mask_prompts = [name for name in expected if name.startswith(MASK_PROMPTS)]
    untrained = []
    if missing == mask_prompts:
        untrained, missing = missing, []
    shared = [name for name in expected if name in state]
    wrong = [
        f"{name} {tuple(state[name].shape)}, not {tuple(expected[name].shape)}"
        for name in shared
        if state[name].shape != expected[name].shape
    ]
    problems = {
        "missing": missing,
        "unexpected": [name for name in state if name not in expected],
        "of the wrong shape": wrong,
        "of integer or complex type": [
            name for name in shared if not state[name].is_floating_point()
        ],
        "without data": [name for name in shared if state[name].is_meta],
        "with NaN or infinite values": [name for name in shared if not all_finite(state[name])],
    }
    parts = [
        f"{len(names)} tensor{'s' * (len(names) > 1)} {what} ({_first(names)})"
        for what, names in problems.items()
        if names
    ]
    if parts:
        raise CheckpointError(
            f"{source} does not fit the model: {'; '.join(parts)}.{_advice(problems)}"
        )
    if untrained:
        for module in model.prompt_encoder.mask_downscaling:
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
            elif isinstance(module, LayerNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
    model.load_state_dict(state, strict=False)
    return untrained


def _first(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"


def all_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite."""
    if tensor.is_meta or not tensor.is_floating_point():
        return True
    # PyTorch's check does not support 8-bit floats.
    return bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all())


def _advice(problems: Mapping[str, list[str]]) -> str:
    if any(".lora_" in name or ".base_layer." in name for name in problems["unexpected"]):
        return " It has LoRA layers; merge them (merge_and_unload) and save the result."
    if problems["with NaN or infinite values"]:
        return " Its training probably diverged; use an earlier checkpoint."
    return ""


def _warn(message: str) -> None:
    warnings.warn(message, UltraSamWarning, stacklevel=4)


def _no_model(content: Any, classes: Sequence[str], path: Path) -> str:
    """The sentence that refuses content without a Segment-Anything model."""
    names = [tensor.name for tensor in named_tensors(content)]
    if any(".lora_" in name for name in names):
        return peft_message(path)
    if names:
        return (
            f"{path} holds no Segment-Anything model in a known format (its first tensors are "
            f"{', '.join(names[:3])}); known are UltraSam, Meta's SAM, MedSAM and transformers' SamModel."
        )
    if classes:
        return (
            f"{path} holds pickled objects ({_first(classes)}) instead of named tensors; where these classes "
            "are installed, run torch.save(model.state_dict(), 'weights.pth') and load that."
        )
    return f"{path} holds no named tensors; it is not a model checkpoint."


def _read_content(file: Path) -> tuple[Any, Mapping[str, str], Sequence[str]]:
    """A file's content, metadata and the names of foreign classes in it; for a shard or an index, of all
    shards."""
    if file.name.endswith(".index.json"):
        return _read_index(file), {}, ()
    shards = shards_beside(file)
    if len(shards) > 1:
        return _join([_read_file(shard)[0] for shard in shards]), {}, ()
    return _read_file(file)


def _read_file(file: Path) -> tuple[Any, Mapping[str, str], Sequence[str]]:
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        raise CheckpointError(f"Cannot read {file}: {one_line(error)}.") from error
    if not start:
        raise CheckpointError(f"{file} is empty; download or save it again.")
    if start[8:9] == b"{":
        try:
            with safetensors.safe_open(file, framework="pt") as tensors:
                metadata = tensors.metadata() or {}
                content = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
                return content, metadata, ()
        except Exception as error:
            raise CheckpointError(
                f"{file} is damaged: {one_line(error)}; download it again."
            ) from error
    if (text := _kind_of_text(start)) is not None:
        raise CheckpointError(f"{file} is {text}, not weights.")
    content, classes = read_pickle(file)
    return content, {}, classes


def _read_index(index: Path) -> State:
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted({Path(str(name)).name for name in placed.values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not the index of a sharded checkpoint.") from error
    parts = []
    for name in files:
        shard = index.parent / name
        if not shard.is_file():
            raise CheckpointError(
                f"{index} lists the shard {name}, which is not in the same folder."
            )
        parts.append(_read_file(shard)[0])
    state = _join(parts)
    if absent := [name for name in placed if name not in state]:
        raise CheckpointError(
            f"The shards of {index} lack tensors that it lists ({_first(absent)}); download them again."
        )
    return state


def _join(shards: Sequence[Any]) -> State:
    return {entry.name: entry.tensor for shard in shards for entry in named_tensors(shard)}


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
