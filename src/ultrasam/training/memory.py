"""How much memory a run will need, and whether it is there."""

from __future__ import annotations

import torch

from ultrasam.errors import RecipeError
from ultrasam.extras import needs
from ultrasam.model.ultrasam import UltraSam
from ultrasam.training.recipe import Recipe
from ultrasam.weights.adapters import count_parameters

with needs("Training", extra="train"):
    import psutil

# Bytes that a block keeps of each token for its backward pass, over its width in the precision of the
# activations: two norms, qkv, attention's output, projection, the MLP's hidden layer twice.
_KEPT = 2 + 3 + 1 + 1 + 4 + 4
# The same of the decoder for one object and round, over one image embedding.
_KEPT_DECODER = 40
_PROCESS = 0.6 * 2**30  # Python and its libraries
_OBJECTS = 4  # typical of an image


def memory_needed(recipe: Recipe, model: UltraSam) -> float:
    """Bytes at the peak of one process, roughly: weights, and what is kept for the backward pass.

    Attention's scores are not kept. ViT-B with one image and four boxes was measured at 5.0 GB in fp32 and
    4.0 in bf16, where this says 5.1 and 3.5.
    """
    settings, config = recipe.trainer, model.config
    trained, frozen = count_parameters(model)
    size = 4 if settings.precision == "32-true" else 2
    share = (settings.device_count or 1) * settings.nodes
    weights = 4.0 * (trained + frozen) + 12 * trained  # gradients, and two moments of AdamW
    weights /= share if settings.strategy == "fsdp" else 1
    one = config.grid**2 * config.width * size
    if recipe.adapt.kind == "decoder":
        kept = 4.0 * one
    else:
        layers = 1 if settings.checkpointing else config.depth
        kept = one * (layers * _KEPT + config.depth)
    pixels = config.grid**2 * config.decoder_width * size
    objects = min(recipe.prompts.per_image, _OBJECTS)
    kept += objects * recipe.interaction.rounds * pixels * _KEPT_DECODER
    return _PROCESS + weights + settings.batch * kept


def check_memory(recipe: Recipe, model: UltraSam) -> None:
    """Refuse a run that this machine has not the memory for.

    Raises:
        RecipeError: it would need more than all the memory of the GPU, or of the machine.
    """
    if not recipe.trainer.check_memory:
        return
    needed = memory_needed(recipe, model)
    if recipe.trainer.accelerator != "cpu" and torch.cuda.is_available():
        where, there = "the GPU", float(torch.cuda.mem_get_info()[1])
    else:
        needed *= recipe.trainer.device_count or 1
        where, there = "this machine", float(psutil.virtual_memory().total)
    if needed > there:
        raise RecipeError(
            f"A batch of {recipe.trainer.batch} needs about {needed / 2**30:.0f} GiB of memory and {where} "
            f"has {there / 2**30:.0f}; lower trainer.batch, raise trainer.accumulate, or set "
            "trainer.checkpointing=true (trainer.check_memory=false tries it all the same)."
        )
