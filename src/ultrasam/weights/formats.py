"""Convert tensor names between other projects' checkpoints and ours.

Our names are Meta's. The other formats are transformers' ``SamModel`` and the published UltraSam checkpoint
(an mmdetection state dict), which also packs some tensors together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

State = dict[str, Tensor]
Format = Literal["meta", "transformers", "mmdet"]

# Pairs of (ours, theirs), applied in order to names with the prefix.
_Rules = Sequence[tuple[str, str]]

_TRANSFORMERS: dict[str, _Rules] = {
    "image_encoder.": (
        ("image_encoder.", "vision_encoder."),
        ("patch_embed.proj.", "patch_embed.projection."),
        ("blocks.", "layers."),
        ("norm1.", "layer_norm1."),
        ("norm2.", "layer_norm2."),
        ("neck.0.", "neck.conv1."),
        ("neck.1.", "neck.layer_norm1."),
        ("neck.2.", "neck.conv2."),
        ("neck.3.", "neck.layer_norm2."),
    ),
    "prompt_encoder.": (
        (
            "pe_layer.positional_encoding_gaussian_matrix",
            "shared_embedding.positional_embedding",
        ),
        (".point_embeddings.", ".point_embed."),
        ("mask_downscaling.0.", "mask_embed.conv1."),
        ("mask_downscaling.1.", "mask_embed.layer_norm1."),
        ("mask_downscaling.3.", "mask_embed.conv2."),
        ("mask_downscaling.4.", "mask_embed.layer_norm2."),
        ("mask_downscaling.6.", "mask_embed.conv3."),
    ),
    "mask_decoder.": (
        ("norm_final_attn.", "layer_norm_final_attn."),
        (".norm1.", ".layer_norm1."),
        (".norm2.", ".layer_norm2."),
        (".norm3.", ".layer_norm3."),
        (".norm4.", ".layer_norm4."),
        ("output_upscaling.0.", "upscale_conv1."),
        ("output_upscaling.1.", "upscale_layer_norm."),
        ("output_upscaling.3.", "upscale_conv2."),
    ),
}
_MMDET: dict[str, _Rules] = {
    "image_encoder.": (
        ("image_encoder.", "backbone."),
        ("patch_embed.proj.", "patch_embed.projection."),
        ("blocks.", "layers."),
        (".norm1.", ".ln1."),
        (".norm2.", ".ln2."),
        (".mlp.lin1.", ".ffn.layers.0.0."),
        (".mlp.lin2.", ".ffn.layers.1."),
        ("neck.", "channel_reduction."),
    ),
    "mask_decoder.transformer.": (
        ("mask_decoder.transformer.", "decoder."),
        (".mlp.lin1.", ".mlp.layers.0.0."),
        (".mlp.lin2.", ".mlp.layers.1."),
        ("norm_final_attn.", "post_norm."),
        ("self_attn.", "self_attn.attn."),
        ("cross_attn_token_to_image.", "cross_attn_token_to_image.attn."),
        ("cross_attn_image_to_token.", "cross_attn_image_to_token.attn."),
        ("final_attn_token_to_image.", "final_attn_token_to_image.attn."),
        ("q_proj.weight", "q_proj_weight"),
        ("k_proj.weight", "k_proj_weight"),
        ("v_proj.weight", "v_proj_weight"),
    ),
    "mask_decoder.": (("mask_decoder.", "bbox_head."),),
}
_PE = "pe_layer.positional_encoding_gaussian_matrix"
_SHARED_PE = "shared_image_embedding.positional_embedding"
_LABELS = "prompt_encoder.label_encoder.label_embedding.weight"
# The published checkpoint packs these embeddings into one table, in this order: (name, rows).
_LABEL_ROWS = (
    ("prompt_encoder.no_mask_embed.weight", 1),
    *((f"prompt_encoder.point_embeddings.{i}.weight", 1) for i in range(4)),
    ("prompt_encoder.not_a_point_embed.weight", 1),
    ("mask_decoder.mask_tokens.weight", 4),
    ("mask_decoder.iou_token.weight", 1),
)


# Earlier names of ours, replaced by SAM 2's.
_EARLIER = {"fine_stride4": "conv_s0", "fine_stride8": "conv_s1", "fine_maps": "conv_maps"}


def to_our_keys(state: State, format_: str) -> State:
    """Rename another project's state dict, or one of an earlier version, to our names; others are kept."""
    if format_ == "transformers":
        return _from_transformers(state)
    if format_ == "mmdet":
        return _from_mmdet(state)
    return {current_key(name): tensor for name, tensor in state.items()}


