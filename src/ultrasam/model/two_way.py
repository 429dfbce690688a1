"""The mask decoder's two-way transformer between prompt tokens and the image (SAM, appendix A).

The image side stays as tokens, [N, L, C], and attention between few tokens and many is computed with
the image-side projections folded into the token side: ``(q Wk) · x`` in place of ``q · (x Wk)``. With 7
tokens and 8 heads that is 56 columns in place of 128, exact. Image tokens come in parts along L, and
what one layer makes of a part is made when the next one reads it: what lies between them never leaves a
processor's cache. `kept_image` goes further, for prompts without a mask on an image that was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.layers import MLPBlock

Parts = tuple[Tensor, ...]


class TwoWayTransformer(nn.Module):
    """Two layers of attention both ways, then once more from the tokens to the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, first=i == 0) for i in range(2))
        self.final_attn_token_to_image = TokenAttention(config, downsample=2)
        self.norm_final_attn = nn.LayerNorm(config.decoder_width, eps=1e-6)

    def takes_few(self, tokens: Tensor) -> bool:
        """Whether folding projections of the image into tokens [N, T, C] makes them fewer columns."""
        return self.final_attn_token_to_image.are_few(tokens)

    def forward(
        self,
        tokens: Tensor,
        image: Parts,
        positions: Parts,
        *,
        absent: Tensor | None,
        outputs: Sequence[int],
    ) -> tuple[Tensor, Parts]:
        """Tokens [N, T, C] and parts of the image [N or 1, l, C], with their positions [l, C].

        Returns:
            The tokens that ``outputs`` counts, [N, outputs, C], and the parts [N, l, C], updated.
        """
        token_positions = tokens
        updated: Iterable[Tensor] = image
        for layer in self.layers:
            tokens, updated = layer(tokens, updated, token_positions, positions, absent=absent)
        # The last attention changes nothing but the tokens that attend: what is not read may stay.
        tokens, token_positions = tokens[:, outputs], token_positions[:, outputs]
        attended, image = self.final_attn_token_to_image.from_image(
            tokens + token_positions, updated, positions
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
        image: Iterable[Tensor],
        token_positions: Tensor,
        positions: Parts,
        *,
        absent: Tensor | None,
    ) -> tuple[Tensor, Iterator[Tensor]]:
        """Tokens, and the image's parts as they are asked for."""
        tokens = self.among_tokens(tokens, token_positions, absent=absent)
        attended, parts = self.cross_attn_token_to_image.from_image(
            tokens + token_positions, image, positions
        )
        tokens = self.after_reading(tokens, attended)
        updated = self.cross_attn_image_to_token.add_to_image(
            parts, positions, tokens + token_positions, tokens, absent=absent
        )
        return tokens, map(self.norm4, updated)

    def among_tokens(
        self, tokens: Tensor, token_positions: Tensor, *, absent: Tensor | None
    ) -> Tensor:
        """Tokens [N, T, C] after they attended to each other."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, absent=absent)
        else:
            q = tokens + token_positions
            tokens = tokens + self.self_attn(q, q, tokens, absent=absent)
        return self.norm1(tokens)  # type: ignore[no-any-return]

    def after_reading(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Tokens [N, T, C] with what they found in the image, through the MLP."""
        tokens = self.norm2(tokens + attended)
        return self.norm3(tokens + self.mlp(tokens))  # type: ignore[no-any-return]


