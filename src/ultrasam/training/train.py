"""Train a promptable model from a recipe and save it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from ultrasam.errors import RecipeError
from ultrasam.hardware import default_device
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.progress import OnProgress, no_progress
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.training.datamodule import IndexedData
from ultrasam.training.engine import fit, is_first_process, seed_everything
from ultrasam.training.memory import check_memory
from ultrasam.training.promptable import PromptableTask
from ultrasam.training.promptable_data import PromptableViews, collate
from ultrasam.training.recipe import Recipe, save_recipe
from ultrasam.training.report import write_report
from ultrasam.training.run_folder import check_folder, keep_settings
from ultrasam.training.sources import open_data
from ultrasam.weights.adapter_files import ADAPTER_FILE as ADAPTATION
from ultrasam.weights.adapter_files import save_adaptation
from ultrasam.weights.adapters import adapt, merge, refuse_bottlenecks
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load_model
from ultrasam.weights.spec import ModelSpec

logger = logging.getLogger(__name__)


def train(recipe: Recipe, *, resume: bool = False, on_progress: OnProgress = no_progress) -> Path:
    """Run a recipe and save the trained model.

    Under torchrun or SLURM, or with ``trainer.devices`` above 1, several processes share the work.

    Args:
        resume: continue from the last checkpoint in the recipe's output folder.
        on_progress: called after each step with (step, total steps) and the logged scores.

    Returns:
        The folder of the saved model, ``<output>/<name>/model``, for `ultrasam.load`. If the model was
        adapted, adaptation.safetensors contains only the trained parameters. Except for bottleneck adapters,
        the folder also contains the full model, with low-rank updates merged.

    Raises:
        RecipeError: The output folder already contains a run or has none to resume, or there is not enough
            memory.
        DataError: Data are missing.
    """
    folder = recipe.folder
    check_folder(folder, resume=resume)
    if recipe.adapt.kind == "adapter" and recipe.init is None:
        raise RecipeError(
            "adapt.kind=adapter needs pretrained weights, because adapters are saved without them; set init."
        )
    seed_everything(recipe)
    data = open_data(recipe)
    model = prepare_model(recipe)
    check_memory(recipe, model)
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        keep_settings(folder, recipe.model_dump(mode="json", exclude={"name", "output"}))
        save_recipe(recipe, folder / "recipe.yaml")
    task = PromptableTask(model, recipe, pictures=folder / "samples")
    views = PromptableViews(
        data.sources,
        image_size=model.config.image_size,
        mask_size=model.config.mask_size,
        augmentation=recipe.augmentation,
        prompts=recipe.prompts,
        seed=recipe.seed,
    )
    batches = IndexedData(views, recipe.trainer, collate=collate, validation=data.validation)
    result = fit(task, batches, folder=folder, resume=resume, on_progress=on_progress)
    if result.kept_best:
        last = "" if result.score is None else f" (last score: {result.score:.3f})"
        logger.info("Kept the weights of the best validation%s.", last)
    logger.info("Trained %d steps in %.1f minutes.", result.steps, result.seconds / 60)
    _save(task, folder / "model")
    report = write_report(folder) if is_first_process() else None
    if report is not None:
        logger.info("Report: %s", report)
    return folder / "model"


def prepare_model(recipe: Recipe) -> UltraSam:
    """The recipe's model with its initial weights, adapted and ready for training."""
    model = load_model(
        recipe.init or f"random:{recipe.model}", device="cpu", precision="float32", seed=recipe.seed
    )
    refuse_bottlenecks(model, recipe.init or recipe.model)
    prepare(model, recipe)
    return model.train()


def prepare(model: UltraSam, recipe: Recipe) -> None:
    """Adapt a model and configure its preprocessing and computation according to the recipe, in place."""
    # The weights are saved with their preprocessing.
    model.preprocessor = trained_preprocessor(model.preprocessor)
    # Test-time augmentation uses only views that occur in training.
    model.tta = replace(
        model.tta,
        zoom=model.tta.zoom if recipe.augmentation.zoomed else 0.0,
        flip=model.tta.flip and recipe.augmentation.flip > 0,
    )
    adapt(model, recipe.adapt)
    checkpoint_blocks(model.image_encoder, enabled=recipe.trainer.checkpointing)
    on_cpu = recipe.trainer.accelerator == "cpu"
    set_attention(model, "cpu" if on_cpu else default_device())
    for layer in model.mask_decoder.transformer.layers:
        cast(Any, layer).mlp.dropout.p = recipe.trainer.dropout
    if recipe.trainer.compile:
        model.image_encoder.compile()


def trained_preprocessor(init: Preprocessor) -> Preprocessor:
    """Preprocessing for training a model whose initial weights use ``init``.

    Images keep their aspect ratio and are resampled by area averaging, and all prompt types are trained.
    Scaling by the image's own range is replaced by scaling of the full gray range, since a view shows only
    part of an image.
    """
    preprocessor = replace(
        init, resize="letterbox", resample="area", prompt_types=Preprocessor().prompt_types
    )
    if init.scale == "min-max":
        preprocessor = replace(
            preprocessor, scale="mean-std", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)
        )
    return preprocessor


def _save(task: PromptableTask, out: Path) -> None:
    """Save the trained weights; all processes call this, the first one writes."""
    recipe: Recipe = task.settings
    model: UltraSam = task.model
    if recipe.trainer.strategy == "fsdp":
        model = _gathered(model)
    if is_first_process():
        out.mkdir(parents=True, exist_ok=True)
        model.eval()
        if recipe.adapt.kind != "full":
            init = _absolute_name(recipe.init)
            save_adaptation(model, recipe.adapt, out / ADAPTATION, init=init)
        if recipe.adapt.kind == "lora":
            merge(model)
        if recipe.adapt.kind != "adapter":
            save_pretrained(model, out)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _absolute_name(init: str | None) -> str | None:
    """A model's name, or its absolute path."""
    if init is None or (spec := ModelSpec.parse(init)).kind != "path":
        return init
    return str(spec.path.resolve())


def _gathered(model: UltraSam) -> UltraSam:
    """An ordinary model with the weights of a sharded one."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    whole = UltraSam(model.config, preprocessor=model.preprocessor, tta=model.tta)
    if state:
        whole.load_state_dict(state)
    return whole
