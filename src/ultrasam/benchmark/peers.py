"""transformers' SamModel with the weights of a model of ours, to compare speed with."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Float32, PromptArrays
from ultrasam.runtimes.backend import Backend
from ultrasam.weights.formats import from_our_keys


class Peer:
    """transformers' SamModel, whose attention is PyTorch's scaled-dot-product attention."""

    name = "transformers"

    def __init__(self, model: Any) -> None:
        self.model = model

    @torch.inference_mode()
    def encode(self, pixels: Float32) -> Any:
        """Image embeddings of preprocessed pixels [B, 3, S, S]."""
        return self.model.get_image_embeddings(torch.from_numpy(pixels))

    @torch.inference_mode()
    def decode(self, embedding: Any, prompts: PromptArrays) -> Float32:
        """Low-res logits of the clicks of one prompt."""
        clicks = prompts.labels[0] >= 0
        found = self.model(
            image_embeddings=embedding,
            input_points=torch.from_numpy(prompts.coords[None, :, clicks]),
            input_labels=torch.from_numpy(prompts.labels[None, :, clicks]),
        )
        return np.asarray(found.pred_masks.numpy())


def peer_of(backend: Backend) -> Peer | str:
    """The peer of an opened model, or why there is none."""
    model = getattr(backend, "model", None)
    if not isinstance(model, UltraSam):
        return ""
    config = model.config
    if config.high_res_features or config.mask_quality or config.prompt_maps:
        return f"{Peer.name}: it has no network like {config.name}."
    if config.name not in ("vit-b", "vit-l", "vit-h"):
        return f"{Peer.name}: it has no configuration of {config.name}."
    if find_spec("transformers") is None:
        return f"{Peer.name}: pip install 'ultrasam[downstream]'."
    return Peer(transformers_sam(model))


def transformers_sam(model: UltraSam) -> Any:
    """transformers' SamModel with a model's weights."""
    from transformers import SamConfig, SamModel, SamVisionConfig

    config = model.config
    vision = SamVisionConfig(
        hidden_size=config.width, num_hidden_layers=config.depth, num_attention_heads=config.heads,
        image_size=config.image_size, global_attn_indexes=list(config.global_blocks),
    )  # fmt: skip
    peer: Any = SamModel(SamConfig(vision_config=vision.to_dict()))
    peer.load_state_dict(from_our_keys(model.state_dict(), "transformers"))
    return peer.eval()
