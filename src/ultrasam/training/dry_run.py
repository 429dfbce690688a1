"""Estimate a training run before it starts: parameters, data, memory and time.

Nothing is downloaded and no image is decoded: data are only listed, the model is built without weights, and
the time is extrapolated from a shortened model on this machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
import yaml

from ultrasam.errors import DataError
from ultrasam.hardware import default_device
from ultrasam.model.config import ModelConfig
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import BOTTOM_RIGHT, TOP_LEFT
from ultrasam.store.store import Store
from ultrasam.training.interaction import interact
from ultrasam.training.memory import memory_needed
from ultrasam.training.recipe import Recipe
from ultrasam.training.sources import store_sources
from ultrasam.training.train import prepare
from ultrasam.weights.adapters import count_parameters
from ultrasam.weights.load import resolve_config

_TIMED_BLOCKS = 2
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Size of a run; memory and time are rough estimates.

    Attributes:
        trained, frozen: number of parameters.
        images: annotated images, including phantoms and files that may turn out to be damaged.
        images_seen: images in all steps together.
        memory: peak bytes per process.
        seconds: duration of the whole run on this machine, without validation.
    """

    trained: int
    frozen: int
    images: int
    steps: int
    images_seen: int
    memory: float
    seconds: float


def estimate(recipe: Recipe) -> Estimate:
    """Estimate a run by listing its data, building its model without weights, and timing a few batches.

    Raises:
        DataError: Data are missing.
    """
    settings = recipe.trainer
    config = resolve_config(recipe.init or f"random:{recipe.model}")
    images = count_images(recipe)
    with torch.device("meta"):
        model = UltraSam(config)
        prepare(model, recipe)
    trained, frozen = count_parameters(model)
    per_step = settings.batch * settings.accumulate
    devices = settings.device_count or max(1, torch.cuda.device_count())
    return Estimate(
        trained,
        frozen,
        images,
        settings.max_steps,
        settings.max_steps * per_step * devices * settings.nodes,
        memory_needed(recipe, model),
        settings.max_steps * settings.accumulate * seconds_per_batch(recipe, config),
    )


def count_images(recipe: Recipe) -> int:
    """Number of images in a recipe's data.

    Raises:
        DataError: A folder or store is missing, or contains no images of the data set.
    """
    count = recipe.data.phantoms.count
    if recipe.data.store is not None:
        wanted = recipe.data.store
        sources = store_sources(Store.open(wanted.path), **wanted.model_dump(exclude={"path"}))
        count += sum(len(source.images) for source in sources)
    if recipe.data.sources:
        # Readers of raw data need packages that a run on a store does without.
        from ultrasam.datasets.catalogue import dataset
    for entry in recipe.data.sources:
        if not entry.path.is_dir():
            raise DataError(
                f"{entry.dataset}: folder {entry.path} does not exist; download and unpack the data there."
            )
        cases, _ = dataset(entry.dataset).list_cases(entry.path)
        count += len(cases)
    return count


def seconds_per_batch(recipe: Recipe, config: ModelConfig) -> float:
    """Time of a forward and backward pass over a batch, extrapolated from one image with a few objects in a
    model of two blocks."""
    settings = recipe.trainer
    device = "cpu" if settings.accelerator == "cpu" else default_device()
    short = replace(
        config,
        depth=min(config.depth, _TIMED_BLOCKS),
        global_blocks=(1,) if config.global_blocks else (),
    )
    model = UltraSam(short).to(device)
    prepare(model, recipe)
    model.train()
    size, objects = config.image_size, min(recipe.prompts.per_image, 4)
    pixels = torch.randn(1, 3, size, size, device=device)
    corners = torch.tensor([[[0.2, 0.3], [0.6, 0.7]]], device=device) * size
    labels = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], device=device).repeat(objects, 1)
    prompts = PromptTensors(corners.repeat(objects, 1, 1), labels)
    targets = torch.zeros(objects, 1, config.mask_size, config.mask_size, device=device)
    index = torch.zeros(objects, dtype=torch.long, device=device)
    encoder_trains = any(p.requires_grad for p in model.image_encoder.parameters())
    encoding, decoding = [], []
    dtype = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    half = dtype[settings.precision]
    for _ in range(_REPEATS):
        model.zero_grad()
        with torch.autocast(device, dtype=half, enabled=half is not None):
            start = _clock(device)
            image = model.encode(pixels)
            if encoder_trains:
                image.image.float().sum().backward()
            encoding.append(_clock(device) - start)
            start = _clock(device)
            image = ImageEmbedding(image.image.detach(), tuple(p.detach() for p in image.high_res))
            rounds = interact(
                model, image, prompts, targets, image_index=index,
                interaction=recipe.interaction, losses=recipe.losses, seeds=torch.arange(objects),
            )  # fmt: skip
        torch.stack([r.loss for r in rounds]).sum().backward()
        decoding.append(_clock(device) - start)
    scale = encoder_flops(config) / encoder_flops(short)
    return settings.batch * (min(encoding) * scale + min(decoding))


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def encoder_flops(config: ModelConfig) -> float:
    """Floating-point operations of the encoder for one image."""
    tokens, width = config.grid**2, config.width
    dense = 2 * tokens * width * (4 * width + 2 * config.mlp_width)
    total = 0.0
    for index in range(config.depth):
        is_global = index in config.global_blocks or not config.window
        attended = tokens if is_global else config.window**2
        total += dense + 4 * tokens * attended * width
    neck = 2 * tokens * config.decoder_width * (width + 9 * config.decoder_width)
    return total + neck + 2 * tokens * 3 * config.patch_size**2 * width


def describe(recipe: Recipe, run: Estimate) -> str:
    """The full recipe and the estimate, as text."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    hours = run.seconds / 3600
    duration = f"{hours:.1f} hours" if hours >= 1 else f"{run.seconds / 60:.1f} minutes"
    return (
        f"{text}\n"
        f"parameters  {run.trained:,} trained, {run.frozen:,} frozen\n"
        f"data        {run.images:,} images\n"
        f"steps       {run.steps:,} ({run.images_seen:,} images in total)\n"
        f"memory      about {run.memory / 2**30:.1f} GiB per process\n"
        f"time        about {duration} on this machine, without validation\n"
    )
