"""Initialize the image encoder from a ViT-B trained on ImageNet."""

from __future__ import annotations

import torch

from ultrasam.errors import CheckpointError, one_line
from ultrasam.extras import needs
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.registry import PREPROCESSING


def from_imagenet(repository: str) -> UltraSam:
    """A ViT-B with an ImageNet encoder, from a transformers repository or folder, and a random decoder.

    Blocks, patch embedding and position embeddings are copied; positions are interpolated to 64 × 64. Windows
    and relative positions, which a plain ViT lacks, are SAM's, with relative positions of zero.

    Raises:
        MissingDependencyError: transformers is not installed.
        CheckpointError: The weights cannot be loaded, or have other sizes than a ViT-B/16.
    """
    with needs("Loading ImageNet weights", extra="downstream"):
        from transformers import ViTModel

        from ultrasam.download import from_pretrained
    try:
        vit = from_pretrained(ViTModel, repository, add_pooling_layer=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Cannot load '{repository}' with transformers: {one_line(error)}."
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
        raise CheckpointError(
            f"'{repository}' is not a ViT-B/16: its sizes are {theirs}, not {ours}."
        )
    their = vit.state_dict()
    state = encoder.state_dict()
    state["patch_embed.proj.weight"] = their["embeddings.patch_embeddings.projection.weight"]
    state["patch_embed.proj.bias"] = their["embeddings.patch_embeddings.projection.bias"]
    positions = their["embeddings.position_embeddings"][0, 1:]  # without the class token
    side = round(len(positions) ** 0.5)
    grid = positions.view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (model.config.grid,) * 2, mode="bicubic")
    state["pos_embed"] = grid.permute(0, 2, 3, 1)
    layers = "layers" if any(k.startswith("layers.") for k in their) else "encoder.layer"
    for index in range(model.config.depth):
        for name in ("weight", "bias"):
            our_block, their_block = f"blocks.{index}", f"{layers}.{index}"
            for a, b in _PARTS.items():
                state[f"{our_block}.{a}.{name}"] = their[
                    f"{their_block}.{_existing(b, their, their_block)}.{name}"
                ]
            qkv = [their[f"{their_block}.{_existing(q, their, their_block)}.{name}"] for q in _QKV]
            state[f"{our_block}.attn.qkv.{name}"] = torch.cat(qkv)
    encoder.load_state_dict(state)
    return model


# Names in transformers 4 and 5.
_PARTS = {
    "norm1": ("layernorm_before",), "norm2": ("layernorm_after",),
    "attn.proj": ("attention.output.dense", "attention.o_proj"),
    "mlp.lin1": ("intermediate.dense", "mlp.fc1"), "mlp.lin2": ("output.dense", "mlp.fc2"),
}  # fmt: skip
_QKV = tuple(
    (f"attention.attention.{long}", f"attention.{short}_proj")
    for long, short in (("query", "q"), ("key", "k"), ("value", "v"))
)


def _existing(names: tuple[str, ...], state: dict[str, torch.Tensor], layer: str) -> str:
    return next(name for name in names if f"{layer}.{name}.weight" in state)
