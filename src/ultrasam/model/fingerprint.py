"""Weights told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import nn


def fingerprint(model: nn.Module, *, without: Collection[str] = ()) -> str:
    """SHA-256 of a model's tensors by name, rounded to bfloat16: held in that precision it is the same.

    Args:
        without: names of tensors that don't count.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name not in without:
            values = tensor.detach().cpu().to(torch.bfloat16).contiguous().flatten()
            digest.update(name.replace(".base_layer.", ".").encode())  # peft's, after it came in
            digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()
