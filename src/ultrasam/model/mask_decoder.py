"""The mask decoder: tokens and image through the two-way transformer, then the up-scaling (SAM,
appendix A)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.kept_image import ImageSide, attend_to_kept, keep_image
from ultrasam.model.layers import MLP, LayerNorm2d
from ultrasam.model.prompt_encoder import EncodedPrompts
from ultrasam.model.two_way import TwoWayBlock, TwoWayTransformer

# Image tokens of all prompts that a CPU works on at once without gradients: as many pixels of the
# finished up-scaling, 512 × 16 × 32 in fp32, are 1 MB.
_TOKENS_AT_ONCE = 512
MASK_TOKENS = 4  # one for a single mask, three for the parts and wholes of an ambiguous prompt


class MaskDecoder(nn.Module):
    """N prompts over B image embeddings to low-res logits and predicted IoU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        first, second = config.upscale_channels
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.transformer = TwoWayTransformer(config)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, first, 2, stride=2),
            LayerNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, second, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, second, layers=3) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(width, 256, MASK_TOKENS, layers=3)
        self.pixel_order: Tensor
        self.register_buffer("pixel_order", _pixel_order(config.grid), persistent=False)
        if config.fine_features:
            self.fine_stride4 = nn.Conv2d(config.width // 4, second, 3, padding=1)
            self.fine_stride8 = nn.Conv2d(config.width // 2, first, 1)
            self.fine_maps = nn.Conv2d(3, second, 3, padding=1)

    def forward(
        self,
        embedding: Tensor,
        positions: Tensor,
        prompts: EncodedPrompts,
        *,
        image_index: Tensor,
        fine: tuple[Tensor, ...] = (),
        side: ImageSide | None = None,
        masks: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """Decode all prompts at once.

        Args:
            embedding: [B, C, H, W].
            positions: [H * W, C] of the embedding's tokens.
            prompts: N encoded prompts.
            image_index: [N] long, the image that each prompt is of.
            fine: what ``refine_stem`` made of the stem's features, for a model with fine features.
            side: from ``image_side``, of the one image, for prompts none of which has a mask.
            masks: which of the four mask tokens to return: ``slice(0, 1)`` the single mask,
                ``slice(1, 4)`` the three of an ambiguous prompt.

        Returns:
            Low-res logits [N, M, 4 H, 4 W] and predicted IoU [N, M].
        """
        count = prompts.tokens.shape[0]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(count, -1, -1), prompts.tokens], dim=1)
        absent = None
        if prompts.absent is not None:
            absent = F.pad(prompts.absent, (1 + MASK_TOKENS, 0), value=False)

        chosen = range(MASK_TOKENS)[masks]
        outputs = [0, *(1 + i for i in chosen)]
        height, width = embedding.shape[-2:]
        length = height * width
        if embedding.device.type == "cpu" and not torch.is_grad_enabled():
            length = max(1, _TOKENS_AT_ONCE // count)
        doubling = cast(nn.ConvTranspose2d, self.output_upscaling[0])
        doubled: Iterator[Tensor]
        if side is not None and self.transformer.takes_few(tokens):
            tokens, kept = attend_to_kept(
                self.transformer, side, tokens, absent=absent, outputs=outputs
            )
            norm = cast(TwoWayBlock, self.transformer.layers[-1]).norm4
            weight = side.weights.doubling
            bias = cast(Tensor, doubling.bias).repeat(4) + weight @ norm.bias
            doubled = kept.linear(side.second.doubled, weight, bias, length)
        else:
            image = embedding.flatten(2).transpose(1, 2)  # [B, H * W, C]
            if image.shape[0] > 1:
                image = image.index_select(0, image_index)  # [N, H * W, C]
            image = image + prompts.dense.flatten(2).transpose(1, 2)  # [N or 1, H * W, C]
            tokens, parts = self.transformer(
                tokens,
                image.split(length, dim=1),
                positions.split(length),
                absent=absent,
                outputs=outputs,
            )
            linear = _doubling(doubling)
            doubled = (F.linear(part, *linear) for part in parts)

        iou: Tensor = self.iou_prediction_head(tokens[:, 0])
        hyper = torch.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + n]) for n, i in enumerate(chosen)],
            dim=1,
        )  # [N, M, second]
        addends = self._addends(fine, prompts.maps, image_index, length)
        return self._upscale(doubled, hyper, (height, width), addends), iou[:, masks]

    def image_side(self, embedding: Tensor, positions: Tensor, no_mask: Tensor) -> ImageSide:
        """What all prompts without a mask share of one image [1, C, H, W], kept beside its embedding."""
        image = embedding[0].flatten(1).t() + no_mask.view(1, -1)
        weight, _ = _doubling(cast(nn.ConvTranspose2d, self.output_upscaling[0]))
        return keep_image(self.transformer, image, positions, weight)

    def refine_stem(self, stem: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The stem's features at stride 4 and 8 as addends of the up-scaling, once per image.

        Returns:
            [B, H * W, 2, 2, 2, 2, second] and [B, H * W, 2, 2, first], or nothing for nothing.
        """
        if not stem:
            return ()
        return (
            _split(self.fine_stride4(stem[0]), 2).contiguous(),
            _split(self.fine_stride8(stem[1]), 1).contiguous(),
        )

    def _addends(
        self, fine: tuple[Tensor, ...], maps: Tensor | None, image_index: Tensor, length: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """What the up-scaling adds at stride 8 and at stride 4 to ``length`` tokens at a time."""
        if not fine:
            return repeat(())
        stride4, stride8 = (part.index_select(0, image_index) for part in fine)
        if maps is not None:
            stride4 = stride4 + _split(self.fine_maps(maps), 2)
        return zip(stride8.split(length, dim=1), stride4.split(length, dim=1), strict=True)

    def _upscale(
        self,
        doubled: Iterator[Tensor],
        hyper: Tensor,
        grid: tuple[int, int],
        addends: Iterator[tuple[Tensor, ...]],
    ) -> Tensor:
        """Image tokens ×4 and their product with each mask's vector [N, M, second].

        A transposed convolution of kernel and stride 2 is a linear map to 2 × 2 pixels, so features
        are kept as [N, l, 2, 2, …] and only the finished masks are shuffled into rows: no token needs
        its neighbours.

        Args:
            doubled: parts of the tokens after the first linear map, [N, l, 4 * first].
        """
        map2 = _doubling(cast(nn.ConvTranspose2d, self.output_upscaling[3]))
        parts = [
            self._upscale_part(part, hyper, map2, added)
            for part, added in zip(doubled, addends, strict=False)
        ]
        x = torch.cat(parts, dim=1)  # [N, H * W * 16, M]
        x = x.index_select(1, self.pixel_order).transpose(1, 2)
        return x.reshape(len(hyper), -1, 4 * grid[0], 4 * grid[1])

    def _upscale_part(
        self,
        x: Tensor,
        hyper: Tensor,
        map2: tuple[Tensor, Tensor],
        addends: tuple[Tensor, ...],
    ) -> Tensor:
        """Tokens [N, l, 4 * first] to the 4 × 4 logits of each, [N, l * 16, M]."""
        x = x.view(*x.shape[:2], 2, 2, -1)
        if addends:
            x = x + addends[0]
        x = F.gelu(cast(LayerNorm2d, self.output_upscaling[1]).channels_last(x))
        x = F.linear(x, *map2).view(*x.shape[:-1], 2, 2, -1)
        if addends:
            x = x + addends[1]
        return torch.bmm(F.gelu(x).flatten(1, -2), hyper.transpose(1, 2))


def _pixel_order(grid: int) -> Tensor:
    """Where each pixel, row by row, is among a grid's tokens of 2 × 2 pixels of 2 × 2, [16 * grid²].

    To move whole axes instead takes a CPU two to three times as long.
    """
    nested = torch.arange(16 * grid**2).view(grid, grid, 2, 2, 2, 2)
    return nested.permute(0, 2, 4, 1, 3, 5).flatten()


def _doubling(conv: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A 2 × 2 transposed convolution of stride 2 as the linear map of a pixel to its four, [2 * 2 * D, C]."""
    assert conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def _split(x: Tensor, times: int) -> Tensor:
    """[B, C, 2^t H, 2^t W] as nested pixels: [B, H * W, (2, 2) * t, C]."""
    batch, channels, height, width = x.shape
    if times == 1:
        x = x.view(batch, channels, height // 2, 2, width // 2, 2)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(1, 2)
    x = x.view(batch, channels, height // 4, 2, 2, width // 4, 2, 2)
    return x.permute(0, 2, 5, 3, 6, 4, 7, 1).flatten(1, 2)
