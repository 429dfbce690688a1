"""Estimate the memory that a run needs, and compare it with what is available."""

from __future__ import annotations

import torch

from ultrasam.errors import RecipeError
from ultrasam.extras import needs
from ultrasam.model.ultrasam import UltraSam
from ultrasam.training.recipe import Recipe
from ultrasam.weights.adapters import count_parameters

with needs("Training", extra="train"):
    import psutil

# Values that a block stores per token and channel for the backward pass: two norms, qkv, attention output,
# projection, and the MLP's hidden layer twice.
_STORED = 2 + 3 + 1 + 1 + 4 + 4
# The same for the decoder, per object and round.
_STORED_DECODER = 40
_PROCESS = 0.6 * 2**30  # Python and its libraries
_OBJECTS = 4  # typical for an image


def memory_needed(recipe: Recipe, model: UltraSam) -> float:
    """Rough peak memory of one process in bytes: weights, optimizer state and stored activations.

    Attention scores are not stored. For ViT-B with one image and four boxes, 5.0 GB (fp32) and 4.0 GB (bf16)
    were measured; this function returns 5.1 and 3.5.
    """
    settings, config = recipe.trainer, model.config
    trained, frozen = count_parameters(model)
    size = 4 if settings.number_format == "32-true" else 2
    processes = (settings.device_count or 1) * settings.nodes
    weights = 4.0 * (trained + frozen) + 12 * trained  # gradients, and two moments of AdamW
    weights /= processes if settings.strategy == "fsdp" else 1
    one = config.grid**2 * config.width * size
    if recipe.adapt.kind == "decoder":
        stored = 4.0 * one
    else:
        layers = 1 if settings.checkpointing else config.depth
        stored = one * (layers * _STORED + config.depth)
    pixels = config.grid**2 * config.decoder_width * size
    objects = min(recipe.prompts.per_image, _OBJECTS)
    stored += objects * recipe.interaction.rounds * pixels * _STORED_DECODER
    return _PROCESS + weights + settings.batch * stored


def check_memory(recipe: Recipe, model: UltraSam) -> None:
    """Refuse a run that does not fit into the memory of this machine.

    Raises:
        RecipeError: The run needs more than the total memory of the GPU, or of the machine.
    """
    if not recipe.trainer.check_memory:
        return
    needed = memory_needed(recipe, model)
    if recipe.trainer.accelerator != "cpu" and torch.cuda.is_available():
        where, available = "the GPU", float(torch.cuda.mem_get_info()[1])
    else:
        needed *= recipe.trainer.device_count or 1
        where, available = "this machine", float(psutil.virtual_memory().total)
    if needed > available:
        raise RecipeError(
            f"A batch of {recipe.trainer.batch} needs about {needed / 2**30:.0f} GiB of memory, but {where} "
            f"has {available / 2**30:.0f} GiB; reduce trainer.batch, increase trainer.accumulate, or set "
            "trainer.checkpointing=true (trainer.check_memory=false skips this check)."
        )
