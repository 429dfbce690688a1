"""The network that fine-tuning starts from: a promptable model, of which the image encoder is used, or a
ResNet."""

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
    """What `ultrasam.load` opens, on the CPU in fp32, if it can be fine-tuned.

    Raises:
        CheckpointError: also: it is a model that was fine-tuned already.
    """
    model = load(spec, device="cpu", precision="float32", seed=seed)
    if not isinstance(model, Backbone):
        raise CheckpointError(
            f"'{spec}' is fine-tuned for a task already; start from a Segment-Anything model or ResNet."
        )
    refuse_bottlenecks(model, spec)
    return model


def load_promptable(spec: str, *, seed: int = 0) -> UltraSam:
    """As `load_backbone`, for what needs prompts.

    Raises:
        CheckpointError: also: the network takes no prompts.
    """
    model = load_model(spec, device="cpu", precision="float32", seed=seed)
    refuse_bottlenecks(model, spec)
    return model


def empty_backbone(about: Mapping[str, Any]) -> Backbone:
    """A model of the sizes and preprocessing that a saved one's description gives, its weights still
    random."""
    config, preprocessing = about["config"], about["preprocessing"]
    if isinstance(preprocessing, Mapping):
        preprocessor = Preprocessor.from_dict(preprocessing)
    else:  # a sentence, as earlier versions wrote
        preprocessor, _ = earlier_settings(config)
    if config.get("name") == RESNET:
        known = {"name", "image_size", "patch_size", "width", "fixed_statistics"}
        sizes = ResNetConfig(**{key: value for key, value in config.items() if key in known})
        return ResNet(sizes, preprocessor=preprocessor)
    return UltraSam(ModelConfig.from_json(json.dumps(config)), preprocessor=preprocessor)
