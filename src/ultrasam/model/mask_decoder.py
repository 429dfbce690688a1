"""The mask decoder: a two-way transformer between prompt tokens and the image (SAM, appendix A).

The image side stays as tokens, [N, H * W, C], and attention between few tokens and many is computed
with the image-side projections folded into the token side: ``(q Wk) · x`` in place of ``q · (x Wk)``.
With 7 tokens and 8 heads that is 56 columns in place of 128, exact, and in the first layer the image
is not copied per prompt at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import MLP, LayerNorm2d, MLPBlock
from ultrasam.model.prompt_encoder import EncodedPrompts

_TOKENS_AT_ONCE = 512  # of the image, in the up-scaling
MASK_TOKENS = 4  # one for a single mask, three for the parts and wholes of an ambiguous prompt


@dataclass(frozen=True, slots=True)
class ImageSide:
    """What the decoder's first layer makes of one image without a mask prompt, whatever the prompt.

    Attributes:
        image: tokens with the no-mask embedding added, and with positions added to that, [1, L, C].
        keys, values: of tokens to image, [heads, C', L] and [heads, L, C'].
        queries: of image to tokens, [heads, C', L].
    """

    image: Tensor
    image_q: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


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
        height, width = embedding.shape[-2:]
        count = prompts.tokens.shape[0]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(count, -1, -1), prompts.tokens], dim=1)
        absent = None
        if prompts.absent is not None:
            absent = F.pad(prompts.absent, (1 + MASK_TOKENS, 0), value=False)

        if side is not None:
            image = side.image
        else:
            image = embedding.flatten(2).transpose(1, 2)  # [B, H * W, C]
            if image.shape[0] > 1:
                image = image.index_select(0, image_index)  # [N, H * W, C]
            image = image + prompts.dense.flatten(2).transpose(1, 2)  # [N or 1, H * W, C]
        tokens, image = self.transformer(tokens, image, positions, absent=absent, side=side)

        iou: Tensor = self.iou_prediction_head(tokens[:, 0])
        chosen = range(MASK_TOKENS)[masks]
        hyper = torch.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in chosen], dim=1
        )  # [N, M, second]
        logits = self._upscale(image, hyper, (height, width), fine, prompts.maps, image_index)
        return logits, iou[:, masks]

    def image_side(self, embedding: Tensor, positions: Tensor, no_mask: Tensor) -> ImageSide:
        """The first layer's projections of one image [1, C, H, W], to be kept beside its embedding."""
        first = cast(TwoWayBlock, self.transformer.layers[0])
        image = embedding.flatten(2).transpose(1, 2) + no_mask.view(1, 1, -1)  # [1, L, C]
        image_q = image + positions
        reading, writing = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        heads = (reading.heads, -1)
        keys = reading.k_proj(image_q)[0].unflatten(-1, heads).permute(1, 2, 0)
        values = reading.v_proj(image)[0].unflatten(-1, heads).permute(1, 0, 2)
        queries = writing.q_proj(image_q)[0].unflatten(-1, heads).permute(1, 2, 0)
        return ImageSide(
            image, image_q, keys.contiguous(), values.contiguous(), queries.contiguous()
        )

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

    def _upscale(
        self,
        image: Tensor,
        hyper: Tensor,
        grid: tuple[int, int],
        fine: tuple[Tensor, ...],
        maps: Tensor | None,
        image_index: Tensor,
    ) -> Tensor:
        """Image tokens [N, H * W, C] ×4 and their product with each mask's vector [N, M, second].

        A transposed convolution of kernel and stride 2 is a linear map to 2 × 2 pixels, so features
        are kept as [N, H * W, 2, 2, …] and only the finished masks are shuffled into rows. No token
        needs its neighbours: without gradients they go through a few at a time, in cache.
        """
        if not fine and not torch.is_grad_enabled() and image.shape[1] > _TOKENS_AT_ONCE:
            parts = [
                self._upscale_tokens(part, hyper, (), None, image_index)
                for part in image.split(_TOKENS_AT_ONCE, dim=1)
            ]
            x = torch.cat(parts, dim=1)  # [N, H * W, 2, 2, 2, 2, M]
        else:
            x = self._upscale_tokens(image, hyper, fine, maps, image_index)
        # Pixel rows run over (H, first row bit, second row bit), columns alike.
        x = x.unflatten(1, grid).permute(0, 7, 1, 3, 5, 2, 4, 6)  # [N, M, H, 2, 2, W, 2, 2]
        logits: Tensor = x.reshape(image.shape[0], -1, 4 * grid[0], 4 * grid[1])
        return logits

    def _upscale_tokens(
        self,
        image: Tensor,
        hyper: Tensor,
        fine: tuple[Tensor, ...],
        maps: Tensor | None,
        image_index: Tensor,
    ) -> Tensor:
        """Tokens [N, L, C] to the 4 × 4 logits of each, [N, L, 2, 2, 2, 2, M]."""
        up1, norm, _, up2, _ = self.output_upscaling
        x = _double(image, cast(nn.ConvTranspose2d, up1))
        if fine:
            x = x + fine[1].index_select(0, image_index)
        x = F.gelu(cast(LayerNorm2d, norm).channels_last(x))  # [N, L, 2, 2, first]
        x = _double(x, cast(nn.ConvTranspose2d, up2))  # [N, L, 2, 2, 2, 2, second]
        if fine and maps is not None:
            x = x + fine[0].index_select(0, image_index) + _split(self.fine_maps(maps), 2)
        x = F.gelu(x)
        logits = torch.bmm(x.flatten(1, -2), hyper.transpose(1, 2))  # [N, L * 16, M]
        return logits.view(*x.shape[:-1], -1)


def _double(x: Tensor, conv: nn.ConvTranspose2d) -> Tensor:
    """A 2 × 2 transposed convolution of stride 2 over channels-last features: [..., C] to [..., 2, 2, D]."""
    weight = conv.weight.permute(0, 2, 3, 1)  # [C, 2, 2, D]
    assert conv.bias is not None
    out = F.linear(x, weight.flatten(1).t(), conv.bias.repeat(4))
    return out.view(*x.shape[:-1], 2, 2, -1)


def _split(x: Tensor, times: int) -> Tensor:
    """[B, C, 2^t H, 2^t W] as the nested pixels of ``_double``: [B, H * W, (2, 2) * t, C]."""
    batch, channels, height, width = x.shape
    if times == 1:
        x = x.view(batch, channels, height // 2, 2, width // 2, 2)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(1, 2)
    x = x.view(batch, channels, height // 4, 2, 2, width // 4, 2, 2)
    return x.permute(0, 2, 5, 3, 6, 4, 7, 1).flatten(1, 2)


class TwoWayTransformer(nn.Module):
    """Two layers of attention both ways, then once more from the tokens to the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, first=i == 0) for i in range(2))
        self.final_attn_token_to_image = TokenAttention(config, downsample=2)
        self.norm_final_attn = nn.LayerNorm(config.decoder_width, eps=1e-6)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        positions: Tensor,
        *,
        absent: Tensor | None,
        side: ImageSide | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens [N, T, C] and image [N or 1, L, C] to both, updated, [N, …]."""
        token_positions = tokens
        for layer in self.layers:
            tokens, image = layer(
                tokens, image, token_positions, positions, absent=absent, side=side
            )
            side = None
        attended = self.final_attn_token_to_image.from_image(
            tokens + token_positions, image + positions, image
        )
        return self.norm_final_attn(tokens + attended), image


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP on tokens, image to tokens."""

    def __init__(self, config: ModelConfig, *, first: bool) -> None:
        super().__init__()
        width = config.decoder_width
        self.first = first
        self.self_attn = TokenAttention(config, downsample=1)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.cross_attn_token_to_image = TokenAttention(config, downsample=2)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, config.decoder_mlp_width, activation=nn.ReLU)
        self.norm3 = nn.LayerNorm(width, eps=1e-6)
        self.norm4 = nn.LayerNorm(width, eps=1e-6)
        self.cross_attn_image_to_token = TokenAttention(config, downsample=2)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        token_positions: Tensor,
        positions: Tensor,
        *,
        absent: Tensor | None,
        side: ImageSide | None,
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, absent=absent)
        else:
            q = tokens + token_positions
            tokens = tokens + self.self_attn(q, q, tokens, absent=absent)
        tokens = self.norm1(tokens)

        reading, writing = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        image_q = image + positions if side is None else side.image_q
        q = tokens + token_positions
        if side is None:
            attended = reading.from_image(q, image_q, image)
        else:
            attended = reading.from_projected(q, side.keys, side.values)
        tokens = self.norm2(tokens + attended)
        tokens = self.norm3(tokens + self.mlp(tokens))

        projected = None if side is None else side.queries
        k = tokens + token_positions
        image = writing.add_to_image(image, image_q, k, tokens, absent=absent, projected=projected)
        return tokens, self.norm4(image)


class TokenAttention(nn.Module):
    """Multi-head attention with an inner width, in three forms of the same weights.

    ``forward`` is the plain form, among tokens. ``from_image`` and ``to_image`` fold the projections
    of the image side into the token side; the results differ from the plain form by rounding alone.
    """

    def __init__(self, config: ModelConfig, *, downsample: int) -> None:
        super().__init__()
        width = config.decoder_width
        self.heads = config.decoder_heads
        self.inner = width // downsample
        self.q_proj = nn.Linear(width, self.inner)
        self.k_proj = nn.Linear(width, self.inner)
        self.v_proj = nn.Linear(width, self.inner)
        self.out_proj = nn.Linear(self.inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, absent: Tensor | None = None) -> Tensor:
        """q [N, T, C], k and v [N, S, C], absent [N, S] keys to ignore; returns [N, T, C]."""
        split = (self.heads, self.inner // self.heads)
        q = self.q_proj(q).unflatten(-1, split).transpose(1, 2)
        k = self.k_proj(k).unflatten(-1, split).transpose(1, 2)
        v = self.v_proj(v).unflatten(-1, split).transpose(1, 2)
        mask = None if absent is None else ~absent[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def from_image(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Tokens [N, T, C] attend to the image, keys and values [N or 1, L, C]; returns [N, T, C]."""
        count, length, _ = tokens.shape
        if length * self.heads >= self.inner and keys.shape[0] == count:
            return self.forward(tokens, keys, values)
        # The key projection's bias adds the same to every key of a query: the softmax drops it.
        q = self.q_proj(tokens) * (self.inner // self.heads) ** -0.5
        folded = self._fold(q, self.k_proj.weight)  # [N, heads * T, C]
        weights = _shared_matmul(folded, keys.transpose(1, 2)).softmax(dim=-1)  # [N, heads * T, L]
        mixed = _shared_matmul(weights, values)  # [N, heads * T, C]
        mixed = mixed.view(count, self.heads, length, -1)
        w_v = self.v_proj.weight.view(self.heads, -1, self.v_proj.in_features)
        out = torch.einsum("nhtc,hdc->nthd", mixed, w_v).flatten(2) + self.v_proj.bias
        return self.out_proj(out)  # type: ignore[no-any-return]

    def from_projected(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Tokens [N, T, C] attend to keys [heads, C', L] and values [heads, L, C'] that all share."""
        q = self._by_head(self.q_proj(tokens) * (self.inner // self.heads) ** -0.5)
        out = torch.bmm(torch.bmm(q, keys).softmax(dim=-1), values)  # [heads, N * T, C']
        out = out.view(self.heads, *tokens.shape[:2], -1).permute(1, 2, 0, 3)
        return self.out_proj(out.flatten(2))  # type: ignore[no-any-return]

    def add_to_image(
        self,
        image: Tensor,
        image_q: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        absent: Tensor | None,
        projected: Tensor | None = None,
    ) -> Tensor:
        """The image attends to tokens, and what it finds is added to it.

        Args:
            image: [N or 1, L, C]; image_q: the same with positions, from which queries are made.
            keys, values: [N, T, C].
            absent: [N, T] tokens to ignore.
            projected: the queries [heads, C', L], where they are at hand.

        Returns:
            [N, L, C].
        """
        count, length, _ = keys.shape
        if length * self.heads >= self.inner and image.shape[0] == count:
            return image + self.forward(image_q, keys, values, absent=absent)
        k = self.k_proj(keys) * (self.inner // self.heads) ** -0.5
        if projected is not None:
            scores = torch.bmm(self._by_head(k), projected)  # [heads, N * T, L]
            scores = scores.view(self.heads, count, length, -1).transpose(0, 1)
        else:
            folded = self._fold(k, self.q_proj.weight)  # [N, heads * T, C]
            k = k.view(count, length, self.heads, -1)
            constant = torch.einsum("nthd,hd->nht", k, self.q_proj.bias.view(self.heads, -1))
            scores = _shared_matmul(folded, image_q.transpose(1, 2))  # [N, heads * T, L]
            scores = scores.view(count, self.heads, length, -1) + constant.unsqueeze(-1)
        if absent is not None:
            scores = scores.masked_fill(absent[:, None, :, None], float("-inf"))
        # Tokens are not the last dimension, so that the softmax runs along L in long vectors.
        weights = scores.softmax(dim=2).flatten(1, 2)  # [N, heads * T, L]
        w_out = self.out_proj.weight.view(-1, self.heads, self.inner // self.heads)
        v = self.v_proj(values).view(count, length, self.heads, -1)
        v = torch.einsum("nthd,chd->nhtc", v, w_out).flatten(1, 2)  # [N, heads * T, C]
        # Weights sum to one in every head, so the bias may ride on the values, and the product may be
        # accumulated onto the image itself.
        v = v + (self.out_proj.bias / self.heads).to(v.dtype)
        return torch.baddbmm(image.to(v.dtype), weights.transpose(1, 2), v)

    def _by_head(self, x: Tensor) -> Tensor:
        """[N, T, inner] to [heads, N * T, C']."""
        x = x.view(-1, self.heads, self.inner // self.heads)
        return x.transpose(0, 1).contiguous()

    def _fold(self, x: Tensor, weight: Tensor) -> Tensor:
        """Token side [N, T, inner] through the other side's projection [inner, C]: [N, heads * T, C]."""
        x = x.view(*x.shape[:2], self.heads, -1)
        weight = weight.view(self.heads, -1, weight.shape[-1])
        return torch.einsum("nthd,hdc->nhtc", x, weight).flatten(1, 2)


def _shared_matmul(a: Tensor, b: Tensor) -> Tensor:
    """[N, M, C] @ [N or 1, C, L] without copying a shared right-hand side N times."""
    if b.shape[0] == 1:
        return (a.flatten(0, 1) @ b[0]).view(a.shape[0], a.shape[1], -1)
    return torch.bmm(a, b)
