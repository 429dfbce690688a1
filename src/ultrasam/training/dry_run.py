"""What a run will be before it starts: its recipe in full, parameters, data, memory and time.

Nothing is downloaded and no image is decoded: data are listed, the model is built without weights, and the
time comes from a step of a shortened model on this machine.
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
    """A run's numbers; memory and time are rough.

    Attributes:
        trained, frozen: parameters.
        images: annotated images in the data, phantoms included; files that turn out damaged are counted.
        memory: bytes at the peak of one process.
        seconds: of the whole run on this machine, validation left out.
    """

    trained: int
    frozen: int
    images: int
    steps: int
    images_seen: int
    memory: float
    seconds: float


def estimate(recipe: Recipe) -> Estimate:
    """List a recipe's data, build its model without weights, and time this machine for some seconds.

    Raises:
        DataError: data are missing.
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
    """Images that a recipe's data list.

    Raises:
        DataError: a folder or store is missing, or has nothing of the data set.
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
                f"{entry.dataset}: there is no folder {entry.path}; unpack the data there."
            )
        cases, _ = dataset(entry.dataset).list_cases(entry.path)
        count += len(cases)
    return count


def seconds_per_batch(recipe: Recipe, config: ModelConfig) -> float:
    """Time of a batch, forward and backward: one image through a model of two blocks, with the objects that
    an image may have, scaled to the whole."""
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


def describe(recipe: Recipe, found: Estimate) -> str:
    """The estimate in words, the recipe in full first."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    hours = found.seconds / 3600
    long = f"{hours:.1f} hours" if hours >= 1 else f"{found.seconds / 60:.1f} minutes"
    return (
        f"{text}\n"
        f"parameters  {found.trained:,} trained, {found.frozen:,} frozen\n"
        f"data        {found.images:,} images\n"
        f"steps       {found.steps:,}, which see {found.images_seen:,} images in all\n"
        f"memory      about {found.memory / 2**30:.1f} GiB per process\n"
        f"time        about {long} on this machine, without validation\n"
    )
