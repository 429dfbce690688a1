"""Encoder and decoder as modules with plain tensors, for export to other runtimes."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from ultrasam.model.image_encoder import Attention, attention_with_relative_positions
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam


class EncoderGraph(nn.Module):
    """Encodes preprocessed pixels [B, 3, S, S] as the image embedding [B, C, H, W] and, for a model with
    high-resolution features, the features at strides 4 and 8 that the decoder adds.

    It holds a copy of the model with plain attention, because sliced attention would fix its slices in the
    graph.
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
    """Decodes N prompts on one image to low-res logits [N, 4, 4 H, 4 W] and predicted IoU [N, 4].

    ``forward(image, high_res, coords, labels)`` takes the output of `EncoderGraph` for one image and prompts
    as in `ultrasam.prompts.PromptArrays`; optionally also mask prompts [N, 1, M, M] and which prompts have
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
