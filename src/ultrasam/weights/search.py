"""Find the model in the content of a checkpoint, however trainers nest, prefix or wrap it.

Keys of mappings and prefixes of names are treated alike: ``{"state_dict": {"model.image_encoder.…": …}}``
holds a model under ``state_dict.model``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ultrasam.weights.formats import Format, State, to_our_keys

PIXELS = ("pixel_mean", "pixel_std")

# Names at the top of a model, per format. The first is the image encoder, which identifies the format.
_PARTS: dict[Format, tuple[str, ...]] = {
    "meta": ("image_encoder", "prompt_encoder", "mask_decoder"),
    "transformers": ("vision_encoder", "prompt_encoder", "mask_decoder", "shared_image_embedding"),
    "mmdet": ("backbone", "prompt_encoder", "decoder", "bbox_head"),
}
# Components that wrappers insert into names: torch.compile, DataParallel, FSDP, activation checkpointing,
# Lightning's Fabric, and pickled modules.
_WRAPPERS = {
    "_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module",
    "_modules", "_parameters", "_buffers",
}  # fmt: skip
# A name with these words is a moving average of a model. It is loaded only if there is no other.
_AVERAGES = {
    "ema", "average", "averaged", "averages", "avg", "teacher", "shadow", "swa", "momentum", "target",
}  # fmt: skip
# A mapping with these words holds a trainer's state, not weights.
_TRAINER = re.compile(
    r"optim|schedul|exp_avg|callback|hyper_?param|(^|[._])(scaler|loops|rng|grads?)([._]|$)",
    re.IGNORECASE,
)
# Keys under which trainers nest weights, most likely first ("" is the top); other keys follow.
_NESTS = (
    "", "state_dict", "model", "model_state_dict", "model_state", "module", "network_weights", "net",
    "network", "weights", "params", "sam",
)  # fmt: skip
# The tensors of a Segment-Anything model, under our names.
_KNOWN = re.compile(
    r"image_encoder\.(pos_embed$|patch_embed\.|neck\.\d\."
    r"|blocks\.\d+\.(norm[12]\.|attn\.(qkv\.|proj\.|rel_pos_[hw]$)|mlp\.lin[12]\.))"
    r"|prompt_encoder\.(pe_layer\.|point_embeddings\.|not_a_point|no_mask|mask_downscaling\.)"
    r"|mask_decoder\.(iou_token|mask_tokens|transformer\.|output_|iou_prediction_head|conv_)"
)
# Trainers may save the parts apart, under keys with these endings.
_PART_KEY = re.compile(r"(\w+?)_(model_)?(state_?dict|weights|params)")
_FEWEST = 10  # known tensors in a model, or in a part of one
_RIVAL = 0.9  # a model with this share of the most complete one's tensors is as good a candidate
_MAX_DEPTH = 50  # a module that was pickled whole has three levels per layer


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The model found in a checkpoint.

    Attributes:
        state: its tensors, under our names, without prefixes; pixel_mean and pixel_std if present.
        format: the naming of the file.
        key: the keys and prefixes before its names, such as ``state_dict.model``; may be empty.
        others: keys of other models in the file, with other weights.
        extra: names of tensors that belong to none of the models.
    """

    state: State
    format: Format
    key: str
    others: tuple[str, ...]
    extra: tuple[str, ...]


class _Entry(NamedTuple):
    """A tensor: the keys of the mapping that holds it, joined by dots, and its key in this mapping."""

    nest: str
    own: str
    tensor: Tensor

    @property
    def name(self) -> str:
        return f"{self.nest}.{self.own}" if self.nest else self.own


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The names (in the file) of one model's tensors under a key, and its state under our names."""

    key: str
    format: Format
    names: dict[str, str]
    state: State

    @property
    def known(self) -> int:
        return sum(_KNOWN.match(name) is not None for name in self.state)

    def rank(self) -> tuple[bool, int, int]:
        words = set(re.split(r"[^a-z]+", self.key.lower()))
        first = self.key.split(".")[0]
        nest = _NESTS.index(first) if first in _NESTS else len(_NESTS)
        return bool(words & _AVERAGES or any(w.endswith("ema") for w in words)), nest, len(self.key)