def from_our_keys(state: State, format_: Format) -> State:
    """Rename our state dict to another project's names, for models with SAM's architecture."""
    if format_ == "transformers":
        return _to_transformers(state)
    if format_ == "mmdet":
        return _to_mmdet(state)
    return dict(state)


def current_key(name: str) -> str:
    """The current name of a tensor, given a current or earlier name."""
    for earlier, now in _EARLIER.items():
        name = name.replace(f"mask_decoder.{earlier}.", f"mask_decoder.{now}.")
    return name


def current_keys(content: Any) -> Any:
    """Nested mappings, such as a trainer's checkpoint, with current names throughout."""
    if isinstance(content, dict):
        return {
            current_key(key) if isinstance(key, str) else key: current_keys(value)
            for key, value in content.items()
        }
    return content


def earlier_key(name: str) -> str:
    """The earlier name of a tensor; hashes include it so that they stay valid."""
    for earlier, now in _EARLIER.items():
        name = name.replace(f"mask_decoder.{now}.", f"mask_decoder.{earlier}.")
    return name


def _rename(name: str, table: dict[str, _Rules]) -> str:
    for prefix, rules in table.items():
        if name.startswith(prefix):
            for ours, theirs in rules:
                name = name.replace(ours, theirs, 1)
            return name
    return name


def _unrename(name: str, table: dict[str, _Rules]) -> str:
    for prefix, rules in table.items():
        theirs_prefix = dict(rules).get(prefix, prefix)
        if name.startswith(theirs_prefix):
            for ours, theirs in reversed(rules):
                name = name.replace(theirs, ours, 1)
            return name
    return name


def _from_transformers(state: State) -> State:
    out: State = {}
    for name, tensor in state.items():
        if name == _SHARED_PE:
            out.setdefault(f"prompt_encoder.{_PE}", tensor)
            continue
        ours = _unrename(name, _TRANSFORMERS)
        # transformers names the first and last layer of its MLPs differently.
        ours = re.sub(r"(mlps\.\d|iou_prediction_head)\.layers\.0\.", r"\1.layers.1.", ours)
        ours = ours.replace(".proj_in.", ".layers.0.").replace(".proj_out.", ".layers.2.")
        out[ours] = tensor
    return out


def _to_transformers(state: State) -> State:
    out = {}
    for name, tensor in state.items():
        theirs = _rename(name, _TRANSFORMERS)
        if re.search(r"(mlps\.\d|iou_prediction_head)\.layers", theirs):
            theirs = theirs.replace(".layers.0.", ".proj_in.").replace(".layers.2.", ".proj_out.")
            theirs = theirs.replace(".layers.1.", ".layers.0.")
        out[theirs] = tensor
    out[_SHARED_PE] = state[f"prompt_encoder.{_PE}"].clone()
    return out


def _from_mmdet(state: State) -> State:
    out: State = {}
    for name, tensor in state.items():
        if name == _LABELS:
            sizes = [rows for _, rows in _LABEL_ROWS]
            if len(tensor) == sum(sizes):
                parts = tensor.split(sizes)
                out |= {ours: part for (ours, _), part in zip(_LABEL_ROWS, parts, strict=True)}
                continue
        if name.endswith(".attn.in_proj_bias"):
            stem = _unrename(name.removesuffix("in_proj_bias"), _MMDET)
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{stem}{letter}_proj.bias"] = part
            continue
        out[_unrename(name, _MMDET)] = tensor
    return out


def _to_mmdet(state: State) -> State:
    table = torch.cat([state[name] for name, _ in _LABEL_ROWS])
    out = {_LABELS: table}
    in_table = {name for name, _ in _LABEL_ROWS}
    for name, tensor in state.items():
        if name in in_table:
            continue
        match = re.fullmatch(r"(mask_decoder\.transformer\..*)([qkv])_proj\.bias", name)
        if match is None:
            out[_rename(name, _MMDET)] = tensor
        elif match[2] == "q":
            joined = torch.cat([state[f"{match[1]}{letter}_proj.bias"] for letter in "qkv"])
            out[_rename(match[1], _MMDET) + "in_proj_bias"] = joined
    return out
