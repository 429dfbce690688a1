"""Clicks and boxes on one image on a CPU: a form of the mask decoder that never writes the image's tokens,
equal to the plain form to rounding. `benchmarks/decoder.py` measures what it gains.

Prompts without a mask start from the same image tokens X [L, C]. Each of the two layers adds to them what
they take of the prompt's few tokens, Pᵀ V with the weights P [heads * T, L] of a softmax, and normalizes. So
after a layer

    X = s (Z + Rᵀ U) g + b

with Z [L, C] of the image alone (each token less its mean), the prompt's rows R [R, L] and columns U [R, C]
(each less its mean), the norm's weight g and bias b, and s [L] one over the deviation, from

    |Z + Rᵀ U|² = |Z|² + Σ R (2 U Zᵀ + U Uᵀ R).

The next layer divides by s, which its own norm takes out again:

    Z' = Z g,   R' = [R; P / s],   U' = [U g; V + (b + c) / heads]

where b and the constant c of the output projection ride on V, since the weights of every head sum to one.
What is projected of Z is made once per image; what is projected of U is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.model.layers import LayerNorm2d
from ultrasam.model.mask_decoder import MaskDecoder
from ultrasam.model.transformer import Attention, TwoWayAttentionBlock
from ultrasam.model.ultrasam import UltraSam

# Image tokens of all prompts in a part of the up-scaling: as many finished pixels, 512 × 16 × 32 in fp32, are
# 1 MB.
_TOKENS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Projected:
    """What a projection makes of the image by head: of Z g, which a prompt scales by its s, [heads, C', L],
    and of b and the positions, which it does not, the same or (without positions) [heads, C', 1]."""

    scaled: Tensor
    fixed: Tensor


@dataclass(frozen=True, slots=True)
class Stage:
    """The image's tokens before, between and after the two layers, as far as prompts share them.

    Attributes:
        bias: b, [C].
        weight: g, [C].
        square: |Z|², and what constant columns add to the norm, [L].
        constant: half of what constant columns that were divided by s add to it, [L].
        added: what each layer's output projection makes of Z, by head, [heads, C', L] each: U Zᵀ is V times
            these.
        keys, values: as the attention from tokens to the image projects them.
        queries: as the attention from the image to tokens does; None after the last layer.
    """

    bias: Tensor
    weight: Tensor
    square: Tensor
    constant: Tensor
    added: tuple[Tensor, ...]
    keys: Projected
    values: Projected
    queries: Projected | None


@dataclass(frozen=True, slots=True)
class SharedImage:
    """What `prepare` makes of one image.

    Attributes:
        stages: before, between and after the layers.
        upscaled: Z g after the last layer through the first transposed convolution, [L, 4 * first].
        mark: of the weights that it was made with; see `weights_checksum`.
    """

    stages: tuple[Stage, ...]
    upscaled: Tensor
    mark: Tensor


@dataclass(frozen=True, slots=True)
class Update:
    """What N prompts made of the image: s [N, 1, L], R [N, R, L], U g [N, R, C], and the values V by head
    that U was made of, [N, heads, T, C'] of each layer."""

    s: Tensor
    rows: Tensor
    columns: Tensor
    values: tuple[Tensor, ...]


def supports(decoder: MaskDecoder) -> bool:
    """Whether a decoder can be had in this form: without high-resolution features, in single or double
    precision, and of plain linear layers, since low-rank updates of them would be passed by."""
    plain = all(
        type(layer) is nn.Linear
        for module in decoder.transformer.modules()
        if isinstance(module, Attention)
        for layer in module.children()
    )
    exact = decoder.iou_token.weight.dtype in (torch.float32, torch.float64)
    return plain and exact and not decoder.high_res_features


def weights_checksum(model: UltraSam) -> Tensor:
    """A number for each weight that `prepare` reads, [weights]: its product with fixed random numbers, which
    changes however it is written. (PyTorch's version counters do not see writes to ``.data``.)"""
    transformer = model.mask_decoder.transformer
    one, two = cast(Sequence[TwoWayAttentionBlock], transformer.layers)
    reads = (
        one.cross_attn_token_to_image,
        two.cross_attn_token_to_image,
        transformer.final_attn_token_to_image,
    )
    writes = (one.cross_attn_image_to_token, two.cross_attn_image_to_token)
    modules = [
        *(layer for attention in reads for layer in (attention.k_proj, attention.v_proj)),
        *(layer for attention in writes for layer in (attention.q_proj, attention.out_proj)),
        one.norm4, two.norm4, model.mask_decoder.output_upscaling[0], model.prompt_encoder.no_mask_embed,
    ]  # fmt: skip
    weights = [p.detach().flatten() for module in modules for p in module.parameters()]
    weights.append(model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.flatten())
    probe = _probe(max(len(weight) for weight in weights)).to(weights[0].dtype)
    return torch.stack([weight @ probe[: len(weight)].to(weight.dtype) for weight in weights])


@lru_cache(maxsize=2)
def _probe(length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(0))


def prepare(model: UltraSam, embedding: Tensor) -> SharedImage:
    """What all prompts without a mask share of one image's embedding [1, C, H, W]."""
    decoder, transformer = model.mask_decoder, model.mask_decoder.transformer
    image = embedding[0].flatten(1).t() + model.prompt_encoder.no_mask_embed.weight  # [L, C]
    pe = model.prompt_encoder.get_dense_pe()
    one, two = cast(Sequence[TwoWayAttentionBlock], transformer.layers)
    reads = (
        one.cross_attn_token_to_image,
        two.cross_attn_token_to_image,
        transformer.final_attn_token_to_image,
    )
    x, weight, bias = image, torch.ones_like(image[0]), torch.zeros_like(image[0])
    square = constant = torch.zeros_like(image[:, 0])
    outputs: tuple[Tensor, ...] = ()  # of each layer so far, by head, [heads, C', C]
    columns = torch.zeros_like(bias)  # constant columns of the layers so far, all but the last's
    added: tuple[Tensor, ...] = ()
    stages = []
    for layer, read in zip((one, two, None), reads, strict=True):
        queries = None
        if layer is not None:
            write = layer.cross_attn_image_to_token
            queries = _project(write, write.q_proj, x, pe + bias)
        keys = _project(read, read.k_proj, x, pe + bias)
        values = _project(read, read.v_proj, x, bias[None])
        stages.append(Stage(bias, weight, square, constant, added, keys, values, queries))
        if layer is not None:
            # Columns lose their mean before the norm's weight reaches them, so what makes them does, too.
            z = _centered(x)
            outputs = (*(o * weight for o in outputs), _centered(_output(write)))
            own = _centered(bias + write.out_proj.bias)
            if len(outputs) == 1:  # nothing has been divided by s yet
                columns, own = own, torch.zeros_like(own)
            else:
                columns = columns * weight
            square = z.square().sum(-1) + 2 * z @ columns
            constant = z @ own
            added = tuple(o @ z.t() for o in outputs)
            weight, bias = layer.norm4.weight, layer.norm4.bias
            x = z * weight
    return SharedImage(tuple(stages), x @ _linear_map(decoder, 0)[0].t(), weights_checksum(model))


def decode(
    decoder: MaskDecoder, shared: SharedImage, tokens: Tensor, unused: Tensor, *, masks: int
) -> tuple[Tensor, Tensor]:
    """`MaskDecoder.forward` after ``all_tokens``, on a prepared image.

    Args:
        tokens: [N, T, C]; unused: [N, T] bool.
        masks: how many of the four.

    Returns:
        Low-res logits [N, masks, 4 H, 4 W] and predicted IoU [N, masks].
    """
    transformer, queries = decoder.transformer, tokens
    layers = cast(Sequence[TwoWayAttentionBlock], transformer.layers)
    update: Update | None = None
    for layer, stage, after in zip(layers, shared.stages, shared.stages[1:], strict=False):
        queries = layer.attend_to_tokens(queries, tokens, unused)
        found = _read(layer.cross_attn_token_to_image, queries + tokens, stage, update)
        queries = layer.update_tokens(queries, found)
        update = _write(layer, queries + tokens, queries, unused, stage, after, update)
    assert update is not None
    stage = shared.stages[-1]
    found = _read(transformer.final_attn_token_to_image, queries + tokens, stage, update)
    queries = transformer.norm_final_attn(queries + found)
    mlps = list(decoder.output_hypernetworks_mlps)[:masks]
    hyper_in = torch.stack([mlp(queries[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)
    logits = _upscale(decoder, shared.upscaled, stage.bias, update, hyper_in)
    return logits, decoder.iou_prediction_head(queries[:, 0])[:, :masks]


def _read(attention: Attention, tokens: Tensor, stage: Stage, update: Update | None) -> Tensor:
    """What tokens [N, T, C] find in the image, [N, T, C]."""
    q = attention.separate_heads(attention.q_proj(tokens)) * attention.scale
    scores = _scores(q, stage.keys, attention.k_proj, update)
    weights = torch.softmax(scores, dim=-1, out=scores)
    if update is not None:
        weights.mul_(update.s)
    found = _shared(weights, stage.values.scaled.mT)  # [N, heads, T, C']
    if update is not None:
        columns = attention.separate_heads(update.columns @ attention.v_proj.weight.t())
        by_row = (weights @ update.rows.mT).unflatten(1, (attention.num_heads, -1))
        found = found + by_row @ columns
    found = found + stage.values.fixed[:, None, :, 0]
    return cast(Tensor, attention.out_proj(found.transpose(1, 2).flatten(2)))


def _write(
    layer: TwoWayAttentionBlock,
    keys: Tensor,
    values: Tensor,
    unused: Tensor,
    stage: Stage,
    after: Stage,
    update: Update | None,
) -> Update:
    """The image attends to tokens [N, T, C], adds what it finds, and is normalized."""
    attention = layer.cross_attn_image_to_token
    heads = attention.num_heads
    k = attention.separate_heads(attention.k_proj(keys)) * attention.scale
    assert stage.queries is not None
    scores = _scores(k, stage.queries, attention.q_proj, update).unflatten(1, (heads, -1))
    scores.masked_fill_(unused[:, None, :, None], -torch.inf)
    # Tokens are not the last dimension, so that the softmax runs along L in long vectors.
    rows = torch.softmax(scores, dim=2, out=scores).flatten(1, 2)  # [N, heads * T, L]
    v = attention.separate_heads(attention.v_proj(values))
    columns = (v @ _output(attention)).flatten(1, 2)
    columns = _centered(columns + (stage.bias + attention.out_proj.bias) / heads)
    found = Update(rows, rows, columns, (v,))
    square, eps = after.square, torch.as_tensor(layer.norm4.eps)
    if update is not None:
        deviation = update.s.reciprocal()
        found = Update(
            rows,
            torch.cat([update.rows, rows.mul_(deviation)], dim=1),
            torch.cat([_centered(update.columns), columns], dim=1),
            (*update.values, v),
        )
        square = torch.addcmul(after.square, after.constant, deviation, value=2)
        eps = eps * deviation.square()
    with_z = [
        _shared(2 * v, base).flatten(1, 2)
        for v, base in zip(found.values, after.added, strict=True)
    ]
    products = with_z[0] if len(with_z) == 1 else torch.cat(with_z, dim=1)
    products.baddbmm_(found.columns @ found.columns.mT, found.rows).mul_(found.rows)
    total = products.sum(dim=1, keepdim=True).add_(square).clamp_(min=0)
    s = torch.rsqrt(total / columns.shape[-1] + eps)
    return replace(found, s=s, columns=found.columns * after.weight)


def _scores(q: Tensor, base: Projected, linear: nn.Linear, update: Update | None) -> Tensor:
    """Products of tokens by head [N, heads, T, C'] with the image through ``linear``, [N, heads * T, L]."""
    if update is None:
        return _shared(q, base.scaled).add_(_shared(q, base.fixed)).flatten(1, 2)
    columns = (update.columns @ linear.weight.t()).unflatten(2, (q.shape[1], -1)).transpose(1, 2)
    folded = (q @ columns.mT).flatten(1, 2)  # [N, heads * T, R]
    scaled = _shared(q, base.scaled).flatten(1, 2).baddbmm_(folded, update.rows)
    return _shared(q, base.fixed).flatten(1, 2).addcmul_(scaled, update.s)


def _upscale(
    decoder: MaskDecoder, upscaled: Tensor, bias: Tensor, update: Update, hyper_in: Tensor
) -> Tensor:
    """The up-scaling of the image, in parts that stay in cache, and its product with each mask's vector.

    A transposed convolution of kernel and stride 2 is a linear map of a pixel to four, so no token needs its
    neighbors: finished pixels are put in order once, at the end.
    """
    weight, offset = _linear_map(decoder, 0)
    offset = offset + weight @ bias
    map2, norm = _linear_map(decoder, 3), cast(LayerNorm2d, decoder.output_upscaling[1])
    columns = update.columns @ weight.t()  # [N, R, 4 * first]
    count, (side, length) = len(hyper_in), (round(len(upscaled) ** 0.5), _TOKENS_AT_ONCE)
    parts = []
    for start in range(0, len(upscaled), max(1, length // count)):
        part = slice(start, start + max(1, length // count))
        s = update.s[..., part]
        x = torch.addcmul(offset, upscaled[part], s.mT)  # [N, l, 4 * first]
        x = x.baddbmm_((update.rows[..., part] * s).mT, columns).unflatten(2, (4, -1))
        x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = F.gelu(F.linear(x, *map2)).unflatten(3, (4, -1))  # [N, l, 4, 4, second]
        parts.append(x.flatten(1, 3) @ hyper_in.mT)
    pixels = torch.cat(parts, dim=1).index_select(1, _pixel_order(side))  # [N, H * W * 16, M]
    return pixels.transpose(1, 2).reshape(count, -1, 4 * side, 4 * side)


@lru_cache(maxsize=2)
def _pixel_order(side: int) -> Tensor:
    """Where each pixel, row by row, is among the tokens' 2 × 2 pixels of 2 × 2: to move whole axes takes a
    CPU two to three times as long."""
    nested = torch.arange(16 * side**2).view(side, side, 2, 2, 2, 2)
    return nested.permute(0, 2, 4, 1, 3, 5).flatten()


def _linear_map(decoder: MaskDecoder, index: int) -> tuple[Tensor, Tensor]:
    """A transposed convolution of the up-scaling as the map of a pixel to its four, [2 * 2 * D, C] and [2 * 2
    * D]."""
    conv = cast(nn.ConvTranspose2d, decoder.output_upscaling[index])
    assert conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def _project(attention: Attention, linear: nn.Linear, x: Tensor, fixed: Tensor) -> Projected:
    """[L, C] both through a projection, whose bias goes with what is fixed."""
    return Projected(
        attention.separate_heads((x @ linear.weight.t())[None])[0].mT.contiguous(),
        attention.separate_heads(linear(fixed)[None])[0].mT.contiguous(),
    )


def _output(attention: Attention) -> Tensor:
    """The output projection by head, [heads, C', C]."""
    by_head: Tensor = attention.out_proj.weight.unflatten(1, (attention.num_heads, -1))
    return by_head.permute(1, 2, 0)


def _shared(a: Tensor, base: Tensor) -> Tensor:
    """[N, heads, T, D] or [N, heads * T, D] times [heads, D, E] of all prompts; [N, heads, T, E]."""
    heads, count = len(base), len(a)
    rows = a.view(count, heads, -1, a.shape[-1]).transpose(0, 1).flatten(1, 2)
    products: Tensor = torch.bmm(rows, base).unflatten(1, (count, -1))
    return products.transpose(0, 1)


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)
