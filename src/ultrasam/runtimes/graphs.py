"""Encoder and decoder as two modules over plain tensors: what is exported to other runtimes."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from ultrasam.model.image_encoder import Attention, attention_with_relative_positions
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam


class EncoderGraph(nn.Module):
    """Preprocessed pixels [B, 3, S, S] to the image embedding [B, C, H, W] and, of a model with
    high-resolution features, the decoder's addends at stride 4 and 8.

    It holds a copy of the model with its attention in the plain form: what is fast on this machine's
    processor would bake its slices into the graph.
    """

    def __init__(self, model: UltraSam) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for module in self.model.image_encoder.modules():
            if isinstance(module, Attention):
                module.attention_function = attention_with_relative_positions

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        images = self.model.encode(pixels)
        return (images.image, *images.high_res)


class DecoderGraph(nn.Module):
    """N prompts on one image to low-res logits [N, 4, 4 H, 4 W] and predicted IoU [N, 4].

    ``forward(image, high_res, coords, labels)`` takes what `EncoderGraph` gave of one image, and prompts as
    `ultrasam.prompts.PromptArrays` has them; and, or not, mask prompts [N, 1, M, M] and which prompts have
    one, [N] bool.
    """

    def __init__(self, model: UltraSam) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        image: Tensor,
        high_res: tuple[Tensor, ...],
        coords: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        has_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        prompts = PromptTensors(coords, labels, masks, has_mask)
        output = self.model.decode(ImageEmbedding(image, high_res), prompts)
        return output.masks, output.predicted_iou
