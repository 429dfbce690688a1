"""Where an encoder starts from: ours, other people's, or nothing."""

from __future__ import annotations

import json

import torch

from ultrasam.downstream.resnet import RESNET, ResNet, ResNetConfig
from ultrasam.errors import CheckpointError
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.ultrasam import UltraSam

Initial = UltraSam | ResNet
_NAMES = {"ultrasam": "base", "sam": "sam-base"}


def initial_model(init: str, *, seed: int = 0) -> Initial:
    """A model by what it starts from.

    Args:
        init: ``nano``; ``ultrasam`` (the published ViT-B), ``sam``, ``medsam``, a path, …, as
            `ultrasam.load` has them; ``imagenet`` (ViT-B/16 of Dosovitskiy et al. 2021, from the Hugging Face
            hub); ``resnet50`` (He et al. 2016, trained on ImageNet, from there too; ``resnet50:REPO``);
            ``scratch:nano``, ``scratch:base``, ``scratch:resnet50``: random weights.

    Raises:
        CheckpointError: the weights can't be had.
    """
    kind, _, name = init.partition(":")
    if kind == "scratch":
        size = name or "nano"
        if size not in (*CONFIGS, RESNET):
            raise CheckpointError(
                f"'{init}': there is no model of that size; there are {', '.join((*CONFIGS, RESNET))}."
            )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if size == RESNET:
                return ResNet(ResNetConfig(fixed_statistics=False))
            return UltraSam(CONFIGS[size])
    if kind == RESNET:
        return ResNet(ResNetConfig(), repository=name or "microsoft/resnet-50")
    if kind == "imagenet":
        return from_imagenet(name or "google/vit-base-patch16-224-in21k")
    return UltraSam.from_pretrained(_NAMES.get(init, init))


def prompted_model(init: str, *, seed: int = 0) -> UltraSam:
    """As `initial_model`, for what needs prompts.

    Raises:
        CheckpointError: the weights can't be had, or are of a network that takes no prompts.
    """
    model = initial_model(init, seed=seed)
    if not isinstance(model, UltraSam):
        raise CheckpointError(f"'{init}' takes no prompts; start from a model of ours.")
    return model


def model_of(config: dict[str, object]) -> Initial:
    """A model of the sizes that a saved one's description gives, its weights still random.

    Raises:
        CheckpointError: there are no such sizes.
    """
    if config.get("name") == RESNET:
        return ResNet(ResNetConfig(fixed_statistics=bool(config["fixed_statistics"])))
    return UltraSam(ModelConfig.from_json(json.dumps(config)))


def from_imagenet(repository: str) -> UltraSam:
    """A ViT-B whose encoder's blocks, patches and positions are a plain ViT's.

    Both are pre-norm transformers of the same sizes; SAM's windows and relative positions (zero here) are
    what it lacks. Positions are interpolated to 64 × 64.

    Raises:
        CheckpointError: it can't be loaded, or has other sizes.
    """
    from transformers import ViTModel

    try:
        vit = ViTModel.from_pretrained(repository, add_pooling_layer=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"transformers can't load '{repository}': {reason}") from error
    model = UltraSam(CONFIGS["base"])
    config, encoder = vit.config, model.image_encoder
    ours = (model.config.width, model.config.depth, model.config.mlp_width, model.config.patch_size)
    theirs = (
        config.hidden_size,
        config.num_hidden_layers,
        config.intermediate_size,
        config.patch_size,
    )
    if ours != theirs:
        raise CheckpointError(f"'{repository}' has the sizes {theirs}, not a ViT-B/16's {ours}.")
    their = vit.state_dict()
    state = encoder.state_dict()
    state["patch_embed.proj.weight"] = their["embeddings.patch_embeddings.projection.weight"]
    state["patch_embed.proj.bias"] = their["embeddings.patch_embeddings.projection.bias"]
    places = their["embeddings.position_embeddings"][0, 1:]  # without the class token's
    side = round(len(places) ** 0.5)
    grid = places.view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (model.config.grid,) * 2, mode="bicubic")
    state["pos_embed"] = grid.permute(0, 2, 3, 1)
    layers = "layers" if any(k.startswith("layers.") for k in their) else "encoder.layer"
    for index in range(model.config.depth):
        for name in ("weight", "bias"):
            here, there = f"blocks.{index}", f"{layers}.{index}"
            for a, b in _PARTS.items():
                state[f"{here}.{a}.{name}"] = their[f"{there}.{_spelled(b, their, there)}.{name}"]
            qkv = [their[f"{there}.{_spelled(q, their, there)}.{name}"] for q in _QKV]
            state[f"{here}.attn.qkv.{name}"] = torch.cat(qkv)
    encoder.load_state_dict(state)
    return model


# Names in transformers 4, and in 5.
_PARTS = {
    "norm1": ("layernorm_before",), "norm2": ("layernorm_after",),
    "attn.proj": ("attention.output.dense", "attention.o_proj"),
    "mlp.lin1": ("intermediate.dense", "mlp.fc1"), "mlp.lin2": ("output.dense", "mlp.fc2"),
}  # fmt: skip
_QKV = tuple(
    (f"attention.attention.{long}", f"attention.{short}_proj")
    for long, short in (("query", "q"), ("key", "k"), ("value", "v"))
)


def _spelled(names: tuple[str, ...], state: dict[str, torch.Tensor], layer: str) -> str:
    return next(name for name in names if f"{layer}.{name}.weight" in state)
