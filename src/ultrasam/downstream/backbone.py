"""Load the backbone for fine-tuning: a promptable model or a ResNet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ultrasam.downstream.resnet import RESNET, ResNet, ResNetConfig
from ultrasam.errors import CheckpointError
from ultrasam.model.config import ModelConfig
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adapters import refuse_bottlenecks
from ultrasam.weights.infer import earlier_settings
from ultrasam.weights.load import load, load_model

Backbone = UltraSam | ResNet


def load_backbone(spec: str, *, seed: int = 0) -> Backbone:
    """Load a model for fine-tuning with `ultrasam.load`, on the CPU in fp32.

    Raises:
        CheckpointError: The model cannot be loaded, or it is already fine-tuned for another task.
    """
    model = load(spec, device="cpu", precision="float32", seed=seed)
    if not isinstance(model, Backbone):
        raise CheckpointError(
            f"'{spec}' is already fine-tuned for a task; start from a Segment Anything model or a ResNet."
        )
    refuse_bottlenecks(model, spec)
    return model


def load_promptable(spec: str, *, seed: int = 0) -> UltraSam:
    """Load a promptable model for fine-tuning, on the CPU in fp32.

    Raises:
        CheckpointError: The model cannot be loaded, or it takes no prompts.
    """
    model = load_model(spec, device="cpu", precision="float32", seed=seed)
    refuse_bottlenecks(model, spec)
    return model


def empty_backbone(about: Mapping[str, Any]) -> Backbone:
    """A model with the sizes and preprocessing of a saved one, and random weights."""
    config, preprocessing = about["config"], about["preprocessing"]
    if isinstance(preprocessing, Mapping):
        preprocessor = Preprocessor.from_dict(preprocessing)
    else:  # earlier versions wrote a sentence
        preprocessor, _ = earlier_settings(config)
    if config.get("name") == RESNET:
        known = {"name", "image_size", "patch_size", "width", "fixed_statistics"}
        sizes = ResNetConfig(**{key: value for key, value in config.items() if key in known})
        return ResNet(sizes, preprocessor=preprocessor)
    return UltraSam(ModelConfig.from_json(json.dumps(config)), preprocessor=preprocessor)