def find_model(content: Any) -> FoundModel | None:
    """Find the model in nested mappings and lists of tensors or arrays.

    Of several models, those with far fewer known tensors are passed over; then a model is preferred to a
    moving average, and a usual key (``state_dict``, ``model``, …) to another. Parts that the chosen one lacks
    are taken from under other keys.

    Returns:
        None if there is no Segment-Anything model, not even a part of one.
    """
    entries = [entry for entry in named_tensors(content) if not _TRAINER.search(entry.nest)]
    candidates = _candidates(entries)
    if not candidates:
        return None
    most = max(candidate.known for candidate in candidates)
    rivals = [c for c in candidates if c.known >= _RIVAL * most]
    chosen = min(rivals, key=_Candidate.rank)  # the first in the file of those with equal rank
    state = dict(chosen.state)
    joined = []
    for candidate in candidates:
        if candidate.format == chosen.format and not _parts(candidate.state) & _parts(state):
            state |= candidate.state
            joined.append(candidate)
    models = {name for candidate in (*rivals, *joined) for name in candidate.names}
    nests = {entry.nest for entry in entries if entry.name in chosen.names}
    beside = [entry for entry in entries if entry.name not in models]
    extra = []
    for entry in beside:
        last = entry.own.rsplit(".", 1)[-1]
        if entry.nest in nests and last in PIXELS:
            state.setdefault(last, entry.tensor)
        elif entry.nest in nests or "." in entry.own:
            extra.append(entry.own if entry.nest in nests else entry.name)
    rivals = [c for c in rivals if c is not chosen and c not in joined]
    others = tuple(c.key for c in rivals if not _equal(c.state, chosen.state))
    return FoundModel(state, chosen.format, chosen.key, others, tuple(extra))


def named_tensors(content: Any) -> list[_Entry]:
    """All tensors in nested mappings and lists; NumPy arrays are converted. A mapping is visited once."""
    return list(_walk(content, "", set(), 0))


def _walk(content: Any, nest: str, visited: set[int], depth: int) -> Iterator[_Entry]:
    if id(content) in visited or depth > _MAX_DEPTH:
        return
    visited.add(id(content))
    if isinstance(content, Mapping):
        items = list(content.items())
    elif isinstance(content, (list, tuple)):
        items = [(i, item) for i, item in enumerate(content) if isinstance(item, (Mapping, list))]
    else:
        return
    inner = []
    for key, value in items:
        tensor = _tensor(value)
        if tensor is not None:
            yield _Entry(nest, str(key), tensor)
        else:
            inner.append((key, value))
    for key, value in inner:
        part = _part(str(key))
        yield from _walk(value, f"{nest}.{part}" if nest else part, visited, depth + 1)


def _part(key: str) -> str:
    """The name of the part of a model that a key such as ``mask_decoder_state_dict`` holds; else the key."""
    match = _PART_KEY.fullmatch(key)
    named = match is not None and any(match[1] in parts for parts in _PARTS.values())
    return match[1] if match is not None and named else key


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.to_dense() if value.layout is not torch.strided else value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8:
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return None


def _candidates(entries: list[_Entry]) -> list[_Candidate]:
    """Every model, or part of one, in the order of the file."""
    found: dict[tuple[str, Format], None] = {}
    for entry in entries:
        components = entry.name.split(".")
        for i, component in enumerate(components):
            for format_, parts in _PARTS.items():
                if component == parts[0] or (component == "mask_decoder" and format_ == "meta"):
                    found[".".join(components[:i]), format_] = None
    by_name = {entry.name: entry.tensor for entry in entries}
    candidates = [_candidate(key, format_, by_name) for key, format_ in found]
    candidates = [c for c in candidates if c.known >= _FEWEST]
    # The mask decoder of another format also looks like part of a model in ours.
    return [
        c
        for c in candidates
        if not any(o.key == c.key and o is not c and o.known > c.known for o in candidates)
    ]


def _candidate(key: str, format_: Format, by_name: State) -> _Candidate:
    start = f"{key}." if key else ""
    names: dict[str, str] = {}
    theirs: State = {}
    for name, tensor in by_name.items():
        rest = name.removeprefix(start)
        if not name.startswith(start) or rest.split(".", 1)[0] not in _PARTS[format_]:
            continue
        plain = ".".join(part for part in rest.split(".") if part not in _WRAPPERS)
        plain = rest if plain in theirs else plain  # twice the same name: one of them is unexpected
        names[name] = plain
        theirs[plain] = tensor
    return _Candidate(key, format_, names, to_our_keys(theirs, format_))


def _parts(state: State) -> set[str]:
    return {name.split(".", 1)[0] for name in state if _KNOWN.match(name)}


def _equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a
    )
