"""From a recipe's data to each process's batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning
from torch.utils.data import DataLoader, Dataset, Sampler

from ultrasam.datasets.annotated_image import Sample
from ultrasam.datasets.catalogue import dataset
from ultrasam.errors import DataError
from ultrasam.model.config import ModelConfig
from ultrasam.prompt_simulation import ClickStyle
from ultrasam.store.sampling import spread
from ultrasam.store.splits import position
from ultrasam.store.store import Store
from ultrasam.training.augmentation import ViewStyle
from ultrasam.training.loader import (
    PromptStyle,
    Source,
    TrainingViews,
    collate,
    make_phantoms,
    read_images,
    store_sources,
)
from ultrasam.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Opened:
    """A recipe's data: what trains, and what validates, read when asked for."""

    sources: list[Source]
    held_out: list[Callable[[], Sample]]


def open_data(recipe: Recipe, *, say: Callable[[str], object]) -> Opened:
    """All sources of a recipe's data, each told in a line, and the images kept apart to validate on.

    Raises:
        DataError: a folder or store is missing or damaged.
    """
    sources = []
    held_out: list[Callable[[], Sample]] = []
    validating = recipe.validation
    if recipe.data.store is not None:
        wanted = recipe.data.store
        store = Store.open(wanted.path)
        sources += store_sources(
            store,
            split=wanted.split,
            datasets=wanted.datasets,
            temperature=wanted.temperature,
            weight=wanted.weight,
        )
        count = sum(len(source.images) for source in sources)
        if validating.every:
            rows = store.select(datasets=wanted.datasets, splits=["val"], with_instances=True)
            held_out += [partial(store.sample, row) for row in spread(rows, validating.images)]
        say(f"{wanted.path}: {count} images of {len(sources)} data sets")
    for entry in recipe.data.sources:
        if not entry.path.is_dir():
            raise DataError(
                f"{entry.dataset}: there is no folder {entry.path}; unpack the data there."
            )
        samples = dataset(entry.dataset).samples(entry.path)
        if validating.every:
            apart: list[Sample] = []
            samples = _without_held_out(samples, validating.share, apart)
            images = read_images(samples)
            room = max(0, validating.images - len(held_out))
            held_out += [partial(_same, sample) for sample in apart[:room]]
        else:
            images = read_images(samples)
        objects = sum(len(image.packed) for image in images)
        say(f"{entry.dataset}: {len(images)} images, {objects} objects")
        sources.append(Source(images, entry.weight))
    phantoms = recipe.data.phantoms
    if phantoms.count:
        images = make_phantoms(phantoms.count, seed=recipe.seed, workers=recipe.trainer.workers)
        objects = sum(len(image.packed) for image in images)
        say(f"phantoms: {len(images)} images, {objects} objects")
        sources.append(Source(images, phantoms.weight))
    if validating.every and not held_out:
        raise DataError(
            "There is no image to validate on; set validation.every=0, or build the store with --val."
        )
    return Opened(sources, held_out)


def _without_held_out(
    samples: Iterator[Sample], share: float, apart: list[Sample]
) -> Iterator[Sample]:
    """Samples of subjects that train; those held out that show an object are put into ``apart``."""
    for sample in samples:
        if position(sample.dataset, sample.subject) >= share:
            yield sample
        elif sample.instances:
            apart.append(sample)


def _same(sample: Sample) -> Sample:
    return sample


class Feeding(lightning.LightningDataModule):
    """Gives each process its batches, once it is known which process it is."""

    def __init__(
        self, recipe: Recipe, config: ModelConfig, opened: Opened, *, first_step: int
    ) -> None:
        super().__init__()
        self.recipe, self.config, self.opened = recipe, config, opened
        self.first_step = first_step

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return make_loader(
            self.recipe,
            self.config,
            self.opened.sources,
            first_step=self.first_step,
            rank=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )

    def val_dataloader(self) -> Any:
        """This process's share of the images kept apart, one at a time."""
        assert self.trainer is not None
        held_out, processes = self.opened.held_out, self.trainer.world_size
        if held_out and len(held_out) < processes:
            raise DataError(
                f"{len(held_out)} images to validate on are too few for {processes} processes; keep more "
                "apart (validation.share), or set validation.every=0."
            )
        mine = held_out[self.trainer.global_rank :: processes]
        return DataLoader(_Held(mine), batch_size=None, num_workers=0) if mine else []


class _Held(Dataset[Sample]):
    def __init__(self, readers: list[Callable[[], Sample]]) -> None:
        self.readers = readers

    def __len__(self) -> int:
        return len(self.readers)

    def __getitem__(self, index: int) -> Sample:
        return self.readers[index]()


def make_loader(
    recipe: Recipe,
    config: ModelConfig,
    sources: list[Source],
    *,
    first_step: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Any]:
    """The batches of one of ``processes``, from a step on."""
    settings, views, prompts = recipe.trainer, recipe.views, recipe.prompts
    steps = settings.max_steps * settings.accumulate
    data = TrainingViews(
        sources,
        length=steps * settings.batch * processes,
        image_size=config.image_size,
        mask_size=config.mask_size,
        views=ViewStyle(**views.model_dump()),
        prompts=PromptStyle(
            box=prompts.box,
            jitters=prompts.jitters,
            jitter_weights=prompts.jitter_weights,
            clicks=ClickStyle(
                central=prompts.central_clicks,
                scribble=prompts.scribbles,
                several=prompts.several_clicks,
                beside=prompts.clicks_beside,
            ),
            per_image=prompts.per_image,
        ),
        seed=recipe.seed,
    )
    return DataLoader(
        data,
        batch_size=settings.batch,
        sampler=StepSampler(
            first_step * settings.accumulate,
            steps,
            batch=settings.batch,
            rank=rank,
            processes=processes,
        ),
        num_workers=settings.workers,
        collate_fn=collate,
        persistent_workers=settings.workers > 0,
        drop_last=True,
    )


class StepSampler(Sampler[int]):
    """One process's share of indices in order: views are random by their index already.

    Each step takes the next ``batch`` × ``processes`` indices, of which this process has the
    ``rank``-th part, so that the images of a step don't hang on how many processes share them. Its length
    counts what was drawn before a resumption too, as Lightning's step counter does.
    """

    def __init__(
        self, first_step: int, steps: int, *, batch: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.first_step, self.steps, self.batch = first_step, steps, batch
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return self.steps * self.batch

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first_step, self.steps):
            start = (step * self.processes + self.rank) * self.batch
            yield from range(start, start + self.batch)
