"""Infer what a checkpoint does not state: sizes from its tensor shapes, preprocessing from its format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ultrasam.errors import CheckpointError, ConfigError, UltraSamWarning
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.preprocessing import SAM_MEAN, SAM_STD, Preprocessor, TestTimeAugmentation
from ultrasam.weights.formats import State
from ultrasam.weights.registry import PREPROCESSING

CONFIG_KEY, PREPROCESSING_KEY, TTA_KEY = "ultrasam_config", "ultrasam_preprocessing", "ultrasam_tta"
# Convolutions over mask prompts; checkpoints trained without refinement lack them.
MASK_PROMPTS = "prompt_encoder.mask_downscaling."
Triple = tuple[float, float, float]


def infer_config(state: State, path: Path) -> ModelConfig:
    """Infer the configuration of a state dict with SAM's architecture.

    Raises:
        CheckpointError: Tensors are missing, or their shapes fit no such model.
    """
    try:
        return _infer_config(state)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise CheckpointError(
            f"{path} lacks tensors of a Segment-Anything model ({error}); it may hold only a part of one."
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
    mask_prompts = f"{MASK_PROMPTS}0.weight"
    first, second = CONFIGS["vit-b"].mask_prompt_channels
    if mask_prompts in state:
        first, second = state[mask_prompts].shape[0], state[f"{MASK_PROMPTS}3.weight"].shape[0]
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


def infer_settings(
    metadata: Mapping[str, str], state: State, format_: str, path: Path
) -> tuple[Preprocessor, TestTimeAugmentation]:
    """Preprocessing and test-time augmentation, from a checkpoint's metadata or its format.

    Raises:
        CheckpointError: The metadata is damaged.
        ConfigError: The metadata has an unknown key or value.
    """
    if PREPROCESSING_KEY in metadata:
        try:
            preprocessing, tta = (
                json.loads(metadata[PREPROCESSING_KEY]),
                json.loads(metadata.get(TTA_KEY, "{}")),
            )
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: its settings are not valid JSON.") from error
        return Preprocessor.from_dict(preprocessing), TestTimeAugmentation.from_dict(tta)
    if CONFIG_KEY in metadata:
        return earlier_settings(json.loads(metadata[CONFIG_KEY]))
    if format_ == "mmdet":
        return PREPROCESSING["ultrasam"], TestTimeAugmentation()
    if "medsam" in path.name.lower() or "medsam" in path.absolute().parent.name.lower():
        warnings.warn(
            f"{path} is loaded as MedSAM because of its name (images stretched and scaled to 0–1, box "
            "prompts only); if it is not, add '+preprocessing=sam'.",
            UltraSamWarning,
            stacklevel=4,
        )
        return PREPROCESSING["medsam"], TestTimeAugmentation()
    sam = PREPROCESSING["sam"]
    if "pixel_mean" in state and "pixel_std" in state:
        mean, std = (
            cast(Triple, tuple(round(float(v), 4) for v in state[name].flatten()))
            for name in ("pixel_mean", "pixel_std")
        )
        if len(mean) == len(std) == 3 and (mean, std) != (sam.mean, sam.std):
            warnings.warn(
                f"Normalizing pixels by the mean {mean} and the standard deviation {std} that {path} "
                "specifies.",
                UltraSamWarning,
                stacklevel=4,
            )
            return replace(sam, mean=mean, std=std), TestTimeAugmentation()
    return sam, TestTimeAugmentation()


def earlier_settings(config: Mapping[str, Any]) -> tuple[Preprocessor, TestTimeAugmentation]:
    """The settings of earlier versions, which stored them in the model configuration."""
    preprocessor = Preprocessor(
        size=config.get("image_size", 1024),
        resample="area",
        mean=cast(Triple, tuple(config.get("pixel_mean", SAM_MEAN))),
        std=cast(Triple, tuple(config.get("pixel_std", SAM_STD))),
    )
    return preprocessor, TestTimeAugmentation(config.get("zoom", 0.0), config.get("mirror", False))
