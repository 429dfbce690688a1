"""UltraSam: image encoder, prompt encoder and mask decoder as one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.model.mask_decoder import MaskDecoder, MaskDecoderOutput
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.model.prompt_encoder import PromptEncoder, PromptTensors


class ImageEmbedding(NamedTuple):
    """B encoded images.

    Attributes:
        image: [B, C, H, W].
        high_res: features that the decoder's upscaling adds, [B, …] each; empty for a model without
            high-resolution features.
    """

    image: Tensor
    high_res: tuple[Tensor, ...] = ()

    def select(self, index: Tensor) -> ImageEmbedding:
        """The embeddings of the images in ``index``, [N]."""
        return ImageEmbedding(
            self.image.index_select(0, index),
            tuple(part.index_select(0, index) for part in self.high_res),
        )

    def split(self) -> list[ImageEmbedding]:
        """Split into B embeddings of one image each."""
        high_res = [part.split(1) for part in self.high_res]
        return [
            ImageEmbedding(image, tuple(part[i] for part in high_res))
            for i, image in enumerate(self.image.split(1))
        ]

    @staticmethod
    def join(images: Sequence[ImageEmbedding]) -> ImageEmbedding:
        """Join embeddings into one batch."""
        if len(images) == 1:
            return images[0]
        return ImageEmbedding(
            torch.cat([image.image for image in images]),
            tuple(torch.cat(same) for same in zip(*(i.high_res for i in images), strict=True)),
        )


class UltraSam(nn.Module):
    """A Segment-Anything network (Kirillov et al. 2023; UltraSam, arXiv 2411.16222).

    Parameters have Meta's names. This is the plain form of the network; `ultrasam.runtimes` has faster forms
    for specific devices.

    Attributes:
        config: sizes of the network.
        preprocessor: converts pixels and prompts to the network's input.
        tta: the test-time augmentation that a predictor uses.
        postprocessor: what a predictor removes from masks.

    Example:
        >>> model = UltraSam(CONFIGS["nano"]).eval()
        >>> model.config.image_size
        256
    """

    def __init__(
        self,
        config: ModelConfig = CONFIGS["vit-b"],
        *,
        preprocessor: Preprocessor | None = None,
        tta: TestTimeAugmentation | None = None,
        postprocessor: Postprocessor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = replace(preprocessor or Preprocessor(), size=config.image_size)
        self.tta = tta or TestTimeAugmentation()
        self.postprocessor = postprocessor or Postprocessor()
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    @property
    def device(self) -> torch.device:
        return self.mask_decoder.iou_token.weight.device

    def encode(self, pixels: Tensor) -> ImageEmbedding:
        """Encode preprocessed pixels [B, 3, S, S]."""
        image, features = self.image_encoder(pixels)
        return ImageEmbedding(image, self.mask_decoder.project_high_res(features))

    def decode(
        self, images: ImageEmbedding, prompts: PromptTensors, *, image_index: Tensor | None = None
    ) -> MaskDecoderOutput:
        """Decode N prompts on B encoded images, with any number of prompts per image.

        Args:
            images: B encoded images.
            prompts: N prompts in model pixels.
            image_index: [N] long, the image of each prompt; may be omitted if B is 1.
        """
        if image_index is not None:
            images = images.select(image_index)
        output: MaskDecoderOutput = self.mask_decoder(
            images.image,
            self.prompt_encoder.get_dense_pe(),
            self.prompt_encoder(prompts),
            images.high_res,
        )
        return output

    def forward(
        self, pixels: Tensor, prompts: PromptTensors, *, image_index: Tensor | None = None
    ) -> MaskDecoderOutput:
        """Encode preprocessed pixels and decode prompts in one call."""
        return self.decode(self.encode(pixels), prompts, image_index=image_index)
