"""Open a recipe's data: one source per data set, and the validation images.

Stores, raw folders and phantoms are all read from a store, so that nothing is held in memory and all
processes of a run map the same files.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import DataError
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.store.cache import cached_store, phantom_store
from ultrasam.store.sampling import spread
from ultrasam.store.splits import EXCLUDED, held_out_images
from ultrasam.store.store import Store, StoredImages
from ultrasam.text import counted
from ultrasam.training.prompt_sampling import PromptSampling
from ultrasam.training.promptable_data import Source
from ultrasam.training.recipe import DataSource, Recipe, StoreSource

if TYPE_CHECKING:
    from ultrasam.datasets.description import DatasetSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecipeData:
    """Training sources and validation images."""

    sources: list[Source]
    validation: list[AnnotatedImage]


def open_data(recipe: Recipe) -> RecipeData:
    """Open and log all sources of a recipe, and hold out images for validation.

    Raw folders and phantoms are first built into cached stores, which takes a while the first time.

    Raises:
        DataError: A folder or store is missing or damaged, or there are no validation images.
    """
    sources: list[Source] = []
    validation: list[AnnotatedImage] = []
    validates = recipe.validation.every > 0
    if recipe.data.store is not None:
        found, held_out = _of_store(recipe.data.store, recipe)
        sources += found
        validation += held_out
    workers = recipe.trainer.workers
    for entry in recipe.data.sources:
        source, held_out = _of_raw(entry, recipe)
        sources.append(source)
        validation += held_out
    phantoms = recipe.data.phantoms
    if phantoms.count:
        store = phantom_store(phantoms.count, seed=recipe.seed, workers=workers)
        images = StoredImages(store, store.select(with_instances=True))
        logger.info("phantoms: %s", counted(len(images), "image"))
        sources.append(Source("phantoms", images, phantoms.weight))
    if validates and not validation:
        raise _no_validation()
    return RecipeData(sources, validation[: recipe.validation.images])


def store_sources(
    store: Store,
    *,
    split: str = "train",
    datasets: Sequence[str] | None = None,
    temperature: float = 1.0,
    shares: Mapping[str, float] | None = None,
    images: Sequence[str] | None = None,
    weight: float = 1.0,
    prompts: PromptSampling | None = None,
) -> list[Source]:
    """One source per data set of a store; together they are sampled with ``weight``.

    Args:
        datasets: names of data sets; None for all that have an object.
        temperature: data sets of n images are sampled in proportion to n ** (1 / temperature): 1 samples all
            images equally often, a high value all data sets.
        shares: relative sampling weights of data sets, in place of ``datasets`` and ``temperature``.
        images: names of images; None for all of the split.
        prompts: decides which data sets' images without an object are used, too; None for none.

    Raises:
        DataError: The store lacks a data set or an image, or no image of the split contains an object.
    """
    there = list(store.manifest["datasets"])
    names = list(shares or (there if datasets is None else datasets))
    if unknown := [name for name in names if name not in there]:
        raise DataError(
            f"{store.root} has no data set '{unknown[0]}'; it has {', '.join(sorted(there))}."
        )
    rows = {
        name: store.select(
            datasets=[name], splits=[split], with_instances=not _absent(prompts, name)
        )
        for name in names
    }
    if images is not None:
        rows = _named(store, rows, images, split)
    found = [name for name in names if len(rows[name])]
    if not found or (shares and len(found) < len(names)):
        empty = [name for name in names if name not in found]
        raise DataError(
            f"{store.root} has no image with an object in split '{split}' of {', '.join(empty)}."
        )
    drawn = [shares[name] if shares else len(rows[name]) ** (1 / temperature) for name in found]
    return [
        Source(name, StoredImages(store, rows[name]), weight * share / sum(drawn))
        for name, share in zip(found, drawn, strict=True)
    ]


def _named(
    store: Store, rows: Mapping[str, npt.NDArray[np.int64]], images: Sequence[str], split: str
) -> dict[str, npt.NDArray[np.int64]]:
    """Of the rows by data set, those of the images with these names.

    Raises:
        DataError: No data set has an image of one of the names.
    """
    names = {name: store.images["name"].take(found).to_pylist() for name, found in rows.items()}
    if absent := set(images) - {text for found in names.values() for text in found}:
        raise DataError(
            f"{store.root} has no image '{min(absent)}' with an object in split '{split}' of "
            f"{', '.join(rows)}."
        )
    return {name: found[np.isin(names[name], list(images))] for name, found in rows.items()}


def _absent(prompts: PromptSampling | None, source: str) -> bool:
    """Whether a source has prompts where there is no object."""
    return prompts is not None and prompts.absent_in(source) > 0


def reader_of(entry: DataSource) -> tuple[DatasetSpec, Path]:
    """The reader of a raw data set, and its folder.

    Raises:
        DataError: The data set is unknown, or its folder or annotation file does not exist.
    """
    # Readers of raw data need packages that a run on a store does without.
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.custom import annotations_at

    if entry.path.is_file():
        return annotations_at(entry.path)
    if not entry.path.is_dir():
        raise DataError(
            f"{entry.dataset}: folder {entry.path} does not exist; download and unpack the data there."
        )
    return dataset(entry.dataset), entry.path


def _of_store(wanted: StoreSource, recipe: Recipe) -> tuple[list[Source], list[AnnotatedImage]]:
    store = Store.open(wanted.path)
    sources = store_sources(store, **wanted.model_dump(exclude={"path"}), prompts=recipe.prompts)
    count = sum(len(source.images) for source in sources)
    logger.info(
        "%s: %s from %s",
        wanted.path, counted(count, "image"), counted(len(sources), "data set"),
    )  # fmt: skip
    if not recipe.validation.every:
        return sources, []
    datasets = wanted.shares or wanted.datasets
    rows = store.select(datasets=datasets, splits=["val"], with_instances=True)
    if len(rows):
        return sources, _validation(store, rows, recipe)
    rows = store.select(
        datasets=[source.name for source in sources], splits=[wanted.split], with_instances=True
    )
    chosen = _hold_out(store, rows, recipe)
    kept = [
        replace(source, images=StoredImages(store, np.setdiff1d(source.images.rows, rows[chosen])))
        for source in sources
        if isinstance(source.images, StoredImages)
    ]
    logger.info("%s: no val split, so %d images are held out", wanted.path, chosen.sum())
    return kept, _validation(store, rows[chosen], recipe)


def _of_raw(entry: DataSource, recipe: Recipe) -> tuple[Source, list[AnnotatedImage]]:
    from ultrasam.datasets.catalogue import called

    raw, folder = reader_of(entry)
    name = called(raw, entry.path)
    store = cached_store(raw, folder, workers=recipe.trainer.workers)
    absent = _absent(recipe.prompts, entry.dataset)
    rows = store.select(splits=["train", "val"], with_instances=not absent)
    note = _left_out(store, len(rows))
    if not len(rows):
        raise DataError(f"{name}: no image in {entry.path} contains an object to train on{note}.")
    held_out: list[AnnotatedImage] = []
    if recipe.validation.every:
        own = np.isin(rows, store.select(splits=["val"]))
        usable = _scored(store, rows[own]).any() and not own.all()
        chosen = own if usable else _hold_out(store, rows, recipe)
        held_out = _validation(store, rows[chosen], recipe)
        rows = rows[~chosen]
    objects = int(np.isin(store.column("image"), rows).sum())
    logger.info(
        "%s: %s, %s%s",
        name, counted(len(rows), "image"), counted(objects, "object"), note,
    )  # fmt: skip
    return Source(entry.dataset, StoredImages(store, rows), entry.weight), held_out


def _left_out(store: Store, trained: int) -> str:
    """A note in parentheses on the images that are not trained on; empty if all are."""
    counts = {
        "of the test split": len(store.select(splits=["test"])),
        "that leak between splits": len(store.select(splits=[EXCLUDED])),
        "without an object": len(store.select(splits=["train", "val"])) - trained,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f" (images left out: {', '.join(parts)})" if parts else ""


def _hold_out(store: Store, rows: npt.NDArray[np.int64], recipe: Recipe) -> npt.NDArray[np.bool_]:
    """Of the images [N] in some rows, those of subjects held out, which have an object to score.

    Subjects that share an image, or nearly so, are held out together.

    Raises:
        DataError: There are fewer than two such subjects.
    """
    groups = store.images["group"].take(rows).to_pylist()
    first: dict[int, tuple[str, str]] = {}
    for group, image in zip(groups, StoredImages(store, rows), strict=True):
        subject = (image.dataset, image.subject)
        first[group] = min(first.get(group, subject), subject)
    subjects = [first[group] for group in groups]
    scored = np.flatnonzero(_scored(store, rows)).tolist()
    if not scored:
        raise _no_validation()
    try:
        chosen = held_out_images([subjects[i] for i in scored], recipe.validation.fraction)
    except DataError as error:
        raise DataError(
            f"{error} Images that are nearly the same count as one. To train without validation, set "
            "validation.every=0."
        ) from error
    held = {subjects[i] for i, out in zip(scored, chosen, strict=True) if out}
    return np.array([subject in held for subject in subjects])


def _validation(store: Store, rows: npt.NDArray[np.int64], recipe: Recipe) -> list[AnnotatedImage]:
    """The images of some rows that validation can score, spread over all of them."""
    rows = rows[_scored(store, rows)]
    return list(StoredImages(store, np.array(spread(rows, recipe.validation.images), np.int64)))


def _scored(store: Store, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Of the images [N] in some rows, those with an object that is large enough to score."""
    return np.isin(rows, store.column("image")[store.column("area") >= MIN_OBJECT_PIXELS])


def _no_validation() -> DataError:
    return DataError(
        f"There is no validation image with an object of at least {MIN_OBJECT_PIXELS} pixels; increase "
        "validation.fraction, build a store with --val-fraction, or set validation.every=0."
    )
