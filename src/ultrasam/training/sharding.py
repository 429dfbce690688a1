"""Parameters, gradients and optimiser states spread over processes (FSDP), for models too large for one."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method


def shard(task: nn.Module, blocks: nn.ModuleList, mesh: Any) -> None:
    """Shard a training task in place: each of the image encoder's blocks, and all the rest as one.

    The rest is one unit because prompt encoder and mask decoder run once a round: a unit of their own
    would be reduced after the last round's backward pass, and lose the gradients of the others.

    Args:
        mesh: one-dimensional, of the processes to spread over.
    """
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(task, mesh=mesh)
    register_fsdp_forward_method(task, "training_step")
