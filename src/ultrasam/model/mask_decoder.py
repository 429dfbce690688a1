"""The mask decoder: a two-way transformer over tokens and image, then upscaling (SAM, appendix A)."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import MLP, LayerNorm2d
from ultrasam.model.mask_quality import MaskQuality
from ultrasam.model.prompt_encoder import EncodedPrompts
from ultrasam.model.transformer import TwoWayTransformer

NUM_MASK_TOKENS = 4  # one for the single mask, three for the candidates of an ambiguous prompt


class MaskDecoderOutput(NamedTuple):
    """The decoder's output for N prompts.

    Attributes:
        masks: low-res logits [N, 4, 4 H, 4 W]: the single mask, then the three candidates of an ambiguous
            prompt.
        predicted_iou: [N, 4], the estimated IoU of each mask. With a mask-quality head, it is the expected
            IoU: the IoU if there is an object, times the probability that there is one.
        mask_tokens: [N, 4, C] after the transformer.
        image: [N, C, H, W] after the transformer.
        iou_if_present: [N, 4], the estimated IoU if there is an object; else as ``predicted_iou``.
        object_logits: [N, 4], of there being an object; None without a mask-quality head.
    """

    masks: Tensor
    predicted_iou: Tensor
    mask_tokens: Tensor
    image: Tensor
    iou_if_present: Tensor
    object_logits: Tensor | None = None


class MaskDecoder(nn.Module):
    """Decodes prompts on image embeddings to low-res logits and predicted IoU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_width
        first, second = config.upscale_channels
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(NUM_MASK_TOKENS, width)
        self.transformer = TwoWayTransformer(config)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, first, 2, stride=2),
            LayerNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, second, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, second, layers=3) for _ in range(NUM_MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(width, 256, NUM_MASK_TOKENS, layers=3)
        self.mask_quality = MaskQuality(config) if config.mask_quality else None
        self.high_res_features = config.high_res_features
        if config.high_res_features:
            self.conv_s0 = nn.Conv2d(config.width // 4, second, 3, padding=1)
            self.conv_s1 = nn.Conv2d(config.width // 2, first, 1)
            self.conv_maps = nn.Conv2d(3, second, 3, padding=1)

    def forward(
        self,
        image_embedding: Tensor,
        image_pe: Tensor,
        prompts: EncodedPrompts,
        high_res: tuple[Tensor, ...] = (),
    ) -> MaskDecoderOutput:
        """Decode all prompts at once.

        Args:
            image_embedding: [N, C, H, W], the image of each prompt; or [1, C, H, W], one image for all.
            image_pe: [H * W, C], positional encoding of the embedding's tokens.
            prompts: N encoded prompts.
            high_res: the output of ``project_high_res`` for the same images, or empty.
        """
        tokens, unused = self.all_tokens(prompts)
        height, width = image_embedding.shape[2:]
        image = image_embedding + prompts.dense  # [N or 1, C, H, W]
        # Its shape, as len() would fix the number of prompts in an exported graph.
        image = image.expand(tokens.shape[0], -1, -1, -1)
        image = image.flatten(2).transpose(1, 2)  # [N, H * W, C]
        tokens, image = self.transformer(tokens, image, image_pe, unused)
        image = image.transpose(1, 2).unflatten(2, (height, width))
        return self.predict(tokens, image, high_res, prompts.maps)

    def all_tokens(self, prompts: EncodedPrompts) -> tuple[Tensor, Tensor]:
        """The IoU, mask and prompt tokens [N, 5 + T, C], and which of them are unused [N, 5 + T]."""
        count = prompts.tokens.shape[0]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(count, -1, -1), prompts.tokens], dim=1)
        used = prompts.unused.new_zeros(count, len(output_tokens))
        return tokens, torch.cat([used, prompts.unused], dim=1)

    def predict(
        self,
        tokens: Tensor,
        image: Tensor,
        high_res: tuple[Tensor, ...] = (),
        maps: Tensor | None = None,
    ) -> MaskDecoderOutput:
        """Masks and IoU from tokens [N, 5 + T, C] and the image [N, C, H, W] after the transformer."""
        mask_tokens = tokens[:, 1 : 1 + NUM_MASK_TOKENS]
        hyper_in = [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        upscaled = self._upscale(image, high_res, maps)  # [N, second, 4 H, 4 W]
        masks = torch.stack(hyper_in, dim=1) @ upscaled.flatten(2)
        masks = masks.unflatten(2, upscaled.shape[2:])
        iou = self.iou_prediction_head(tokens[:, 0])
        if self.mask_quality is None:
            return MaskDecoderOutput(masks, iou, mask_tokens, image, iou)
        delta, present = self.mask_quality(tokens[:, 0], mask_tokens, image, masks, upscaled, maps)
        if_present = iou + delta
        expected = if_present * present.sigmoid()
        return MaskDecoderOutput(masks, expected, mask_tokens, image, if_present, present)

    def project_high_res(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Project the stem's features at strides 4 and 8, which the upscaling adds; computed once per image.

        Returns:
            [B, second, 4 H, 4 W] and [B, first, 2 H, 2 W]; empty if ``features`` is.
        """
        if not features:
            return ()
        return self.conv_s0(features[0]), self.conv_s1(features[1])

    def _upscale(self, image: Tensor, high_res: tuple[Tensor, ...], maps: Tensor | None) -> Tensor:
        if not high_res:
            return cast(Tensor, self.output_upscaling(image))
        conv1, norm, act1, conv2, act2 = self.output_upscaling
        stride4, stride8 = high_res
        if maps is not None:
            stride4 = stride4 + self.conv_maps(maps)
        x = act1(norm(conv1(image) + stride8))
        return cast(Tensor, act2(conv2(x) + stride4))
