"""A content hash of a model's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import nn

from ultrasam.weights.formats import earlier_key


def weights_hash(model: nn.Module, *, exclude: Collection[str] = (), exact: bool = False) -> str:
    """SHA-256 of a model's tensors and their names; bfloat16 and float32 copies have equal hashes.

    Args:
        exclude: names of tensors to leave out.
        exact: tell tensors apart that bfloat16 does not.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items(), key=lambda item: earlier_key(item[0])):
        if name not in exclude:
            kind = torch.float64 if exact else torch.bfloat16
            values = tensor.detach().cpu().to(kind).contiguous().flatten()
            # LoRA moves a layer's weights under base_layer.
            digest.update(earlier_key(name.replace(".base_layer.", ".")).encode())
            digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()
