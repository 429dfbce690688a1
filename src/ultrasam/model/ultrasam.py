"""UltraSam: the three parts as one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.model.mask_decoder import MaskDecoder, MaskDecoderOutput
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.model.prompt_encoder import PromptEncoder, PromptTensors


class ImageEmbedding(NamedTuple):
    """B encoded images.

    Attributes:
        image: [B, C, H, W].
        high_res: addends of the decoder's up-scaling, [B, …] each, of a model with high-resolution features;
            else empty.
    """

    image: Tensor
    high_res: tuple[Tensor, ...] = ()

    def select(self, index: Tensor) -> ImageEmbedding:
        """The images [N] of ``index``, one after another."""
        return ImageEmbedding(
            self.image.index_select(0, index),
            tuple(part.index_select(0, index) for part in self.high_res),
        )

    def split(self) -> list[ImageEmbedding]:
        """B embeddings of one image each."""
        high_res = [part.split(1) for part in self.high_res]
        return [
            ImageEmbedding(image, tuple(part[i] for part in high_res))
            for i, image in enumerate(self.image.split(1))
        ]

    @staticmethod
    def join(images: Sequence[ImageEmbedding]) -> ImageEmbedding:
        """One embedding of the images of several."""
        if len(images) == 1:
            return images[0]
        return ImageEmbedding(
            torch.cat([image.image for image in images]),
            tuple(torch.cat(same) for same in zip(*(i.high_res for i in images), strict=True)),
        )


class UltraSam(nn.Module):
    """A Segment-Anything network (Kirillov et al. 2023; UltraSam, arXiv 2411.16222).

    Parameter names are Meta's, so that ``state_dict`` is the lingua franca between checkpoints. The module
    holds the network in its plain form; `ultrasam.runtimes` has forms that are faster on one device or
    another.

    Attributes:
        config: sizes.
        preprocessor: how pixels and prompts become its input.
        tta: views that a predictor averages.

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
    ) -> None:
        super().__init__()
        self.config = config
        self.preprocessor = replace(preprocessor or Preprocessor(), size=config.image_size)
        self.tta = tta or TestTimeAugmentation()
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    @property
    def device(self) -> torch.device:
        return self.mask_decoder.iou_token.weight.device

    def encode(self, pixels: Tensor) -> ImageEmbedding:
        """Preprocessed pixels [B, 3, S, S] to their embedding."""
        image, features = self.image_encoder(pixels)
        return ImageEmbedding(image, self.mask_decoder.project_high_res(features))

    def decode(
        self, images: ImageEmbedding, prompts: PromptTensors, *, image_index: Tensor | None = None
    ) -> MaskDecoderOutput:
        """N prompts on B encoded images, any number of prompts to each.

        Args:
            images: B encoded images.
            prompts: N prompts in model pixels.
            image_index: [N] long, the image of each prompt; not needed where B is 1.
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
        """``encode`` and ``decode`` in one call, on preprocessed pixels."""
        return self.decode(self.encode(pixels), prompts, image_index=image_index)
