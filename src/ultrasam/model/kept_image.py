"""Prompts on one kept image, whose tokens are never written anew.

Prompts without a mask all start from the same image tokens. Each of the decoder's two layers adds to
an image token what it takes of the prompt's tokens, Pᵀ V with the weights P [heads * T, L] of a softmax,
and normalises, with weight g and bias b:

    x1 = s1 (z0 + P1ᵀ V1) g1 + b1               z0: the image's tokens, each less its mean
    x2 = s2 (z1 + [P1; P2 / s1]ᵀ U2) g2 + b2    z1: z0 g1, each less its mean

where U2 is what the rows multiply (constants ride on the values, since the weights of a head sum to one)
and s [L] is one over the deviation, from |z + Rᵀ U|² = |z|² + Σ R (2 U zᵀ + U Uᵀ R). (What x2 is made of
was divided by s1 as a whole; the norm takes that out again.) So every product with x1 or x2 is one with z0
or z1, which is made once per image, and one with the 56 or 112 rows that a click's 7 tokens make: nothing
of the image's size is written, normalised or projected per prompt. Other forms differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ultrasam.model.two_way import TokenAttention, TwoWayBlock, TwoWayTransformer, by_head


@dataclass(frozen=True, slots=True)
class AfterFirst:
    """Products of z0, the image before the first norm: with what goes through that norm's weight, and
    with the values that were added.

    Attributes:
        square: |z0|² of each token, [L].
        added: with the output projection of the first layer's image-to-token attention, [heads, C', L].
        keys, values, queries: with the second layer's projections, [heads, C', L], [heads, L, C'] and
            [heads, C', L].
        key_positions, query_positions: of the tokens' positions (and constants), [heads, C', L].
    """

    square: Tensor
    added: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor
    key_positions: Tensor
    query_positions: Tensor


@dataclass(frozen=True, slots=True)
class AfterSecond:
    """The same of z1, before the second norm.

    Attributes:
        square: [L].
        added: with the output projections of both layers, [2 * heads, C', L].
        constant: with what is added to every token, [L].
        keys, values, key_positions: with the last attention's projections.
        doubled: with the first transposed convolution, [L, 4 * channels].
    """

    square: Tensor
    added: Tensor
    constant: Tensor
    keys: Tensor
    values: Tensor
    key_positions: Tensor
    doubled: Tensor


@dataclass(frozen=True, slots=True)
class Shaped:
    """Weights in the shape that prompts want.

    Attributes:
        out_first, out_second: output projections of both layers' image-to-token attention, less what they
            add to all channels alike, [C, inner].
        constant: what the second layer adds to every token of every image, less its mean, [C].
        doubling: the first transposed convolution as a linear map, [4 * channels, C].
    """

    out_first: Tensor
    out_second: Tensor
    constant: Tensor
    doubling: Tensor


@dataclass(frozen=True, slots=True)
class ImageSide:
    """What the decoder makes of one image without a mask prompt, whatever the prompt.

    Attributes:
        positions: of the tokens, [L, C].
        keys, values, queries: the first layer's projections, [heads, C', L], [heads, L, C'] and
            [heads, C', L].
        first, second: what goes through the norms after both layers.
        weights: of the decoder.
    """

    positions: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor
    first: AfterFirst
    second: AfterSecond
    weights: Shaped


@dataclass(frozen=True, slots=True)
class Normed:
    """The image's tokens for N prompts after a norm, less its bias: s (z + rowsᵀ columns).

    Attributes:
        inverse: s, one over the deviation, [N, 1, L].
        rows: [N, R, L].
        columns: [N, R, C], the norm's weight multiplied in.
    """

    inverse: Tensor
    rows: Tensor
    columns: Tensor

    def scores(self, queries: Tensor, base: Tensor, weight: Tensor, added: Tensor) -> Tensor:
        """Products [N, heads * T, L] of queries [N, heads, T, C'] with the tokens through a projection.

        Args:
            base: z through the projection, [heads, C', L].
            added: to the projected tokens, of the image alone, [heads, C', L].
            weight: of the projection, [inner, C].
        """
        plain = _shared_scores(queries, added)
        columns = by_head(self.columns @ weight.t(), queries.shape[1])  # [N, heads, R, C']
        folded = (queries @ columns.mT).flatten(1, 2)  # [N, heads * T, R]
        own = _shared_scores(queries, base).baddbmm_(folded, self.rows)
        return plain.addcmul_(own, self.inverse)

    def read(self, weights: Tensor, base: Tensor, weight: Tensor) -> Tensor:
        """What weights [N, heads * T, L] take of the tokens through a projection, [N, heads, T, C'].

        Args:
            weights: overwritten.
            base: z through the projection, [heads, L, C'].
            weight: of the projection, [inner, C].
        """
        heads = base.shape[0]
        weights.mul_(self.inverse)
        columns = by_head(self.columns @ weight.t(), heads)
        through = (weights @ self.rows.mT).view(len(weights), heads, -1, columns.shape[2]) @ columns
        return _shared_read(weights, base) + through

    def linear(self, base: Tensor, weight: Tensor, bias: Tensor, length: int) -> Iterator[Tensor]:
        """The tokens through a linear map, ``length`` at a time, [N, l, D].

        Args:
            base: z through the map, [L, D].
            weight: of the map, [D, C].
            bias: of the map, and what it makes of the norm's bias, [D].
        """
        columns = self.columns @ weight.t()
        share = self.inverse.mT  # [N, L, 1]
        for start in range(0, len(base), length):
            places = slice(start, start + length)
            rows = self.rows[..., places] * self.inverse[..., places]
            own = torch.addcmul(bias, base[places], share[:, places])
            yield own.baddbmm_(rows.mT, columns)


def keep_image(
    transformer: TwoWayTransformer, image: Tensor, positions: Tensor, doubling: Tensor
) -> ImageSide:
    """What all prompts on an image share.

    Args:
        image: its tokens, the no-mask embedding added, [L, C].
        positions: of the tokens, [L, C].
        doubling: the first transposed convolution as a linear map, [4 * channels, C].
    """
    one, two = (cast(TwoWayBlock, layer) for layer in transformer.layers)
    heads = one.self_attn.heads
    reading, writing = one.cross_attn_token_to_image, one.cross_attn_image_to_token

    def down(x: Tensor) -> Tensor:  # [L, inner] to [heads, C', L]
        return x.view(len(x), heads, -1).permute(1, 2, 0).contiguous()

    def across(x: Tensor) -> Tensor:  # [L, inner] to [heads, L, C']
        return x.view(len(x), heads, -1).transpose(0, 1).contiguous()

    # The weights of every head sum to one: a bias of the output projection is the image's own.
    z = _centred(image + writing.out_proj.bias)
    through = z * one.norm4.weight
    reading2, writing2 = two.cross_attn_token_to_image, two.cross_attn_image_to_token
    weights = Shaped(
        out_first=_centred_out(writing),
        out_second=_centred_out(writing2),
        constant=_centred(one.norm4.bias + writing2.out_proj.bias),
        doubling=doubling,
    )
    first = AfterFirst(
        square=z.square().sum(-1),
        added=down(z @ weights.out_first),
        keys=down(through @ reading2.k_proj.weight.t()),
        values=across(through @ reading2.v_proj.weight.t()),
        queries=down(through @ writing2.q_proj.weight.t()),
        key_positions=down(positions @ reading2.k_proj.weight.t()),
        query_positions=down(writing2.q_proj(positions + one.norm4.bias)),
    )
    z = _centred(through)
    through = z * two.norm4.weight
    last = transformer.final_attn_token_to_image
    second = AfterSecond(
        square=z.square().sum(-1),
        added=torch.cat(
            [down((z * one.norm4.weight) @ weights.out_first), down(z @ weights.out_second)]
        ),
        constant=z @ weights.constant,
        keys=down(through @ last.k_proj.weight.t()),
        values=across(through @ last.v_proj.weight.t()),
        key_positions=down(positions @ last.k_proj.weight.t()),
        doubled=through @ doubling.t(),
    )
    return ImageSide(
        positions=positions,
        keys=down(reading.k_proj(image + positions)),
        values=across(reading.v_proj(image)),
        queries=down(writing.q_proj(image + positions)),
        first=first,
        second=second,
        weights=weights,
    )


def attend_to_kept(
    transformer: TwoWayTransformer,
    side: ImageSide,
    tokens: Tensor,
    *,
    absent: Tensor | None,
    outputs: Sequence[int],
) -> tuple[Tensor, Normed]:
    """What ``TwoWayTransformer.forward`` does, of an image that was kept.

    Args:
        tokens: [N, T, C].
        absent: [N, T] tokens to ignore.
        outputs: which tokens to return.

    Returns:
        Tokens [N, outputs, C], and the image after the second layer's norm.
    """
    one, two = (cast(TwoWayBlock, layer) for layer in transformer.layers)
    places = tokens

    tokens = one.among_tokens(tokens, places, absent=absent)
    reading, writing = one.cross_attn_token_to_image, one.cross_attn_image_to_token
    scores = _shared_scores(reading.scaled(reading.q_proj(tokens + places)), side.keys)
    found = _shared_read(torch.softmax(scores, dim=-1, out=scores), side.values)
    tokens = one.after_reading(tokens, reading.joined(found))

    scores = _shared_scores(writing.scaled(writing.k_proj(tokens + places)), side.queries)
    # Rows of both layers share a place from the start, so that none is copied to join them.
    rows = scores.new_empty(len(scores), 2 * scores.shape[1], scores.shape[2])
    rows1, rows2 = rows.chunk(2, dim=1)
    writing.over_tokens(scores, absent, out=rows1)
    added = by_head(writing.v_proj(tokens), writing.heads)
    columns = writing.outgoing(added, side.weights.out_first)
    image = _normed(side.first.square, rows1, columns, added, side.first.added, one, one.norm4.eps)

    tokens = two.among_tokens(tokens, places, absent=absent)
    reading, writing = two.cross_attn_token_to_image, two.cross_attn_image_to_token
    found = _read_normed(
        reading, image, tokens + places, side.first.keys, side.first.key_positions,
        side.first.values,
    )  # fmt: skip
    tokens = two.after_reading(tokens, reading.joined(found, reading.v_proj(one.norm4.bias)))

    k = writing.scaled(writing.k_proj(tokens + places))
    scores = image.scores(k, side.first.queries, writing.q_proj.weight, side.first.query_positions)
    writing.over_tokens(scores, absent, out=rows2)
    added2 = by_head(writing.v_proj(tokens), writing.heads)
    columns2 = writing.outgoing(added2, side.weights.out_second)
    columns2 = columns2 + side.weights.constant / writing.heads
    columns = torch.cat([_centred(image.columns), columns2], dim=1)
    deviation = image.inverse.reciprocal()
    own = torch.addcmul(side.second.square, side.second.constant, deviation, value=2)
    rows2.mul_(deviation)
    eps = two.norm4.eps * deviation.square()
    added = torch.cat([added, added2], dim=1)
    image = _normed(own, rows, columns, added, side.second.added, two, eps)

    tokens, places = tokens[:, outputs], places[:, outputs]
    last = transformer.final_attn_token_to_image
    found = _read_normed(
        last, image, tokens + places, side.second.keys, side.second.key_positions,
        side.second.values,
    )  # fmt: skip
    found = last.joined(found, last.v_proj(two.norm4.bias))
    return transformer.norm_final_attn(tokens + found), image


def _read_normed(
    attention: TokenAttention,
    image: Normed,
    tokens: Tensor,
    keys: Tensor,
    key_positions: Tensor,
    values: Tensor,
) -> Tensor:
    """What tokens [N, T, C] with positions find in the image, [N, heads, T, C'], less its constant.

    What the keys have in common, the softmax drops.
    """
    q = attention.scaled(attention.q_proj(tokens))
    scores = image.scores(q, keys, attention.k_proj.weight, key_positions)
    weights = torch.softmax(scores, dim=-1, out=scores)
    return image.read(weights, values, attention.v_proj.weight)


def _normed(
    own: Tensor,
    rows: Tensor,
    columns: Tensor,
    values: Tensor,
    base: Tensor,
    layer: TwoWayBlock,
    eps: Tensor | float,
) -> Normed:
    """The norm that ends a layer, over z + rowsᵀ columns.

    Args:
        own: what z adds to the square, [L] or [N, 1, L].
        values: what columns are made of, [N, R / T, T, C'].
        base: z through that which makes columns of them, [R / T, C', L].
        eps: what the norm adds to the variance, [N, 1, L].
    """
    # In place: memory that is not in a CPU's cache costs more than what is done with it.
    products = _shared_scores(2 * values, base).baddbmm_(columns @ columns.mT, rows).mul_(rows)
    total = products.sum(dim=1, keepdim=True).add_(own)
    variance = total.clamp_min_(0) / columns.shape[-1]
    return Normed(torch.rsqrt(variance + eps), rows, columns * layer.norm4.weight)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def _centred_out(attention: TokenAttention) -> Tensor:
    """The output projection as [C, inner], without what it adds to all channels alike."""
    weight: Tensor = attention.out_proj.weight
    centred: Tensor = weight - weight.mean(dim=0, keepdim=True)
    return centred


def _shared_scores(queries: Tensor, base: Tensor) -> Tensor:
    """Queries [N, heads, T, C'] of N prompts times base [heads, C', L]: [N, heads * T, L]."""
    count, heads, length, _ = queries.shape
    out = torch.bmm(queries.transpose(0, 1).flatten(1, 2), base)  # [heads, N * T, L]
    return out.view(heads, count, length, -1).transpose(0, 1).reshape(count, heads * length, -1)


def _shared_read(weights: Tensor, base: Tensor) -> Tensor:
    """Weights [N, heads * T, L] of N prompts times base [heads, L, C']: [N, heads, T, C']."""
    heads, count = base.shape[0], weights.shape[0]
    rows = weights.view(count, heads, -1, base.shape[1]).transpose(0, 1).flatten(1, 2)
    return torch.bmm(rows, base).view(heads, count, -1, base.shape[2]).transpose(0, 1)
