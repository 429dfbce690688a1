"""A content hash of a model's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import nn

from ultrasam.weights.formats import earlier_key


def weights_hash(model: nn.Module, *, without: Collection[str] = ()) -> str:
    """SHA-256 of a model's tensors by name, rounded to bfloat16: held in that precision it is the same.

    Args:
        without: names of tensors that don't count.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items(), key=lambda item: earlier_key(item[0])):
        if name not in without:
            values = tensor.detach().cpu().to(torch.bfloat16).contiguous().flatten()
            # LoRA puts a layer's own weights below base_layer.
            digest.update(earlier_key(name.replace(".base_layer.", ".")).encode())
            digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()
