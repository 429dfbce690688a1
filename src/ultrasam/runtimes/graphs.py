"""Encoder and decoder as modules with plain tensors, for export to other runtimes.

Both hold a copy of the model with plain attention, because the forms for a device would fix their slices in
the graph.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from ultrasam.model.image_encoder import Attention, attention_with_relative_positions
from ultrasam.model.layers import plain_attention
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.transformer import Attention as DecoderAttention
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam

M = TypeVar("M", bound=nn.Module)


def plain_copy(model: M) -> M:
    """A copy of a model, in evaluation mode, whose attention is the plain form of all devices."""
    plain = copy.deepcopy(model).eval()
    for module in plain.modules():
        if isinstance(module, Attention):
            module.attention_function = attention_with_relative_positions
        if isinstance(module, Attention | DecoderAttention):
            module.plain_function = plain_attention
    return plain


class EncoderGraph(nn.Module):
    """Encodes preprocessed pixels [B, 3, S, S] as the image embedding [B, C, H, W] and, for a model with
    high-resolution features, the features at strides 4 and 8 that the decoder adds."""

    def __init__(self, model: UltraSam) -> None:
        super().__init__()
        self.model = plain_copy(model)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        images = self.model.encode(pixels)
        return (images.image, *images.high_res)


class DecoderGraph(nn.Module):
    """Decodes N prompts on one image to low-res logits [N, 4, 4 H, 4 W] and predicted IoU [N, 4].

    ``forward(image, high_res, coords, labels, masks, has_mask)`` takes the output of `EncoderGraph` for one
    image and prompts as in `ultrasam.prompts.PromptArrays`, all in float32: labels [N, K], mask prompts
    [N, 1, M, M], and 1 for each prompt that has one, else 0, [N].
    """

    def __init__(self, model: UltraSam) -> None:
        super().__init__()
        self.model = plain_copy(model)

    def forward(
        self,
        image: Tensor,
        high_res: tuple[Tensor, ...],
        coords: Tensor,
        labels: Tensor,
        masks: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        prompts = prompts_of(coords, labels, masks, has_mask)
        output = self.model.decode(ImageEmbedding(image, high_res), prompts)
        return output.masks, output.predicted_iou


def prompts_of(coords: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor) -> PromptTensors:
    """Prompts from a graph's inputs, which are all float32."""
    # Runtimes on a GPU lack kernels for 64-bit integers.
    return PromptTensors(coords, labels.to(torch.int32), masks, has_mask > 0.5)
