"""Activation checkpointing: a block's activations are computed again in the backward pass, memory for
time."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultrasam.model.image_encoder import ImageEncoder, run_block


def checkpoint_blocks(encoder: ImageEncoder, *, enabled: bool = True) -> None:
    """Keep each block's input alone for the backward pass; without gradients nothing changes."""
    encoder.block_function = _checkpointed if enabled else run_block


def _checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    return cast(Tensor, checkpoint(block, x, use_reentrant=False))
