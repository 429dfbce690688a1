"""Shard parameters, gradients and optimizer states over processes (FSDP)."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method


def shard(task: nn.Module, blocks: nn.ModuleList, mesh: Any) -> None:
    """Shard a training task in place: one unit per block of the image encoder, and one for everything else.

    Prompt encoder and mask decoder run once per round. As units of their own they would be reduced after the
    backward pass of the last round and lose the gradients of the other rounds.

    Args:
        mesh: one-dimensional mesh of processes.
    """
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(task, mesh=mesh)
    register_fsdp_forward_method(task, "training_step")
