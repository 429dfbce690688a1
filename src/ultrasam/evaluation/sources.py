"""What an evaluation reads: a store, raw data sets, one's own folder, or a COCO file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.datasets.annotated_image import SPLITS, AnnotatedImage, Case, images_of
from ultrasam.datasets.catalogue import dataset, recognize
from ultrasam.datasets.custom import coco_file, detect_layout
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.discover import find_datasets
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DataError
from ultrasam.store.sampling import spread
from ultrasam.store.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is read at once: an image, a clip or a volume, of which all samples' names begin with ``key``."""

    dataset: str
    key: str
    read: Callable[[], Iterable[AnnotatedImage | Skip]]


@dataclass(frozen=True, slots=True)
class Collection:
    """One data set's units, and what listing them left out."""

    name: str
    units: tuple[Unit, ...]
    skips: tuple[Skip, ...] = ()


def open_evaluation_datasets(
    paths: Sequence[str],
    *,
    split: str | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
) -> list[Collection]:
    """The data sets in stores, folders and COCO files; folders beside them that are none are logged.

    Args:
        paths: each a store, a folder of data sets by their names, NAME=FOLDER, a folder of one's own images
            and masks, or a COCO file beside its images.
        split: of a store, train, val, test, or ``all`` three; where None, test, or all where there is no test
            side.
        only: names of data sets; all where empty.
        limit: most units of a data set, spread evenly over it.

    Raises:
        DataError: a path is missing or nothing is recognized in it.
    """
    found: dict[str, Collection] = {}
    for path in paths:
        for collection in _open(path, split, only):
            if collection.name in found:
                raise DataError(
                    f"{collection.name} is in two of the places that --data names; give it once."
                )
            found[collection.name] = subsample(collection, limit)
    absent = {dataset(name).info.id for name in only} - set(found)
    if absent and found:
        raise DataError(f"{', '.join(paths)} hold no {', '.join(sorted(absent))}.")
    if not found:
        raise DataError(f"Nothing to evaluate on is in {', '.join(paths) or 'no place'}.")
    return [found[name] for name in sorted(found)]


def subsample(collection: Collection, limit: int | None) -> Collection:
    """At most ``limit`` units of a collection, spread evenly over it."""
    if limit is None:
        return collection
    rows = spread(np.arange(len(collection.units)), limit)
    return Collection(
        collection.name, tuple(collection.units[row] for row in rows), collection.skips
    )


def _open(text: str, split: str | None, only: Sequence[str]) -> Iterator[Collection]:
    path = Path(text).expanduser()
    if (path / "manifest.json").exists():
        yield from _of_store(Store.open(path), split, only)
        return
    if path.suffix == ".json" and path.is_file():
        yield _of_raw(path.stem, coco_file(path.stem, path.name).list_cases(path.parent))
        return
    for name, data, folder in raw_datasets(text):
        if not only or data.info.id in {dataset(o).info.id for o in only}:
            yield _of_raw(name, data.list_cases(folder))


def raw_datasets(text: str) -> Iterator[tuple[str, DatasetSpec, Path]]:
    """Name, reader and folder of the data sets in a folder: by their folders' names, or NAME=FOLDER; custom
    folders by what is in them.

    Raises:
        DataError: nothing is recognized.
    """
    path = Path(text).expanduser()
    try:
        known = find_datasets([text])
    except DataError:
        if not path.is_dir():
            raise
        known = []
    yield from ((data.info.id, data, folder) for data, folder in known)
    if not path.is_dir():
        return
    taken = {folder.resolve() for _, folder in known}
    if path.resolve() in taken:
        return
    others, strange = [], []
    for child in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if not any(folder.is_relative_to(child.resolve()) for folder in taken):
            try:
                others.append((child.name, _told_by_name_or_layout(child), child))
            except DataError:
                strange.append(child)
    if known or others:
        for child in strange:
            logger.warning(
                "%s is not recognized as a data set and is left out; name it with NAME=%s.",
                child,
                child,
            )
        yield from others
    else:
        yield path.resolve().name, dataset(detect_layout(path)), path


def _told_by_name_or_layout(folder: Path) -> DatasetSpec:
    return recognize(folder.name) or dataset(detect_layout(folder))


def _of_raw(name: str, listed: tuple[list[Case], object]) -> Collection:
    cases, report = listed
    units = tuple(Unit(name, case.key, partial(images_of, case)) for case in cases)
    skips = tuple(skip for skip in report.skips if skip.damage)  # type: ignore[attr-defined]
    return Collection(name, units, skips)


def _of_store(store: Store, split: str | None, only: Sequence[str]) -> Iterator[Collection]:
    names = sorted(store.images["dataset"].cast("string").unique().to_pylist())
    wanted = {dataset(name).info.id for name in only}
    chosen = [split] if split else ["test"]
    if split == "all" or (split is None and not len(store.select(splits=["test"]))):
        chosen = list(SPLITS)
    for name in names:
        if wanted and name not in wanted:
            continue
        rows = store.select(datasets=[name], splits=chosen)
        if len(rows):
            keys = [str(store.images["name"][int(row)].as_py()) for row in rows]
            yield Collection(
                name,
                tuple(
                    Unit(name, key, partial(_stored, store, int(row), key))
                    for key, row in zip(keys, rows, strict=True)
                ),
            )


def _stored(store: Store, row: int, key: str) -> Iterator[AnnotatedImage | Skip]:
    try:
        yield store.image(row).loaded()
    except DataError as error:
        yield Skip(key, str(error), damage=True)