class TokenAttention(nn.Module):
    """Multi-head attention with an inner width, in two forms of the same weights.

    ``forward`` is the plain form, among tokens. ``from_image`` and ``add_to_image`` fold the projections
    of the image side into the token side. The results differ from the plain form by rounding alone.
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
        return self._attend(self.q_proj(q), self.k_proj(k), self.v_proj(v), absent)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None = None) -> Tensor:
        q, k, v = (by_head(x, self.heads) for x in (q, k, v))
        mask = None if absent is None else ~absent[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.joined(out)

    def from_image(
        self, tokens: Tensor, image: Iterable[Tensor], positions: Parts
    ) -> tuple[Tensor, Parts]:
        """Tokens [N, T, C] attend to the image.

        Args:
            tokens: with positions.
            image: parts [N or 1, l, C]: the values, and with ``positions`` [l, C] the keys.

        Returns:
            What the tokens found, [N, T, C], and the parts.
        """
        count, length, _ = tokens.shape
        q, few = self.q_proj(tokens), self.are_few(tokens)
        # Few tokens: fold. (The key projection's bias adds the same to every key of a query: the softmax
        # drops it.)
        folded = self._fold(self.scaled(q), self.k_proj.weight) if few else None
        parts, keys = [], []
        for part, places in zip(image, positions, strict=True):
            parts.append(part)
            if folded is None:
                keys.append(self.k_proj(part + places))  # [N or 1, l, inner]
            else:
                keys.append(_shared_matmul(folded, (part + places).mT))  # [N, heads * T, l]
        if folded is None:
            v = torch.cat([self.v_proj(part) for part in parts], dim=1).expand(count, -1, -1)
            return self._attend(q, torch.cat(keys, dim=1).expand(count, -1, -1), v), tuple(parts)
        weights = torch.cat(keys, dim=-1).softmax(dim=-1)
        sizes = [part.shape[1] for part in parts]
        found = map(_shared_matmul, weights.split(sizes, dim=-1), parts)
        mixed = reduce(torch.add, found).view(count, self.heads, length, -1)
        w_v = self.v_proj.weight.view(self.heads, -1, self.v_proj.in_features)
        return self.joined(mixed @ w_v.mT, self.v_proj.bias), tuple(parts)

    def add_to_image(
        self,
        image: Parts,
        positions: Parts,
        keys: Tensor,
        values: Tensor,
        *,
        absent: Tensor | None,
    ) -> Iterator[Tensor]:
        """The image attends to tokens, and what it finds is added to it.

        Args:
            image: parts [N or 1, l, C]; with ``positions`` [l, C] the queries.
            keys, values: [N, T, C].
            absent: [N, T] tokens to ignore.

        Yields:
            Parts [N, l, C].
        """
        k, v = self.k_proj(keys), self.v_proj(values)
        count = len(k)
        if not self.are_few(keys):
            for part, places in zip(image, positions, strict=True):
                q = self.q_proj(part + places).expand(count, -1, -1)
                yield part + self._attend(q, k, v, absent)
            return
        k = self.scaled(k)
        folded = self._fold(k, self.q_proj.weight)  # [N, heads * T, C]
        constant = k @ self.q_proj.bias.view(self.heads, -1, 1)
        constant = constant.flatten(1, 2)  # [N, heads * T, 1]
        # Weights sum to one in every head, so the bias may ride on the values.
        v = self.outgoing(by_head(v, self.heads), self.out_proj.weight)
        v = v + (self.out_proj.bias / self.heads).to(v.dtype)
        for part, places in zip(image, positions, strict=True):
            scores = _shared_matmul(folded, (part + places).mT) + constant
            weights = self.over_tokens(scores, absent)
            yield torch.baddbmm(part.to(v.dtype), weights.mT, v)

    def are_few(self, tokens: Tensor) -> bool:
        """Whether tokens [N, T, C] make fewer columns than the projections that are folded into them."""
        return tokens.shape[1] * self.heads < self.inner

    def outgoing(self, values: Tensor, weight: Tensor) -> Tensor:
        """Values [N, heads, T, C'] through an output projection's weight [C, inner], [N, heads * T, C]."""
        by_channel = weight.view(len(weight), self.heads, -1).permute(1, 2, 0)  # [heads, C', C]
        return (values @ by_channel).flatten(1, 2)

    def scaled(self, x: Tensor) -> Tensor:
        """Projected tokens [N, T, inner] by head, scaled for a softmax, [N, heads, T, C']."""
        out: Tensor = by_head(x, self.heads) * (self.inner // self.heads) ** -0.5
        return out

    def joined(self, found: Tensor, constant: Tensor | float = 0.0) -> Tensor:
        """What heads found, [N, heads, T, C'], and a constant [inner], through the last projection."""
        return self.out_proj(found.transpose(1, 2).flatten(2) + constant)  # type: ignore[no-any-return]

    def over_tokens(
        self, scores: Tensor, absent: Tensor | None, out: Tensor | None = None
    ) -> Tensor:
        """Weights of tokens for every image token from scores [N, heads * T, L]; absent: [N, T].

        ``out`` takes them where it is given. Tokens are not the last dimension, so that the softmax runs
        along L in long vectors.
        """
        scores = scores.unflatten(1, (self.heads, -1))
        if absent is not None:
            scores = scores.masked_fill(absent[:, None, :, None], float("-inf"))
        if out is not None:
            out = out.unflatten(1, (self.heads, -1))
        return torch.softmax(scores, dim=2, out=out).flatten(1, 2)

    def _fold(self, x: Tensor, weight: Tensor) -> Tensor:
        """Token side [N, heads, T, C'] through the other side's projection [inner, C], [N, heads * T, C]."""
        return (x @ weight.view(self.heads, -1, weight.shape[-1])).flatten(1, 2)


def by_head(x: Tensor, heads: int) -> Tensor:
    """[N, T, inner] to [N, heads, T, C']."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _shared_matmul(a: Tensor, b: Tensor) -> Tensor:
    """[N, M, C] @ [N or 1, C, L] without copying a shared right-hand side N times."""
    if b.shape[0] == 1:
        return (a.flatten(0, 1) @ b[0]).view(a.shape[0], a.shape[1], -1)
    return torch.bmm(a, b)
