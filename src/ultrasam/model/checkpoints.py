"""Weights in files: read without running anyone's code, recognised by their names, checked in full."""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ultrasam.errors import CheckpointError
from ultrasam.model.adaptation_files import adaptation_at
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.naming import State, recognise, to_ours

CONFIG_KEY = "ultrasam_config"
# The mask prompts' convolutions: absent from checkpoints trained without refinement.
_MASK_PROMPTS = "prompt_encoder.mask_downscaling."


def read_checkpoint(path: Path) -> tuple[ModelConfig, State]:
    """A file of weights to its configuration and a state dict under our names.

    Recognises our own safetensors, Meta's SAM and MedSAM (``.pth``), transformers' ``SamModel``
    (safetensors or ``.bin``) and the published UltraSam checkpoint (mmdetection).

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint, or of none of these namings.
    """
    if adaptation_at(path) is not None:
        raise CheckpointError(
            f"{path} is an adaptation and no whole model, which is wanted here; ultrasam.load, predict, "
            "evaluate and embed take it."
        )
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"There is no file of weights {path}.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty; download or save it again.")
    state, metadata = _read_tensors(path)
    state = _without_wrappers(state)
    naming = recognise(list(state))
    if naming is None:
        some = ", ".join(list(state)[:3]) or "nothing"
        raise CheckpointError(
            f"{path} holds no Segment-Anything model that is known here (it begins with {some}); "
            "known are UltraSam, Meta's SAM, MedSAM and transformers' SamModel."
        )
    state = to_ours(state, naming)
    if CONFIG_KEY in metadata:
        return ModelConfig.from_json(metadata[CONFIG_KEY]), state
    return infer_config(state, path), state


def write_checkpoint(
    model: nn.Module, config: ModelConfig, path: Path, *, dtype: torch.dtype | None = None
) -> None:
    """Save weights as safetensors with the configuration in the metadata.

    Args:
        dtype: of the weights in the file; ``torch.float16`` halves it. The model's own where None.
    """
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, path, metadata={CONFIG_KEY: config.to_json(), "format": "pt"})


def load_state(model: nn.Module, state: State, *, source: str) -> list[str]:
    """Copy a state dict into a model and refuse one that does not fit.

    Returns:
        Names of tensors that the checkpoint lacks and that keep the model's own values: none, or the
        mask prompts' of a checkpoint that was trained without refinement.

    Raises:
        CheckpointError: tensors are missing, unexpected or of another shape; some of each are named.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state]
    untrained = []
    if missing and all(name.startswith(_MASK_PROMPTS) for name in missing):
        untrained, missing = missing, []
    unexpected = [name for name in state if name not in wanted]
    wrong = [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
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
    model.load_state_dict({**{name: wanted[name] for name in untrained}, **state})
    return untrained


def infer_config(state: State, path: Path) -> ModelConfig:
    """The configuration that a state dict of SAM's own design has.

    Raises:
        CheckpointError: shapes that no such model has.
    """
    try:
        return _infer_config(state)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} lacks tensors of a Segment-Anything model ({error}); it may be a part of one."
        ) from error


def _infer_config(state: State) -> ModelConfig:
    encoder = "image_encoder."
    width = state[f"{encoder}patch_embed.proj.weight"].shape[0]
    patch = state[f"{encoder}patch_embed.proj.weight"].shape[2]
    grid = state[f"{encoder}pos_embed"].shape[1]
    blocks = {name.split(".")[2] for name in state if name.startswith(f"{encoder}blocks.")}
    depth = len(blocks)
    tables = [state[f"{encoder}blocks.{i}.attn.rel_pos_h"].shape for i in range(depth)]
    sizes = [(shape[0] + 1) // 2 for shape in tables]
    windows = {size for size in sizes if size != grid}
    mask_prompts = f"{_MASK_PROMPTS}0.weight"
    first, second = CONFIGS["base"].mask_prompt_channels
    if mask_prompts in state:
        first, second = state[mask_prompts].shape[0], state[f"{_MASK_PROMPTS}3.weight"].shape[0]
    layer = "mask_decoder.transformer.layers.0."
    config = ModelConfig(
        name="custom",
        image_size=grid * patch,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=width // tables[0][1],
        mlp_width=state[f"{encoder}blocks.0.mlp.lin1.weight"].shape[0],
        window=windows.pop() if windows else 0,
        global_blocks=tuple(i for i, size in enumerate(sizes) if size == grid),
        decoder_width=state[f"{encoder}neck.0.weight"].shape[0],
        decoder_mlp_width=state[f"{layer}mlp.lin1.weight"].shape[0],
        upscale_channels=(
            state["mask_decoder.output_upscaling.0.weight"].shape[1],
            state["mask_decoder.output_upscaling.3.weight"].shape[1],
        ),
        mask_prompt_channels=(first, second),
    )
    for known in CONFIGS.values():
        if known.stem == "patch" and (known.width, known.depth, known.grid) == (width, depth, grid):
            return known
    return config


def _read_tensors(path: Path) -> tuple[State, Mapping[str, str]]:
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        try:
            with safetensors.safe_open(path, framework="pt") as opened:
                metadata = opened.metadata() or {}
                return {name: opened.get_tensor(name) for name in opened.keys()}, metadata  # noqa: SIM118
        except Exception as error:
            raise CheckpointError(
                f"{path} is damaged: {_short(error)}; download it again."
            ) from error
    return _read_pickle(path), {}


def _read_pickle(path: Path) -> State:
    content: Any
    try:
        with warnings.catch_warnings():
            # Other writers' files are what this is for.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # The published UltraSam checkpoint holds a training log beside its weights.
        try:
            content = torch.load(
                path, map_location="cpu", weights_only=False, pickle_module=_InertPickle
            )
        except Exception as error:
            raise CheckpointError(
                f"{path} is not a checkpoint that can be read safely: {_short(error)}."
            ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or damaged: {_short(error)}; download it again."
        ) from error
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
        inner = [content[key] for key in ("state_dict", "model", "module") if key in content]
        if not inner:
            break
        content = inner[0]
    raise CheckpointError(
        f"{path} holds no tensors under names; it is not a checkpoint of a model."
    )


def _without_wrappers(state: State) -> State:
    """Names without the prefixes that training wrappers put before all of them."""
    for prefix in ("module.", "model.", "sam."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


class _Inert:
    """What stands for every object in a pickle that is not a tensor or a plain container."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass

    def add(self, _: object) -> None:
        pass


_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}


class _InertUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers; every other name in the file becomes `_Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return _HARMLESS.get((module, name), _Inert)


class _InertPickle:
    """The face of the pickle module that ``torch.load`` asks for."""

    __name__ = "ultrasam.model.checkpoints"
    Unpickler = _InertUnpickler

    @staticmethod
    def load(file: IO[bytes], **options: Any) -> Any:
        return _InertUnpickler(file, **options).load()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text[:160] + " …") if len(text) > 160 else (text or type(error).__name__)
