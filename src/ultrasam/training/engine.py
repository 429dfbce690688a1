"""`train`: a recipe from data to a saved model, on one process or many, and on again after a cut."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from ultrasam.errors import MissingDependencyError, RecipeError
from ultrasam.hardware import default_device
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.training.datamodule import Feeding, open_data
from ultrasam.training.memory import check_memory
from ultrasam.training.promptable import MEAN, SegmentationTask
from ultrasam.training.recipe import Recipe, save_recipe
from ultrasam.training.report import write_report
from ultrasam.weights.adapter_files import FILE as ADAPTATION
from ultrasam.weights.adapter_files import save_adaptation
from ultrasam.weights.adapters import Adaptation, adapt, merge, refuse_bottlenecks
from ultrasam.weights.formats import current_key, current_keys
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load_model
from ultrasam.weights.spec import ModelSpec


def train(
    recipe: Recipe, *, resume: bool = False, say: Callable[[str], object] = lambda _: None
) -> Path:
    """Run a recipe and save the trained model.

    Started by torchrun or under SLURM, or with ``trainer.devices`` above 1, it runs in several processes.

    Args:
        resume: go on from the last checkpoint in the recipe's output folder.
        say: told, in a line each, what data there are and how long it took.

    Returns:
        The folder of the saved model, ``<output>/<name>/model``. After an adaptation it holds
        adaptation.safetensors, what was trained alone; and, but for bottleneck adapters, the whole
        model, low-rank updates merged. `ultrasam.load` takes it either way.

    Raises:
        RecipeError: the output folder already holds a run, or has none to resume; or memory is short.
        DataError: data are missing.
    """
    folder = recipe.output / recipe.name
    last = folder / "last.ckpt"
    if resume and not last.exists():
        raise RecipeError(f"There is no {last} to resume from; leave --resume out.")
    if last.exists() and not resume:
        raise RecipeError(
            f"{folder} already holds a run; resume it with --resume or set another output."
        )
    if recipe.adapt.kind == "adapter" and recipe.init is None:
        raise RecipeError(
            "Adapters are saved without the weights that they adapt: say with init which these are."
        )
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    trainer = make_trainer(recipe, folder)
    opened = open_data(recipe, say=say if trainer.is_global_zero else lambda _: None)
    model = prepare_model(recipe)
    check_memory(recipe, model)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        save_recipe(recipe, folder / "recipe.yaml")
    done = _steps_done(last) if resume else 0
    started = time.monotonic()
    with warnings.catch_warnings():
        for message in _NOT_NEWS:
            warnings.filterwarnings("ignore", message=f".*{message}")
        try:
            trainer.fit(
                SegmentationTask(model, recipe, samples=folder / "samples"),
                datamodule=Feeding(recipe, model.config, opened, first_step=done),
                ckpt_path=str(last) if resume else None,
                weights_only=False if resume else None,
            )
        except torch.OutOfMemoryError as error:
            raise RecipeError(
                f"A batch of {recipe.trainer.batch} does not fit into memory; lower trainer.batch, raise "
                "trainer.accumulate, or set trainer.checkpointing=true."
            ) from error
    if trainer.interrupted:
        raise RecipeError(f"Training was interrupted; go on with --resume (from {last}).")
    best = folder / "best.ckpt"
    if recipe.validation.every and best.exists() and recipe.trainer.strategy != "fsdp":
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict({current_key(k.removeprefix("model.")): v for k, v in state.items()})
        score = trainer.callback_metrics.get(MEAN)
        say(f"kept the weights of the best validation{f' (last: {score:.3f})' if score else ''}")
    say(f"{trainer.global_step - done} steps in {(time.monotonic() - started) / 60:.1f} minutes")
    out = _save(recipe, trainer, model, folder / "model")
    report = write_report(folder) if trainer.is_global_zero else None
    if report is not None:
        say(f"{report}")
    return out


# What Lightning warns of and we know.
_NOT_NEWS = (
    "your dataloader is not resumable",  # it is: its views hang on their index alone
    "Checkpoint directory .* exists",
    "Experiment logs directory .* exists",
    "smaller than the logging interval",
    "WeightAveraging callback with a model that overrides",  # sharded runs refuse averages
    "overridden `transfer_batch_to_device`",
    "`isinstance.treespec, LeafSpec.` is deprecated",
)


def prepare_model(recipe: Recipe) -> UltraSam:
    """The recipe's model with its first weights, adapted and ready to train."""
    model = load_model(
        recipe.init or f"random:{recipe.model}", device="cpu", precision="float32", seed=recipe.seed
    )
    refuse_bottlenecks(model, recipe.init or recipe.model)
    # The weights are saved with what they were fed.
    model.preprocessor = trained_preprocessor(model.preprocessor)
    # A predictor takes no views that training has not shown.
    model.tta = replace(
        model.tta,
        zoom=model.tta.zoom if recipe.views.zoomed else 0.0,
        flip=model.tta.flip and recipe.views.flip > 0,
    )
    adapt(model, adaptation_of(recipe))
    checkpoint_blocks(model.image_encoder, enabled=recipe.trainer.checkpointing)
    on_cpu = recipe.trainer.accelerator == "cpu"
    set_attention(model, "cpu" if on_cpu else default_device())
    for layer in model.mask_decoder.transformer.layers:
        cast(Any, layer).mlp.dropout.p = recipe.trainer.dropout
    if recipe.trainer.compile:
        model.image_encoder.compile()
    return model.train()


