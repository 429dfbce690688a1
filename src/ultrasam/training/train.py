"""Train a promptable model from a recipe and save it."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError

from ultrasam.errors import RecipeError, UltraSamError
from ultrasam.files import require_space
from ultrasam.hardware import default_device
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.progress import OnProgress, no_progress
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.store.store import Store
from ultrasam.text import counted, duration
from ultrasam.training.checkpoints import size_of, space_needed, unwritable
from ultrasam.training.datamodule import IndexedData
from ultrasam.training.engine import FitResult, fit, is_first_process, seed_everything
from ultrasam.training.memory import check_memory
from ultrasam.training.promptable import PromptableTask
from ultrasam.training.promptable_data import PromptableViews, collate
from ultrasam.training.recipe import Recipe, load_recipe, save_recipe
from ultrasam.training.report import write_report
from ultrasam.training.run_folder import LAST, SETTINGS, check_folder, keep_settings
from ultrasam.training.sources import RecipeData, open_data
from ultrasam.training.visible import with_visible_objects
from ultrasam.weights.adapter_files import ADAPTER_FILE as ADAPTATION
from ultrasam.weights.adapter_files import save_adaptation
from ultrasam.weights.adapters import adapt, count_parameters, merge, refuse_bottlenecks
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
        DiskFullError: There is no space for the checkpoints, or for the model. In the latter case the last
            checkpoint is kept.
        InterruptedRunError: The user stopped the run.
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
    sources = with_visible_objects(data.sources, recipe.augmentation, model.config.image_size)
    check_memory(recipe, model)
    check_disk(recipe, model)
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        keep_recipe(recipe)
    task = PromptableTask(model, recipe, pictures=folder / "samples")
    views = PromptableViews(
        sources,
        image_size=model.config.image_size,
        mask_size=model.config.mask_size,
        augmentation=recipe.augmentation,
        prompts=recipe.prompts,
        seed=recipe.seed,
    )
    batches = IndexedData(views, recipe.trainer, collate=collate, validation=data.validation)
    result = fit(
        task, batches, folder=folder, resume=resume, validate_start=True, on_progress=on_progress
    )
    if is_first_process():
        if result.steps:
            steps = counted(result.steps, "step")
            logger.info("Trained %s in %s.", steps, duration(result.seconds))
        else:
            logger.info("The run was complete; no step was left to train.")
        report_scores(result, len(data.validation))
    _save(task, folder / "model", as_trained=_as_trained(recipe, data))
    if is_first_process():
        _report(folder)
    return folder / "model"


def keep_recipe(recipe: Recipe) -> None:
    """Write the recipe of a run into its folder; refuse to resume the run with another one.

    Raises:
        RecipeError: The run in the folder was started with other settings (see `keep_settings`).
    """
    path = recipe.folder / "recipe.yaml"
    before = None
    if path.exists() and not (recipe.folder / SETTINGS).exists():
        before = _settings_of(load_recipe(path))  # a run of an earlier version
    keep_settings(recipe.folder, _settings_of(recipe), before=before)
    save_recipe(recipe, path)


def _settings_of(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"name", "output"})


def check_disk(recipe: Recipe, model: UltraSam) -> None:
    """Refuse a run whose checkpoints do not fit on the disk.

    Raises:
        DiskFullError: There is too little space.
    """
    trained, frozen = count_parameters(model)
    needed = space_needed(
        trained + frozen, trained, averaged=recipe.trainer.ema > 0, validates=recipe.validation.every > 0
    )  # fmt: skip
    require_space(recipe.folder, needed)


def report_scores(result: FitResult, images: int, *, score: str = "Dice") -> None:
    """Log what training changed on the validation images: before, after, and at the end."""
    if result.best is None:
        return
    on = f"{images} validation image{'' if images == 1 else 's'}"
    before = "" if result.start is None else f"{result.start:.3f} before training, "
    at = "" if result.best_step is None else f" (step {result.best_step:,})"
    last = "" if result.score is None else f"; {result.score:.3f} at the last validation"
    logger.info(
        "%s on %s: %s%.3f after; the weights of the best validation are kept%s%s.",
        score, on, before, result.best, at, last,
    )  # fmt: skip
    if result.start is not None and result.best < result.start + 0.0005:  # as printed above
        logger.warning(
            "Training did not help: on the validation images, the initial weights are at least as good. Use "
            "them, or train with more data, more steps or another optimizer.lr."
        )


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
    # A click means the piece that it is in, and nothing lies outside the scan.
    model.postprocessor = Postprocessor(clicked_piece=True, within_scan=True)
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

    Images are gray, keep their aspect ratio and are resampled by area averaging, and all prompt types are
    trained.
    Scaling by the image's own range is replaced by scaling of the full gray range, since a view shows only
    part of an image.
    """
    preprocessor = replace(
        init, resize="letterbox", resample="area", channels="gray",
        prompt_types=Preprocessor().prompt_types,
    )  # fmt: skip
    if init.scale == "min-max":
        preprocessor = replace(
            preprocessor, scale="mean-std", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)
        )
    return preprocessor


def _as_trained(recipe: Recipe, data: RecipeData) -> Recipe:
    """The recipe with the names of the data sets that a store had, so that the model's folder tells them."""
    store = recipe.data.store
    if store is not None and store.shares is None:
        there = Store.open(store.path).manifest["datasets"]
        names = tuple(source.name for source in data.sources if source.name in there)
        store = store.model_copy(update={"datasets": names})
    data_as_trained = recipe.data.model_copy(update={"store": store})
    return recipe.model_copy(update={"data": data_as_trained, "init": _absolute_name(recipe.init)})


def _save(task: PromptableTask, out: Path, *, as_trained: Recipe | None = None) -> None:
    """Save the trained weights and their recipe; all processes call this, the first one writes."""
    recipe: Recipe = task.settings
    model: UltraSam = task.model
    if recipe.trainer.strategy == "fsdp":
        model = _gathered(model)
    if is_first_process():
        try:
            _write_model(model.eval(), as_trained or recipe, out)
        except (OSError, SafetensorError, UltraSamError) as error:
            reason = str(unwritable(out, error, size=size_of(model.state_dict()))).rstrip(".")
            last = recipe.folder / LAST
            kept = (
                f" The run is kept in {last}; run the same command with --resume."
                if last.exists()
                else ""
            )
            raise type(unwritable(out, error))(f"{reason}.{kept}") from error
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _write_model(model: UltraSam, recipe: Recipe, out: Path) -> None:
    """Write the files of the model beside their place, then rename them."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".model-") as scratch:
        part = Path(scratch)
        if recipe.adapt.kind != "full":
            save_adaptation(model, recipe.adapt, part / ADAPTATION, init=recipe.init)
        if recipe.adapt.kind == "lora":
            merge(model)
        if recipe.adapt.kind != "adapter":
            save_pretrained(model, part)
        save_recipe(recipe, part / "recipe.yaml")
        for file in part.iterdir():
            if file.name != "README.md" or not (out / file.name).exists():
                file.replace(out / file.name)


def _report(folder: Path) -> None:
    """Write the report; a run is finished without it, too."""
    try:
        path = write_report(folder)
    except (OSError, UltraSamError) as error:
        logger.warning("%s", unwritable(folder / "report.html", error))
    else:
        if path is not None:
            logger.info("Report: %s", path)


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
    whole = UltraSam(
        model.config,
        preprocessor=model.preprocessor,
        tta=model.tta,
        postprocessor=model.postprocessor,
    )
    if state:
        whole.load_state_dict(state)
    return whole
