"""A ViT-B that was trained on ImageNet as an image encoder of ours."""

from __future__ import annotations

import torch

from ultrasam.errors import CheckpointError, one_line
from ultrasam.extras import needs
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.registry import PREPROCESSING


def from_imagenet(repository: str) -> UltraSam:
    """A ViT-B whose encoder's blocks, patches and positions are a plain ViT's, by repository or folder.

    Both are pre-norm transformers of the same sizes; SAM's windows and relative positions (zero here) are
    what it lacks. Positions are interpolated to 64 × 64. The decoder is random.

    Raises:
        MissingDependencyError: transformers is not installed.
        CheckpointError: it can't be loaded, or has other sizes.
    """
    with needs("Loading ImageNet weights", extra="downstream"):
        from transformers import ViTModel
    try:
        vit = ViTModel.from_pretrained(repository, add_pooling_layer=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"transformers can't load '{repository}': {one_line(error)}."
        ) from error
    model = UltraSam(CONFIGS["vit-b"], preprocessor=PREPROCESSING["sam"])
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
