"""A faster mask decoder for clicks and boxes on one image on a CPU, equal to the plain one up to rounding.

It never materializes the image tokens of each prompt; for timings, see `benchmarks/decoder.py`. Prompts
without a mask start from the same image tokens X [L, C]. Each of the two layers adds Pᵀ V, where P [heads *
T, L] are attention weights to the prompt's few tokens and V their values, and normalizes. So after a layer

    X = s (Z + Rᵀ U) g + b

where Z [L, C] depends only on the image (each token minus its mean), R [R, L] and U [R, C] (each row minus
its mean) depend on the prompt, g and b are the norm's weight and bias, and s [L] is the inverse deviation,
from

    |Z + Rᵀ U|² = |Z|² + Σ R (2 U Zᵀ + U Uᵀ R).

The next layer is scaled by 1 / s, which its norm cancels:

    Z' = Z g,   R' = [R; P / s],   U' = [U g; V + (b + c) / heads]

where b and the bias c of the output projection are added to V, because the weights of each head sum to one.
Projections of Z are computed once per image; projections of U are small.
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

# Image tokens of all prompts per part of the upscaling; their output, 512 × 16 × 32 in fp32, takes 1 MB.
_TOKENS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Projected:
    """A projection of the image, by head.

    Attributes:
        scaled: of Z g, which a prompt scales by its s, [heads, C', L].
        fixed: of b and the positions, which is not scaled, [heads, C', L]; without positions, [heads, C', 1].
    """

    scaled: Tensor
    fixed: Tensor


@dataclass(frozen=True, slots=True)
class Stage:
    """The part of the image tokens that all prompts share, before, between or after the two layers.

    Attributes:
        bias: b, [C].
        weight: g, [C].
        square: |Z|² and the contribution of constant columns to the squared norm, [L].
        constant: half the contribution of constant columns that were divided by s, [L].
        added: the product of each layer's output projection with Z, by head, [heads, C', L] each; U Zᵀ is V
            times these.
        keys, values: projections for the attention from tokens to image.
        queries: projection for the attention from image to tokens; None after the last layer.
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
    """The precomputed parts of one image, from `prepare`.

    Attributes:
        stages: before, between and after the layers.
        upscaled: the first transposed convolution of Z g after the last layer, [L, 4 * first].
        checksum: of the weights that it was computed with; see `weights_checksum`.
    """

    stages: tuple[Stage, ...]
    upscaled: Tensor
    checksum: Tensor


@dataclass(frozen=True, slots=True)
class Update:
    """The prompt-dependent parts of the image tokens for N prompts.

    Attributes:
        s: [N, 1, L].
        rows: R, [N, R, L].
        columns: U g, [N, R, C].
        values: V of each layer, by head, [N, heads, T, C'].
    """

    s: Tensor
    rows: Tensor
    columns: Tensor
    values: tuple[Tensor, ...]


def supports(decoder: MaskDecoder) -> bool:
    """Whether a decoder can use this form: it must have no high-resolution features and no mask-quality
    head, be in single or double precision, and have plain linear layers (low-rank updates would be
    skipped)."""
    plain = all(
        type(layer) is nn.Linear
        for module in decoder.transformer.modules()
        if isinstance(module, Attention)
        for layer in module.children()
    )
    exact = decoder.iou_token.weight.dtype in (torch.float32, torch.float64)
    return plain and exact and not decoder.high_res_features and decoder.mask_quality is None


