"""The LightningModule, and `train`, which runs a recipe from data to a saved model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ultrasam.data.augment import ViewStyle
from ultrasam.data.catalogue import dataset
from ultrasam.data.loader import (
    Batch,
    PromptStyle,
    Source,
    TrainingViews,
    collate,
    make_phantoms,
    read_images,
    store_sources,
)
from ultrasam.errors import DataError, RecipeError
from ultrasam.model.config import CONFIGS
from ultrasam.model.prompt_encoder import BOTTOM_RIGHT, PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import ClickStyle
from ultrasam.training.interaction import LoopStyle, interact
from ultrasam.training.recipe import Recipe, save_recipe


class SegmentationTask(lightning.LightningModule):
    """Interactive training of one model as a recipe says."""

    def __init__(self, model: UltraSam, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        prompts, losses = recipe.prompts, recipe.losses
        self.style = LoopStyle(
            rounds=prompts.rounds,
            corrective=prompts.corrective,
            feedback_gradient=prompts.feedback_gradient,
            focal=losses.focal,
            dice=losses.dice,
            iou=losses.iou,
            alpha=losses.alpha,
            gamma=losses.gamma,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # The loop's randomness hangs on the step alone, so that a resumed run repeats it.
        generator = torch.Generator().manual_seed(self.recipe.seed * 2**32 + self.global_step)
        pixels = self.model.normalise(batch.pixels.expand(-1, 3, -1, -1))
        image = self.model.encode(pixels)
        rounds = interact(
            self.model,
            image,
            PromptTensors(batch.coords, batch.labels),
            batch.targets,
            image_index=batch.image_index,
            style=self.style,
            generator=generator,
        )
        loss = torch.stack([r.loss for r in rounds]).sum()
        boxes = (batch.labels == BOTTOM_RIGHT).any(dim=1)
        scores = {"loss": loss.detach()}
        for kind, chosen in (("box", boxes), ("click", ~boxes)):
            if bool(chosen.any()):
                scores[f"{kind}_iou"] = rounds[0].iou[chosen].mean()
                scores[f"{kind}_iou_last"] = rounds[-1].iou[chosen].mean()
        self.log_dict(scores, prog_bar=True, batch_size=len(batch.pixels))
        return loss

    def configure_optimizers(self) -> Any:
        settings, steps = self.recipe.optimiser, self.recipe.trainer.max_steps
        matrices = [p for p in self.model.parameters() if p.requires_grad and p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.requires_grad and p.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=settings.lr,
            betas=(0.9, 0.98),
        )
        decay_from = steps * (1 - settings.decay_share)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
            return warm * min(1.0, max(0.0, (steps - step) / max(1.0, steps - decay_from)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.to(device)


class _FromIndex(Sampler[int]):
    """Indices in order from ``start``: views are random by their index already.

    Its length counts what was drawn before a resumption too, as Lightning's step counter does.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return self.stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))


def train(
    recipe: Recipe, *, resume: bool = False, say: Callable[[str], object] = lambda _: None
) -> Path:
    """Run a recipe and save the trained model.

    Args:
        resume: go on from the last checkpoint in the recipe's output folder.
        say: told, in a line each, what data there are and how long it took.

    Returns:
        The folder of the saved model, ``<output>/<name>/model``.

    Raises:
        RecipeError: the output folder already holds a run, or has none to resume.
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
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    sources = _sources(recipe, say)
    model = (
        UltraSam.from_pretrained(recipe.init) if recipe.init else UltraSam(CONFIGS[recipe.model])
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_recipe(recipe, folder / "recipe.yaml")

    settings = recipe.trainer
    trainer = lightning.Trainer(
        max_steps=settings.max_steps,
        max_epochs=-1,
        precision=settings.precision,
        accelerator="auto",
        devices=1,
        gradient_clip_val=recipe.optimiser.clip,
        logger=_logger(recipe, folder),
        callbacks=_callbacks(recipe, folder),
        log_every_n_steps=settings.log_every,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    done = _steps_done(last) if resume else 0
    started = time.monotonic()
    with warnings.catch_warnings():
        # Our loader does resume: its views hang on their index alone.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        trainer.fit(
            SegmentationTask(model, recipe),
            _loader(recipe, model, sources, first_step=done),
            ckpt_path=str(last) if resume else None,
            weights_only=False if resume else None,
        )
    if trainer.interrupted:
        raise RecipeError(f"Training was interrupted; go on with --resume (from {last}).")
    say(f"{trainer.global_step - done} steps in {(time.monotonic() - started) / 60:.1f} minutes")
    out = folder / "model"
    model.eval().save_pretrained(out)
    return out


def _sources(recipe: Recipe, say: Callable[[str], object]) -> list[Source]:
    sources = []
    if recipe.data.store is not None:
        from ultrasam.data.store import Store

        wanted = recipe.data.store
        sources += store_sources(
            Store.open(wanted.path),
            split=wanted.split,
            datasets=wanted.datasets,
            temperature=wanted.temperature,
            weight=wanted.weight,
        )
        count = sum(len(source.images) for source in sources)
        say(f"{wanted.path}: {count} images of {len(sources)} data sets")
    for entry in recipe.data.sources:
        if not entry.path.is_dir():
            raise DataError(
                f"{entry.dataset}: there is no folder {entry.path}; unpack the data there."
            )
        images = read_images(dataset(entry.dataset).samples(entry.path))
        objects = sum(len(image.packed) for image in images)
        say(f"{entry.dataset}: {len(images)} images, {objects} objects")
        sources.append(Source(images, entry.weight))
    phantoms = recipe.data.phantoms
    if phantoms.count:
        images = make_phantoms(phantoms.count, seed=recipe.seed, workers=recipe.trainer.workers)
        objects = sum(len(image.packed) for image in images)
        say(f"phantoms: {len(images)} images, {objects} objects")
        sources.append(Source(images, phantoms.weight))
    return sources


def _loader(
    recipe: Recipe, model: UltraSam, sources: list[Source], *, first_step: int
) -> DataLoader[Any]:
    settings, views, prompts = recipe.trainer, recipe.views, recipe.prompts
    length = settings.max_steps * settings.batch
    data = TrainingViews(
        sources,
        length=length,
        image_size=model.config.image_size,
        mask_size=model.config.mask_size,
        views=ViewStyle(**views.model_dump()),
        prompts=PromptStyle(
            box=prompts.box,
            jitters=prompts.jitters,
            jitter_weights=prompts.jitter_weights,
            clicks=ClickStyle(central=prompts.central_clicks),
            per_image=prompts.per_image,
        ),
        seed=recipe.seed,
    )
    return DataLoader(
        data,
        batch_size=settings.batch,
        sampler=_FromIndex(first_step * settings.batch, length),
        num_workers=settings.workers,
        collate_fn=collate,
        persistent_workers=settings.workers > 0,
        drop_last=True,
    )


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
    if settings.ema:
        callbacks.append(
            EMAWeightAveraging(decay=settings.ema, update_starting_at_step=settings.ema_start)
        )
    return callbacks


def _logger(recipe: Recipe, folder: Path) -> Logger:
    if recipe.trainer.logger == "tensorboard":
        return TensorBoardLogger(folder, name="log", version="")
    return CSVLogger(folder, name="log", version="")


def _steps_done(path: Path) -> int:
    """The step of a checkpoint that a run of ours wrote."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    return cast(int, content["global_step"])