def trained_preprocessor(init: Preprocessor) -> Preprocessor:
    """How training feeds a model that started from weights fed as ``init``: an image keeps its aspect and is
    resampled by areas; what an image's own range was scaled to, the range of grey values is, since a view
    shows a part of it; and all kinds of prompts are drawn."""
    fed = replace(
        init, resize="letterbox", resample="area", prompt_types=Preprocessor().prompt_types
    )
    if init.scale == "min-max":
        fed = replace(fed, scale="mean-std", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    return fed


def adaptation_of(recipe: Recipe) -> Adaptation:
    """What the recipe trains of its model."""
    return Adaptation(**recipe.adapt.model_dump())


def make_trainer(recipe: Recipe, folder: Path) -> lightning.Trainer:
    """Lightning's trainer as the recipe sets it."""
    settings = recipe.trainer
    messages = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    messages.addFilter(_is_no_advertisement)
    return lightning.Trainer(
        max_steps=settings.max_steps,
        max_epochs=-1,
        precision=settings.precision,
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=_strategy(recipe),
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=recipe.optimiser.clip,
        logger=_logger(recipe, folder),
        callbacks=_callbacks(recipe, folder),
        plugins=[_WholeCheckpoints()],
        log_every_n_steps=settings.log_every,
        enable_model_summary=False,
        use_distributed_sampler=False,
        val_check_interval=recipe.validation.every * settings.accumulate or None,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if recipe.validation.every else 0,
        num_sanity_val_steps=0,
    )


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless cloud" not in record.getMessage()


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all: a process killed while it writes loses none."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        part = Path(f"{path}.part")
        super().save_checkpoint(checkpoint, part, storage_options)
        part.replace(path)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """A run that began with an earlier version goes on under today's names."""
        return cast(
            dict[str, Any], current_keys(super().load_checkpoint(path, *arguments, **options))
        )


def _strategy(recipe: Recipe) -> Strategy | str:
    settings = recipe.trainer
    if settings.strategy == "fsdp":
        if settings.ema:
            raise RecipeError("trainer.ema does not work with strategy fsdp; set it to 0.")
        if recipe.validation.every:
            raise RecipeError(
                "Validation does not work with strategy fsdp; set validation.every=0."
            )
        devices = (
            settings.devices if settings.devices != "auto" else max(1, torch.cuda.device_count())
        )
        return ModelParallelStrategy(
            data_parallel_size=devices * settings.nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
    if settings.strategy == "ddp" or settings.devices != 1 or settings.nodes > 1:
        # Which tokens and biases take part differs from batch to batch.
        return DDPStrategy(find_unused_parameters=True)
    return "auto"


def _save(recipe: Recipe, trainer: lightning.Trainer, model: UltraSam, out: Path) -> Path:
    """Save what was trained; all processes take part, the first one writes."""
    if recipe.trainer.strategy == "fsdp":
        model = _gathered(model)
    if trainer.is_global_zero:
        out.mkdir(parents=True, exist_ok=True)
        model.eval()
        adaptation = adaptation_of(recipe)
        if adaptation.kind != "full":
            save_adaptation(model, adaptation, out / ADAPTATION, init=_lasting_name(recipe.init))
        if adaptation.kind == "lora":
            merge(model)
        if adaptation.kind != "adapter":
            save_pretrained(model, out)
    trainer.strategy.barrier()
    return out


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


def _callbacks(recipe: Recipe, folder: Path) -> list[Callback]:
    settings = recipe.trainer
    callbacks: list[Callback] = [
        ModelCheckpoint(
            folder,
            filename="last",
            every_n_train_steps=settings.checkpoint_every,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        ),
        TQDMProgressBar(refresh_rate=settings.log_every),
    ]
    validation = recipe.validation
    if validation.every:
        callbacks.append(
            ModelCheckpoint(
                folder,
                filename="best",
                monitor=MEAN,
                mode="max",
                save_weights_only=True,
                enable_version_counter=False,
            )
        )
        if validation.patience:
            callbacks.append(EarlyStopping(MEAN, mode="max", patience=validation.patience))
    if settings.ema:
        callbacks.append(
            EMAWeightAveraging(decay=settings.ema, update_starting_at_step=settings.ema_start)
        )
    return callbacks


def _logger(recipe: Recipe, folder: Path) -> Logger:
    if recipe.trainer.logger == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        try:
            import_module("wandb")
        except ImportError as error:
            raise MissingDependencyError(
                "trainer.logger is wandb, which is not installed: pip install wandb."
            ) from error
        return WandbLogger(name=recipe.name, save_dir=folder)
    if recipe.trainer.logger == "tensorboard":
        return TensorBoardLogger(folder, name="log", version="")
    return CSVLogger(folder, name="log", version="")


def _steps_done(path: Path) -> int:
    """The step of a checkpoint that a run of ours wrote."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    return cast(int, content["global_step"])
