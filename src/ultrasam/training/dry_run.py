"""What a run will be before it starts: its recipe in full, parameters, data, memory and time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import yaml

from ultrasam.model.config import ModelConfig
from ultrasam.training.datamodule import open_data
from ultrasam.training.engine import prepare_model
from ultrasam.training.memory import memory_needed
from ultrasam.training.recipe import Recipe
from ultrasam.weights.adapters import count_parameters

_REACHED = 0.5  # of the matrix product's rate, by a whole step


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's numbers; memory and time are rough.

    Attributes:
        trained, frozen: parameters.
        images, objects: in the data; objects of a store are not counted before they are read.
        flops: of one step of one process, forward and backward.
        memory: bytes at the peak of one process.
        seconds: of the whole run on this machine.
    """

    trained: int
    frozen: int
    images: int
    steps: int
    images_seen: int
    flops: float
    memory: float
    seconds: float


def plan(recipe: Recipe) -> Plan:
    """Look at a recipe's data and model, and measure this machine's rate for half a second.

    Raises:
        DataError: data are missing.
    """
    settings = recipe.trainer
    sources = open_data(recipe, say=lambda _: None).sources
    model = prepare_model(recipe)
    trained, frozen = count_parameters(model)
    devices = settings.devices if settings.devices != "auto" else max(1, torch.cuda.device_count())
    per_step = settings.batch * settings.accumulate
    encoder_trains = recipe.adapt.kind != "decoder"
    passes = (3 if encoder_trains else 1) + int(settings.checkpointing and encoder_trains)
    flops = per_step * passes * encoder_flops(model.config)
    half = settings.precision != "32-true"
    return Plan(
        trained,
        frozen,
        sum(len(source.images) for source in sources),
        settings.max_steps,
        settings.max_steps * per_step * devices * settings.nodes,
        flops,
        memory_needed(recipe, model),
        settings.max_steps * flops / (_REACHED * machine_rate(half=half)),
    )


def encoder_flops(config: ModelConfig) -> float:
    """Floating-point operations of one image through the encoder."""
    tokens, width = config.grid**2, config.width
    dense = 2 * tokens * width * (4 * width + 2 * config.mlp_width)
    total = 0.0
    for index in range(config.depth):
        whole = index in config.global_blocks or not config.window
        seen = tokens if whole else config.window**2
        total += dense + 4 * tokens * seen * width
    neck = 2 * tokens * config.decoder_width * (width + 9 * config.decoder_width)
    return total + neck + 2 * tokens * 3 * config.patch_size**2 * width


def machine_rate(*, half: bool) -> float:
    """Matrix products a second that this machine does, in floating-point operations."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if half else torch.float32
    side = 8192 if device == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    a @ a
    if device == "cuda":
        torch.cuda.synchronize()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        a @ a
        count += 1
        if device == "cuda":
            torch.cuda.synchronize()
    return 2 * side**3 * count / (time.perf_counter() - start)


def describe(recipe: Recipe, found: Plan) -> str:
    """The plan in words, the recipe in full first."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    hours = found.seconds / 3600
    long = f"{hours:.1f} hours" if hours >= 1 else f"{found.seconds / 60:.1f} minutes"
    return (
        f"{text}\n"
        f"parameters  {found.trained:,} trained, {found.frozen:,} frozen\n"
        f"data        {found.images:,} images\n"
        f"steps       {found.steps:,}, which see {found.images_seen:,} images in all\n"
        f"memory      about {found.memory / 2**30:.1f} GiB a process\n"
        f"time        about {long} on this machine, the image encoder's share\n"
    )
