"""Activation checkpointing: recompute a block's activations in the backward pass to save memory."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultrasam.model.image_encoder import ImageEncoder, run_block


def checkpoint_blocks(encoder: ImageEncoder, *, enabled: bool = True) -> None:
    """Store only each block's input for the backward pass; no effect without gradients."""
    encoder.block_function = _checkpointed if enabled else run_block


def _checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    return cast(Tensor, checkpoint(block, x, use_reentrant=False))
