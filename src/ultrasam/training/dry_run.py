"""Estimate a training run before it starts: parameters, data, memory and time.

Nothing is downloaded and no image or mask is decoded: data are only listed, the model is built without
weights, and the time follows from a few steps on simulated images, on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import yaml

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import segment_targets, targets_of
from ultrasam.inference.predictor import Predictor
from ultrasam.model.config import ModelConfig
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.store.store import Store
from ultrasam.text import duration
from ultrasam.training.interaction import interact
from ultrasam.training.memory import memory_needed
from ultrasam.training.promptable_data import PromptableBatch, PromptableViews, Source, collate
from ultrasam.training.recipe import Recipe
from ultrasam.training.sources import reader_of, store_sources
from ultrasam.training.train import prepare
from ultrasam.weights.adapters import count_parameters
from ultrasam.weights.load import resolve_config

_TIMED_FLOPS = 2e10  # of the encoder for one image, up to which the whole model is timed
_TIMED_BLOCKS = 2
_TIMED_BATCH = 4
_TYPICAL_OBJECTS = 2  # per image
_REPEATS = 3
_HALF = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Size of a run; memory and time are rough estimates.

    Attributes:
        trained, frozen: number of parameters.
        images: annotated images, including phantoms and files that may turn out to be damaged.
        images_seen: images in all steps together.
        memory: peak bytes per process.
        seconds: duration of the whole run on this machine, with validation; early stopping may shorten it.
        validation_seconds: the part of it that validation takes.
    """

    trained: int
    frozen: int
    images: int
    steps: int
    images_seen: int
    memory: float
    seconds: float
    validation_seconds: float


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
    per_batch, per_image = seconds_per_batch(recipe, config)
    validating = per_image * validated_images(recipe, images) / (devices * settings.nodes)
    return Estimate(
        trained,
        frozen,
        images,
        settings.max_steps,
        settings.max_steps * per_step * devices * settings.nodes,
        memory_needed(recipe, model),
        settings.max_steps * settings.accumulate * per_batch + validating,
        validating,
    )


def validated_images(recipe: Recipe, images: int) -> int:
    """Number of images that all validations together segment, including the one before the first step."""
    settings = recipe.validation
    if not settings.every:
        return 0
    held_out = min(settings.images, max(1, round(settings.fraction * images)))
    return (1 + recipe.trainer.max_steps // settings.every) * held_out


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
    for entry in recipe.data.sources:
        raw, folder = reader_of(entry)
        count += raw.count(folder)
    return count


def seconds_per_batch(recipe: Recipe, config: ModelConfig) -> tuple[float, float]:
    """Time of one training batch, and of the validation of one image, measured on this machine.

    A small model is timed as it is; of a larger one, only two blocks, from which the encoder's time follows.
    Views are drawn from a simulated image.
    """
    settings, device = recipe.trainer, recipe.trainer.device
    whole = encoder_flops(config) <= _TIMED_FLOPS
    timed = config if whole else replace(
        config,
        depth=min(config.depth, _TIMED_BLOCKS),
        global_blocks=(1,) if config.global_blocks else (),
    )  # fmt: skip
    scale = encoder_flops(config) / encoder_flops(timed)
    batch = min(settings.batch, _TIMED_BATCH) if whole else 1
    model = UltraSam(timed).to(device)
    prepare(model, recipe)
    views = _views(recipe, config)
    drawing = _fastest(lambda: [views[i] for i in range(batch)], device, repeats=2) / batch
    model.train()
    encoding, decoding = _training_step(model, recipe, collate([views[i] for i in range(batch)]))
    computing = settings.batch / batch * (encoding * scale + decoding)
    drawing *= settings.batch / max(1, settings.workers)
    # Workers draw while a GPU computes, but share the cores with a model on the CPU.
    step = max(computing, drawing) if settings.workers and device != "cpu" else computing + drawing
    return step, _validation(model.eval(), recipe, scale) if recipe.validation.every else 0.0


def _views(recipe: Recipe, config: ModelConfig) -> PromptableViews:
    """Views of a simulated image with a few large objects."""
    y, x = np.ogrid[0:480, 0:640]
    masks = [(x - 100 - 140 * i) ** 2 + (y - 240) ** 2 < 60**2 for i in range(_TYPICAL_OBJECTS)]
    pixels = np.random.default_rng(0).integers(1, 200, (480, 640), np.uint8)
    image = AnnotatedImage.in_memory(pixels, [Instance("object", mask) for mask in masks])
    return PromptableViews(
        [Source("simulated", [image], 1.0)],
        image_size=config.image_size,
        mask_size=config.mask_size,
        augmentation=recipe.augmentation,
        prompts=recipe.prompts,
        seed=0,
    )


def _training_step(model: UltraSam, recipe: Recipe, batch: PromptableBatch) -> tuple[float, float]:
    """Seconds of a forward and backward pass of the encoder, and of the decoder with all rounds."""
    device = recipe.trainer.device
    batch = batch.to(torch.device(device))
    half = _HALF[recipe.trainer.number_format]
    encoder_trains = any(p.requires_grad for p in model.image_encoder.parameters())
    encoding, decoding = [], []
    for _ in range(_REPEATS):
        model.zero_grad()
        with torch.autocast(device, dtype=half, enabled=half is not None):
            start = _clock(device)
            image = model.encode(batch.inputs(model.preprocessor))
            if encoder_trains:
                image.image.float().sum().backward()
            encoding.append(_clock(device) - start)
            start = _clock(device)
            image = ImageEmbedding(image.image.detach(), tuple(p.detach() for p in image.high_res))
            rounds = interact(
                model, image, PromptTensors(batch.coords, batch.labels), batch.targets,
                image_index=batch.image_index, interaction=recipe.interaction,
                losses=recipe.losses, seeds=batch.seeds,
            )  # fmt: skip
        torch.stack([r.loss for r in rounds]).sum().backward()
        decoding.append(_clock(device) - start)
    return min(encoding), min(decoding)


def _validation(model: UltraSam, recipe: Recipe, scale: float) -> float:
    """Seconds to validate one image; the encoder takes most of them."""
    predictor = Predictor(model)
    (image,) = _views(recipe, model.config).sources[0].images
    pixels, targets = image.gray, targets_of(image)

    def segment(kind: str) -> object:
        return segment_targets(predictor, targets, PromptKind.parse(kind))

    kinds = recipe.validation.kinds
    device = recipe.trainer.device
    encoding = _fastest(lambda: predictor.set_image(pixels), device, repeats=2)
    decoding = _fastest(lambda: [segment(kind) for kind in kinds], device, repeats=2)
    return len(kinds) * encoding * scale + decoding


def _fastest(work: Callable[[], object], device: str, *, repeats: int) -> float:
    """Seconds of the fastest of several repeats; the first one also loads code and fills caches."""
    times = []
    for _ in range(repeats):
        start = _clock(device)
        work()
        times.append(_clock(device) - start)
    return min(times)


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
    validating = (
        f", {duration(run.validation_seconds)} of it validation" if run.validation_seconds else ""
    )
    return (
        f"{text}\n"
        f"parameters  {run.trained:,} trained, {run.frozen:,} frozen\n"
        f"data        {run.images:,} images\n"
        f"steps       {run.steps:,} ({run.images_seen:,} images in total)\n"
        f"memory      about {run.memory / 2**30:.1f} GiB per process\n"
        f"time        about {duration(run.seconds)} on this machine{validating}\n"
    )
