"""`train`: a recipe from data to a saved promptable model."""

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
from ultrasam.training.run_folder import check_folder
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

    Started by torchrun or under SLURM, or with ``trainer.devices`` above 1, it runs in several processes.

    Args:
        resume: continue from the last checkpoint in the recipe's output folder.
        on_progress: called after each step with (step, all steps) and the scores that were logged.

    Returns:
        The folder of the saved model, ``<output>/<name>/model``. After an adaptation it holds
        adaptation.safetensors, what was trained alone; and, but for bottleneck adapters, the whole
        model, low-rank updates merged. `ultrasam.load` takes it either way.

    Raises:
        RecipeError: the output folder already holds a run, or has none to resume; or memory is short.
        DataError: data are missing.
    """
    folder = recipe.folder
    check_folder(folder, resume=resume)
    if recipe.adapt.kind == "adapter" and recipe.init is None:
        raise RecipeError(
            "Adapters are saved without the weights that they adapt; name those with init."
        )
    seed_everything(recipe)
    data = open_data(recipe)
    model = prepare_model(recipe)
    check_memory(recipe, model)
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
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
        last = "" if result.score is None else f" (last: {result.score:.3f})"
        logger.info("kept the weights of the best validation%s", last)
    logger.info("%d steps in %.1f minutes", result.steps, result.seconds / 60)
    _save(task, folder / "model")
    report = write_report(folder) if is_first_process() else None
    if report is not None:
        logger.info("%s", report)
    return folder / "model"


def prepare_model(recipe: Recipe) -> UltraSam:
    """The recipe's model with its first weights, adapted and ready to train."""
    model = load_model(
        recipe.init or f"random:{recipe.model}", device="cpu", precision="float32", seed=recipe.seed
    )
    refuse_bottlenecks(model, recipe.init or recipe.model)
    prepare(model, recipe)
    return model.train()


def prepare(model: UltraSam, recipe: Recipe) -> None:
    """Adapt a model, and set how it is fed and computed, as the recipe describes; in place."""
    # The weights are saved with what they were fed.
    model.preprocessor = trained_preprocessor(model.preprocessor)
    # A predictor takes no views that training has not shown.
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
    """How training feeds a model that started from weights fed as ``init``: an image keeps its aspect and is
    resampled by areas; what an image's own range was scaled to, the range of gray values is, since a view
    shows a part of it; and all kinds of prompts are drawn."""
    fed = replace(
        init, resize="letterbox", resample="area", prompt_types=Preprocessor().prompt_types
    )
    if init.scale == "min-max":
        fed = replace(fed, scale="mean-std", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    return fed


def _save(task: PromptableTask, out: Path) -> None:
    """Save what was trained; all processes take part, the first one writes."""
    recipe: Recipe = task.settings
    model: UltraSam = task.model
    if recipe.trainer.strategy == "fsdp":
        model = _gathered(model)
    if is_first_process():
        out.mkdir(parents=True, exist_ok=True)
        model.eval()
        if recipe.adapt.kind != "full":
            init = _lasting_name(recipe.init)
            save_adaptation(model, recipe.adapt, out / ADAPTATION, init=init)
        if recipe.adapt.kind == "lora":
            merge(model)
        if recipe.adapt.kind != "adapter":
            save_pretrained(model, out)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _lasting_name(init: str | None) -> str | None:
    """A model's name, or its path from wherever it is asked for."""
    if init is None or (spec := ModelSpec.parse(init)).kind != "path":
        return init
    return str(spec.path.resolve())


def _gathered(model: UltraSam) -> UltraSam:
    """An ordinary model of a sharded one's weights."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    whole = UltraSam(model.config, preprocessor=model.preprocessor, tta=model.tta)
    if state:
        whole.load_state_dict(state)
    return whole
