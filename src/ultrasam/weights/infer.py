"""Infer what a checkpoint does not state: sizes from its tensor shapes, preprocessing from its format."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from ultrasam.errors import CheckpointError, ConfigError, UltraSamWarning, one_line
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import SAM_MEAN, SAM_STD, Preprocessor, TestTimeAugmentation
from ultrasam.weights.formats import State
from ultrasam.weights.image_processor import image_processor
from ultrasam.weights.registry import PREPROCESSING, TTA

CONFIG_KEY, PREPROCESSING_KEY, TTA_KEY = "ultrasam_config", "ultrasam_preprocessing", "ultrasam_tta"
POSTPROCESSING_KEY = "ultrasam_postprocessing"
# Convolutions over mask prompts; checkpoints trained without refinement lack them.
MASK_PROMPTS = "prompt_encoder.mask_downscaling."
MASK_QUALITY = "mask_decoder.mask_quality."
_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
Triple = tuple[float, float, float]


def infer_config(state: State, path: Path) -> ModelConfig:
    """Infer the configuration of a state dict with SAM's architecture, or nano's.

    Each size is the one that most tensors agree on, so that one wrong tensor is found when the state is
    loaded.

    Raises:
        CheckpointError: Tensors are missing, or their shapes fit no such model.
    """
    try:
        _check_parts(state)
        return _infer_config(state)
    except KeyError as error:
        raise CheckpointError(
            f"{path} lacks tensors of a Segment-Anything model ({error.args[0]})."
        ) from error
    except ConfigError as error:
        raise CheckpointError(
            f"{path} does not fit a Segment-Anything model: {one_line(error)}."
        ) from error


def _check_parts(state: State) -> None:
    """Reject a part of a model, and an image encoder of another kind.

    Raises:
        ConfigError: Such is the state.
    """
    held = {name.split(".", 1)[0] for name in state}
    missing = [part for part in _PARTS if part not in held]
    if missing:
        raise ConfigError(
            f"it has no {' and no '.join(missing)}; save the complete model's state_dict"
        )
    encoder = sorted(name for name in state if name.startswith("image_encoder."))
    if not any(name.startswith("image_encoder.blocks.") for name in encoder):
        raise ConfigError(
            f"its image encoder has another architecture ({encoder[0]}, …) than SAM's ViT"
        )


def _infer_config(state: State) -> ModelConfig:
    size = partial(_vote, state)
    encoder, block = "image_encoder.", r"image_encoder.blocks.\d+."
    indices = [int(name.split(".")[2]) for name in state if re.match(block, name)]
    depth = max(indices, default=-1) + 1
    width = size(f"{encoder}pos_embed:-1 {block}norm1.weight:0 {encoder}neck.0.weight:1")
    if f"{encoder}patch_embed.convs.0.weight" in state:
        nano = CONFIGS["nano"]
        if (width, depth) != (nano.width, nano.depth):
            raise ConfigError("its stem is nano's, but its sizes are others")
        # Earlier weights have no mask-quality head.
        rated = any(name.startswith(MASK_QUALITY) for name in state)
        return replace(nano, mask_quality=rated)
    patch = size(f"{encoder}patch_embed.proj.weight:2 {encoder}patch_embed.proj.weight:3")
    tables = [
        [_side(state.get(f"{encoder}blocks.{i}.attn.rel_pos_{axis}")) for axis in "hw"]
        for i in range(depth)
    ]
    sides = [side for pair in tables for side in pair if side]
    if not sides:
        raise KeyError(f"{encoder}blocks.0.attn.rel_pos_h")
    grid = _most([*_sizes(state, f"{encoder}pos_embed:1 {encoder}pos_embed:2"), max(sides)])
    windows = [side for side in sides if side != grid]
    head = size(f"{block}attn.rel_pos_[hw]:1")
    first, second = CONFIGS["vit-b"].mask_prompt_channels
    if any(name.startswith(MASK_PROMPTS) for name in state):
        mask = re.escape(MASK_PROMPTS)
        first = size(f"{mask}0.weight:0 {mask}0.bias:0 {mask}1.weight:0 {mask}3.weight:1")
        second = size(f"{mask}3.weight:0 {mask}3.bias:0 {mask}4.weight:0 {mask}6.weight:1")
    layer, up = r"mask_decoder.transformer.layers.\d+.", "mask_decoder.output_upscaling."
    config = ModelConfig(
        name="custom",
        image_size=grid * patch,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=max(1, width // max(1, head)),
        mlp_width=size(f"{block}mlp.lin1.weight:0 {block}mlp.lin1.bias:0 {block}mlp.lin2.weight:1"),
        window=_most(windows) if windows else 0,
        global_blocks=tuple(i for i, pair in enumerate(tables) if grid in pair),
        decoder_width=size(
            f"{encoder}neck.[0123].weight:0 prompt_encoder.no_mask_embed.weight:1 "
            f"mask_decoder.mask_tokens.weight:1 {layer}norm1.weight:0"
        ),
        decoder_mlp_width=size(
            f"{layer}mlp.lin1.weight:0 {layer}mlp.lin1.bias:0 {layer}mlp.lin2.weight:1"
        ),
        upscale_channels=(
            size(f"{up}0.weight:1 {up}0.bias:0 {up}1.weight:0 {up}3.weight:0"),
            size(f"{up}3.weight:1 {up}3.bias:0"),
        ),
        mask_prompt_channels=(first, second),
    )
    for known in CONFIGS.values():
        if known.stem == "patch" and (known.width, known.depth, known.grid) == (width, depth, grid):
            return known
    return config


def _vote(state: State, sources: str) -> int:
    """The most frequent size among dimensions of tensors, each given as ``NAME:DIMENSION`` (NAME is a regular
    expression).

    Raises:
        KeyError: There is none of these tensors.
    """
    sizes = _sizes(state, sources)
    if not sizes:
        raise KeyError(sources.split(":")[0].replace(r"\d+", "0"))
    return _most(sizes)


def _sizes(state: State, sources: str) -> list[int]:
    found = []
    for source in sources.split():
        pattern, _, dimension = source.rpartition(":")
        axis = int(dimension)
        found += [
            tensor.shape[axis]
            for name, tensor in state.items()
            if re.fullmatch(pattern, name) and -tensor.ndim <= axis < tensor.ndim
        ]
    return found


def _most(sizes: list[int]) -> int:
    return Counter(sizes).most_common(1)[0][0]


def _side(table: Tensor | None) -> int:
    """The tokens per side that a table of relative positions [2 * side - 1, C] is for; 0 if unknown."""
    return 0 if table is None or table.ndim != 2 else (table.shape[0] + 1) // 2


def infer_settings(
    metadata: Mapping[str, str],
    state: State,
    format_: str,
    path: Path,
    preprocessing: str | None = None,
) -> tuple[Preprocessor, TestTimeAugmentation]:
    """Preprocessing and test-time augmentation, from a checkpoint's metadata or its format.

    Args:
        preprocessing: a key of ``PREPROCESSING`` to use instead.

    Raises:
        CheckpointError: The metadata is damaged.
        ConfigError: The metadata has an unknown key or value.
    """
    chosen = None if preprocessing is None else PREPROCESSING[preprocessing]
    if PREPROCESSING_KEY in metadata:
        try:
            settings, tta = (
                json.loads(metadata[PREPROCESSING_KEY]),
                json.loads(metadata.get(TTA_KEY, "{}")),
            )
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: its settings are not valid JSON.") from error
        return chosen or Preprocessor.from_dict(settings), TestTimeAugmentation.from_dict(tta)
    if CONFIG_KEY in metadata:
        earlier, tta = earlier_settings(json.loads(metadata[CONFIG_KEY]))
        return chosen or earlier, tta
    nano = "image_encoder.patch_embed.convs.0.weight" in state
    if chosen is not None:
        return chosen, TTA["nano"] if nano else TestTimeAugmentation()
    if format_ == "mmdet":
        return PREPROCESSING["ultrasam"], TestTimeAugmentation()
    if nano:
        return PREPROCESSING["nano"], TTA["nano"]
    if named_medsam(path):
        warnings.warn(
            f"{path} is loaded as MedSAM because of its name (images stretched and scaled to 0–1, box "
            "prompts only); if it is not, add '+preprocessing=sam'.",
            UltraSamWarning,
            stacklevel=4,
        )
        return PREPROCESSING["medsam"], TestTimeAugmentation()
    if format_ == "transformers":
        return image_processor(path), TestTimeAugmentation()
    return _normalized_as(state, path), TestTimeAugmentation()


def _normalized_as(state: State, path: Path) -> Preprocessor:
    """SAM's preprocessing, with the mean and standard deviation that the file has as tensors, if any.

    Raises:
        CheckpointError: They are malformed.
    """
    sam = PREPROCESSING["sam"]
    given = [name for name in ("pixel_mean", "pixel_std") if name in state]
    if not given:
        return sam
    values = [[round(float(v), 4) for v in state[name].flatten()] for name in given]
    flat = [v for some in values for v in some]
    if (
        len(given) == 1
        or any(len(some) not in (1, 3) for some in values)
        or not all(math.isfinite(v) for v in flat)
        or min(values[-1]) <= 0
    ):
        raise CheckpointError(
            f"{path} has {' and '.join(given)} that cannot be used ({flat[:6]}); add '+preprocessing=sam' to "
            "normalize as SAM does."
        )
    factor = 255 if max(values[1]) < 1 else 1  # for values in 0–1
    mean, std = (
        cast(Triple, tuple(round(factor * v, 4) for v in (some if len(some) == 3 else some * 3)))
        for some in values
    )
    if (mean, std) == (sam.mean, sam.std):
        return sam
    warnings.warn(
        f"Normalizing pixels by the mean {mean} and the standard deviation {std} that {path} specifies.",
        UltraSamWarning,
        stacklevel=5,
    )
    return replace(sam, mean=mean, std=std)


def named_medsam(path: Path) -> bool:
    """Whether a file, the folder of its model or its repository in the Hugging Face cache is named after
    MedSAM."""
    full = path.absolute()
    names = [full.name] if full.is_dir() else [full.name, full.parent.name]
    names += [part for part in full.parts if part.startswith("models--")]
    return any("medsam" in name.lower() for name in names)


def read_postprocessor(metadata: Mapping[str, str], path: Path) -> Postprocessor:
    """What a checkpoint's metadata say is removed from masks; nothing, if they do not say.

    Raises:
        CheckpointError: The metadata is damaged.
        ConfigError: The metadata has an unknown key or value.
    """
    try:
        values = json.loads(metadata.get(POSTPROCESSING_KEY, "{}"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: its settings are not valid JSON.") from error
    return Postprocessor.from_dict(values)


def earlier_settings(config: Mapping[str, Any]) -> tuple[Preprocessor, TestTimeAugmentation]:
    """The settings of earlier versions, which stored them in the model configuration."""
    preprocessor = Preprocessor(
        size=config.get("image_size", 1024),
        resample="area",
        channels="gray",
        mean=cast(Triple, tuple(config.get("pixel_mean", SAM_MEAN))),
        std=cast(Triple, tuple(config.get("pixel_std", SAM_STD))),
    )
    return preprocessor, TestTimeAugmentation(config.get("zoom", 0.0), config.get("mirror", False))