def weights_checksum(model: UltraSam) -> Tensor:
    """A checksum of each weight that `prepare` uses, [weights]: its product with fixed random numbers.

    It detects any change; PyTorch's version counters miss writes to ``.data``.
    """
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
    """Precompute what all prompts without a mask share, for one image embedding [1, C, H, W]."""
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
    outputs: tuple[
        Tensor, ...
    ] = ()  # output projection of each layer so far, by head, [heads, C', C]
    columns = torch.zeros_like(bias)  # constant columns of the previous layers
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
            # Columns are centered before the norm's weight is applied, and so are their factors.
            z = _centered(x)
            outputs = (*(o * weight for o in outputs), _centered(_output(write)))
            layer_columns = _centered(bias + write.out_proj.bias)
            if len(outputs) == 1:  # not yet divided by s
                columns, layer_columns = layer_columns, torch.zeros_like(layer_columns)
            else:
                columns = columns * weight
            square = z.square().sum(-1) + 2 * z @ columns
            constant = z @ layer_columns
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
        masks: number of masks, at most 4.

    Returns:
        Low-res logits [N, masks, 4 H, 4 W] and predicted IoU [N, masks].
    """
    transformer, queries = decoder.transformer, tokens
    layers = cast(Sequence[TwoWayAttentionBlock], transformer.layers)
    update: Update | None = None
    for layer, stage, after in zip(layers, shared.stages, shared.stages[1:], strict=False):
        queries = layer.attend_to_tokens(queries, tokens, unused)
        attended = _read(layer.cross_attn_token_to_image, queries + tokens, stage, update)
        queries = layer.update_tokens(queries, attended)
        update = _write(layer, queries + tokens, queries, unused, stage, after, update)
    assert update is not None
    stage = shared.stages[-1]
    attended = _read(transformer.final_attn_token_to_image, queries + tokens, stage, update)
    queries = transformer.norm_final_attn(queries + attended)
    mlps = list(decoder.output_hypernetworks_mlps)[:masks]
    hyper_in = torch.stack([mlp(queries[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)
    logits = _upscale(decoder, shared.upscaled, stage.bias, update, hyper_in)
    return logits, decoder.iou_prediction_head(queries[:, 0])[:, :masks]


def _read(attention: Attention, tokens: Tensor, stage: Stage, update: Update | None) -> Tensor:
    """Attention of tokens [N, T, C] to the image, [N, T, C]."""
    q = attention.separate_heads(attention.q_proj(tokens)) * attention.scale
    scores = _scores(q, stage.keys, attention.k_proj, update)
    weights = torch.softmax(scores, dim=-1, out=scores)
    if update is not None:
        weights.mul_(update.s)
    attended = _shared(weights, stage.values.scaled.mT)  # [N, heads, T, C']
    if update is not None:
        columns = attention.separate_heads(update.columns @ attention.v_proj.weight.t())
        by_row = (weights @ update.rows.mT).unflatten(1, (attention.num_heads, -1))
        attended = attended + by_row @ columns
    attended = attended + stage.values.fixed[:, None, :, 0]
    return cast(Tensor, attention.out_proj(attended.transpose(1, 2).flatten(2)))


def _write(
    layer: TwoWayAttentionBlock,
    keys: Tensor,
    values: Tensor,
    unused: Tensor,
    stage: Stage,
    after: Stage,
    update: Update | None,
) -> Update:
    """Attention of the image to tokens [N, T, C], residual and normalization."""
    attention = layer.cross_attn_image_to_token
    heads = attention.num_heads
    k = attention.separate_heads(attention.k_proj(keys)) * attention.scale
    assert stage.queries is not None
    scores = _scores(k, stage.queries, attention.q_proj, update).unflatten(1, (heads, -1))
    scores.masked_fill_(unused[:, None, :, None], -torch.inf)
    # Tokens are not the last dimension, so the softmax vectorizes along L.
    rows = torch.softmax(scores, dim=2, out=scores).flatten(1, 2)  # [N, heads * T, L]
    v = attention.separate_heads(attention.v_proj(values))
    columns = (v @ _output(attention)).flatten(1, 2)
    columns = _centered(columns + (stage.bias + attention.out_proj.bias) / heads)
    new = Update(rows, rows, columns, (v,))
    square, eps = after.square, torch.as_tensor(layer.norm4.eps)
    if update is not None:
        deviation = update.s.reciprocal()
        new = Update(
            rows,
            torch.cat([update.rows, rows.mul_(deviation)], dim=1),
            torch.cat([_centered(update.columns), columns], dim=1),
            (*update.values, v),
        )
        square = torch.addcmul(after.square, after.constant, deviation, value=2)
        eps = eps * deviation.square()
    with_z = [
        _shared(2 * v, base).flatten(1, 2) for v, base in zip(new.values, after.added, strict=True)
    ]
    products = with_z[0] if len(with_z) == 1 else torch.cat(with_z, dim=1)
    products.baddbmm_(new.columns @ new.columns.mT, new.rows).mul_(new.rows)
    total = products.sum(dim=1, keepdim=True).add_(square).clamp_(min=0)
    s = torch.rsqrt(total / columns.shape[-1] + eps)
    return replace(new, s=s, columns=new.columns * after.weight)


def _scores(q: Tensor, base: Projected, linear: nn.Linear, update: Update | None) -> Tensor:
    """Products of tokens by head [N, heads, T, C'] with the projected image, [N, heads * T, L]."""
    if update is None:
        return _shared(q, base.scaled).add_(_shared(q, base.fixed)).flatten(1, 2)
    columns = (update.columns @ linear.weight.t()).unflatten(2, (q.shape[1], -1)).transpose(1, 2)
    folded = (q @ columns.mT).flatten(1, 2)  # [N, heads * T, R]
    scaled = _shared(q, base.scaled).flatten(1, 2).baddbmm_(folded, update.rows)
    return _shared(q, base.fixed).flatten(1, 2).addcmul_(scaled, update.s)


def _upscale(
    decoder: MaskDecoder, upscaled: Tensor, bias: Tensor, update: Update, hyper_in: Tensor
) -> Tensor:
    """Upscale the image in parts that fit in the cache, and multiply by each mask's hypernetwork output.

    A transposed convolution with kernel and stride 2 maps each pixel linearly to four, independently of its
    neighbors, so pixels are put in order once, at the end.
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
    """The index of each pixel, row by row, among the tokens' nested 2 × 2 pixels; permuting axes instead
    takes two to three times as long on a CPU."""
    nested = torch.arange(16 * side**2).view(side, side, 2, 2, 2, 2)
    return nested.permute(0, 2, 4, 1, 3, 5).flatten()


def _linear_map(decoder: MaskDecoder, index: int) -> tuple[Tensor, Tensor]:
    """A transposed convolution of the upscaling as a linear map from one pixel to four: weight [2 * 2 * D, C]
    and bias [2 * 2 * D]."""
    conv = cast(nn.ConvTranspose2d, decoder.output_upscaling[index])
    assert conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def _project(attention: Attention, linear: nn.Linear, x: Tensor, fixed: Tensor) -> Projected:
    """Project ``x`` and ``fixed``, [L, C] both; the bias is added to the latter."""
    return Projected(
        attention.separate_heads((x @ linear.weight.t())[None])[0].mT.contiguous(),
        attention.separate_heads(linear(fixed)[None])[0].mT.contiguous(),
    )


def _output(attention: Attention) -> Tensor:
    """The output projection by head, [heads, C', C]."""
    by_head: Tensor = attention.out_proj.weight.unflatten(1, (attention.num_heads, -1))
    return by_head.permute(1, 2, 0)


def _shared(a: Tensor, base: Tensor) -> Tensor:
    """Multiply [N, heads, T, D] or [N, heads * T, D] by [heads, D, E], shared by all prompts; [N, heads, T,
    E]."""
    heads, count = len(base), len(a)
    rows = a.view(count, heads, -1, a.shape[-1]).transpose(0, 1).flatten(1, 2)
    products: Tensor = torch.bmm(rows, base).unflatten(1, (count, -1))
    return products.transpose(0, 1)


def _centered(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)
