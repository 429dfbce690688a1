"""UltraSam: the three parts as one module, and the way in and out of files for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.hub import HubMixin
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.model.kept_image import ImageSide
from ultrasam.model.mask_decoder import MaskDecoder
from ultrasam.model.prompt_encoder import PromptEncoder, PromptTensors

# Whose image tokens a CPU works on at once without gradients: more do not fit its cache.
_PROMPTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class ImageEmbedding:
    """What the encoder keeps of B images.

    Attributes:
        embedding: [B, C, H, W].
        fine: addends of the decoder's up-scaling, of a model with fine features; else empty.
        side: of one image, what the decoder makes of it for any prompt without a mask; kept so that a
            click costs less.
    """

    embedding: Tensor
    fine: tuple[Tensor, ...] = ()
    side: ImageSide | None = None

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def split(self) -> list[ImageEmbedding]:
        """B embeddings of one image each."""
        if len(self) == 1:
            return [self]
        fine = [part.split(1) for part in self.fine]
        return [
            ImageEmbedding(embedding, tuple(part[i] for part in fine))
            for i, embedding in enumerate(self.embedding.split(1))
        ]

    @classmethod
    def joined(cls, images: Sequence[ImageEmbedding]) -> ImageEmbedding:
        """One embedding of the images of several."""
        if len(images) == 1:
            return images[0]
        return cls(
            torch.cat([image.embedding for image in images]),
            tuple(torch.cat(same) for same in zip(*(image.fine for image in images), strict=True)),
        )


class UltraSam(nn.Module, HubMixin):
    """A Segment-Anything network (Kirillov et al. 2023; UltraSam, arXiv 2411.16222).

    Parameter names are Meta's, so that ``state_dict`` is the lingua franca between checkpoints.

    Example:
        >>> model = UltraSam(CONFIGS["nano"]).eval()
        >>> model.config.image_size
        256
    """

    def __init__(self, config: ModelConfig = CONFIGS["base"]) -> None:
        super().__init__()
        self.config = config
        # Whether ``encode`` keeps what prompts share; else every prompt writes the image's tokens.
        self.keeping = True
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.register_buffer(
            "pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False
        )
        self.register_buffer(
            "pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False
        )
        self.pixel_mean: Tensor
        self.pixel_std: Tensor

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] on 0-255, h and w up to the canvas, to normalised and zero-padded
        [B, 3, S, S]."""
        pixels = (pixels.float() - self.pixel_mean.float()) / self.pixel_std.float()
        size = self.config.image_size
        return F.pad(pixels, (0, size - pixels.shape[-1], 0, size - pixels.shape[-2]))

    def encode(self, pixels: Tensor) -> ImageEmbedding:
        """Normalised pixels [B, 3, S, S] to their embedding."""
        weight = self.image_encoder.pos_embed
        embedding, stem = self.image_encoder(pixels.to(weight.dtype))
        decoder = self.mask_decoder.iou_token.weight
        if weight.dtype != decoder.dtype:  # an encoder in bfloat16 before a decoder in float32
            embedding, stem = embedding.to(decoder.dtype), tuple(s.to(decoder.dtype) for s in stem)
        return self.keep(ImageEmbedding(embedding, self.mask_decoder.refine_stem(stem)))

    def keep(self, image: ImageEmbedding) -> ImageEmbedding:
        """Add what repeated prompts on one image share, where that saves work."""
        exact = image.embedding.dtype in (torch.float32, torch.float64)
        exact = exact and not torch.is_autocast_enabled(self.device.type)
        apart = len(image) == 1 and not self.config.drawn_prompts
        if torch.is_grad_enabled() or not (self.keeping and apart and exact):
            return image
        side = self.mask_decoder.image_side(
            image.embedding,
            self.prompt_encoder.dense_positions(),
            self.prompt_encoder.no_mask_embed.weight,
        )
        return replace(image, side=side)

    def decode(
        self,
        image: ImageEmbedding,
        prompts: PromptTensors,
        *,
        image_index: Tensor | None = None,
        masks: slice = slice(0, 1),
    ) -> tuple[Tensor, Tensor]:
        """N prompts over B embedded images, any number of prompts to each.

        Args:
            image: B embedded images.
            prompts: N prompts in model pixels.
            image_index: [N] long, the image of each prompt; None where B is 1.
            masks: ``slice(0, 1)`` the single mask, ``slice(1, 4)`` the three of an ambiguous prompt.

        Returns:
            Low-res logits [N, M, 4 H, 4 W] and predicted IoU [N, M].

        Raises:
            ValueError: no prompt, or more than one image without ``image_index``.
        """
        if not len(prompts):
            raise ValueError("there is no prompt")
        if image_index is None:
            if len(image) != 1:
                raise ValueError("image_index is needed with more than one image")
            image_index = torch.zeros(len(prompts), dtype=torch.long, device=self.device)
        few = self.device.type == "cpu" and not torch.is_grad_enabled()
        count = _PROMPTS_AT_ONCE if few else len(prompts)
        parts = [
            self._decode(image, prompts[start : start + count], index, masks)
            for start, index in zip(
                range(0, len(prompts), count), image_index.split(count), strict=True
            )
        ]
        logits, iou = zip(*parts, strict=True)
        return torch.cat(logits), torch.cat(iou)

    def _decode(
        self, image: ImageEmbedding, prompts: PromptTensors, image_index: Tensor, masks: slice
    ) -> tuple[Tensor, Tensor]:
        # What was kept knows no gradients, and is of the weights of that time.
        side = None if torch.is_grad_enabled() else image.side
        positions = self.prompt_encoder.dense_positions() if side is None else side.positions
        logits, iou = self.mask_decoder(
            image.embedding,
            positions,
            self.prompt_encoder(prompts),
            image_index=image_index,
            fine=image.fine,
            side=side if prompts.masks is None else None,
            masks=masks,
        )
        return logits, iou

    def forward(
        self,
        pixels: Tensor,
        prompts: PromptTensors,
        *,
        image_index: Tensor | None = None,
        masks: slice = slice(0, 1),
    ) -> tuple[Tensor, Tensor]:
        """``encode`` and ``decode`` in one call, on normalised pixels."""
        return self.decode(self.encode(pixels), prompts, image_index=image_index, masks=masks)
