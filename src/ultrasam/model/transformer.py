"""The mask decoder's two-way transformer over prompt tokens and the image (SAM, appendix A)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import MLPBlock, PlainAttentionFunction, plain_attention


class TwoWayTransformer(nn.Module):
    """Two two-way layers, then one more attention from tokens to image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(config, skip_first_layer_pe=i == 0) for i in range(2)
        )
        self.final_attn_token_to_image = Attention(config, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(config.decoder_width, eps=1e-6)

    def forward(
        self, tokens: Tensor, image: Tensor, image_pe: Tensor, unused: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens [N, T, C] and image tokens [N, L, C].

        Args:
            image_pe: [L, C], positional encoding of the image tokens.
            unused: [N, T] bool, tokens to mask out of attention.
        """
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, image_pe, unused)
        attended = self.final_attn_token_to_image(queries + tokens, keys + image_pe, keys)
        return self.norm_final_attn(queries + attended), keys


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of tokens, attention to the image, MLP on tokens, and attention of the image to
    tokens."""

    def __init__(self, config: ModelConfig, *, skip_first_layer_pe: bool) -> None:
        super().__init__()
        width = config.decoder_width
        self.self_attn = Attention(config, downsample_rate=1)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.cross_attn_token_to_image = Attention(config, downsample_rate=2)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, config.decoder_mlp_width, activation=nn.ReLU)
        self.norm3 = nn.LayerNorm(width, eps=1e-6)
        self.norm4 = nn.LayerNorm(width, eps=1e-6)
        self.cross_attn_image_to_token = Attention(config, downsample_rate=2)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor, unused: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update tokens [N, T, C] and image tokens [N, L, C], given their positional encodings."""
        queries = self.attend_to_tokens(queries, query_pe, unused)
        keys_with_pe = keys + key_pe
        attended = self.cross_attn_token_to_image(queries + query_pe, keys_with_pe, keys)
        queries = self.update_tokens(queries, attended)
        attended = self.cross_attn_image_to_token(keys_with_pe, queries + query_pe, queries, unused)
        return queries, self.norm4(keys + attended)

    def attend_to_tokens(self, queries: Tensor, query_pe: Tensor, unused: Tensor) -> Tensor:
        """Tokens [N, T, C] after self-attention and its norm."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries, unused)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries, unused)
        return cast(Tensor, self.norm1(queries))

    def update_tokens(self, queries: Tensor, attended: Tensor) -> Tensor:
        """Tokens [N, T, C] after adding the attention to the image, the MLP and both norms."""
        queries = self.norm2(queries + attended)
        return cast(Tensor, self.norm3(queries + self.mlp(queries)))


class Attention(nn.Module):
    """Multi-head attention with an inner width of the embedding's divided by ``downsample_rate``.

    ``plain_function`` computes it; `ultrasam.runtimes` has an equivalent that trains faster on a CPU.
    """

    def __init__(self, config: ModelConfig, *, downsample_rate: int) -> None:
        super().__init__()
        width = config.decoder_width
        inner = width // downsample_rate
        self.num_heads = config.decoder_heads
        self.scale = (inner // self.num_heads) ** -0.5
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)
        self.plain_function: PlainAttentionFunction = plain_attention

    def forward(self, q: Tensor, k: Tensor, v: Tensor, unused: Tensor | None = None) -> Tensor:
        """q [N, T, C], k and v [N, S, C], unused [N, S] keys to ignore; returns [N, T, C]."""
        q, k, v = (self.separate_heads(x) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        used = None if unused is None else ~unused[:, None, None, :]
        out = self.plain_function(q, k, v, used)
        return cast(Tensor, self.out_proj(out.transpose(1, 2).flatten(2)))

    def separate_heads(self, x: Tensor) -> Tensor:
        """[N, T, inner] to [N, heads, T, inner / heads]."""
        by_head: Tensor = x.unflatten(2, (self.num_heads, -1))
        return by_head.transpose(1, 2)
