"""Images to evaluate on: from stores, raw data sets, custom folders and COCO files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.datasets.annotated_image import SPLITS, AnnotatedImage, Case, images_of
from ultrasam.datasets.annotation_files import has_images
from ultrasam.datasets.catalogue import dataset, recognize
from ultrasam.datasets.custom import coco_at, detect_layout
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.discover import find_datasets
from ultrasam.datasets.file_tree import Skip, SkipReport
from ultrasam.errors import DataError
from ultrasam.store.sampling import spread
from ultrasam.store.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """Images that are read together: a still, a clip or a volume.

    Attributes:
        key: prefix of the names of all its images.
    """

    dataset: str
    key: str
    read: Callable[[], Iterable[AnnotatedImage | Skip]]


@dataclass(frozen=True, slots=True)
class EvaluationDataset:
    """The items of one data set.

    Attributes:
        skips: damaged files found while listing.
    """

    name: str
    items: tuple[EvaluationItem, ...]
    skips: tuple[Skip, ...] = ()


def open_evaluation_datasets(
    paths: Sequence[str],
    *,
    split: str | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
) -> list[EvaluationDataset]:
    """Open data sets from stores, folders and COCO files; log subfolders that are not data sets.

    Args:
        paths: each a store, a folder of data sets (named after them, or NAME=FOLDER), a custom data set
            (images and masks), or a COCO file next to its images.
        split: split of a store: train, val, test or ``all``; None uses test, or all splits if there is no
            test split.
        only: names of the data sets to open; if empty, all.
        limit: maximum number of items per data set, spread evenly over it.

    Raises:
        DataError: A path is missing or contains no data set, or a data set appears twice.
    """
    opened: dict[str, EvaluationDataset] = {}
    for path in paths:
        for data in _open(path, split, only):
            if data.name in opened:
                raise DataError(
                    f"Data set '{data.name}' appears in two of the --data paths; give it once."
                )
            opened[data.name] = subsample(data, limit)
    absent = {dataset(name).info.id for name in only} - set(opened)
    if absent and opened:
        raise DataError(f"{', '.join(sorted(absent))} not found in {', '.join(paths)}.")
    if not opened:
        raise DataError(f"No images to evaluate on in {', '.join(paths) or 'the data'}.")
    return [opened[name] for name in sorted(opened)]


def subsample(data: EvaluationDataset, limit: int | None) -> EvaluationDataset:
    """At most ``limit`` items of a data set, spread evenly over it; all for None."""
    if limit is None:
        return data
    rows = spread(np.arange(len(data.items)), limit)
    return EvaluationDataset(data.name, tuple(data.items[row] for row in rows), data.skips)


def _open(text: str, split: str | None, only: Sequence[str]) -> Iterator[EvaluationDataset]:
    path = Path(text).expanduser()
    if (path / "manifest.json").exists():
        yield from _from_store(Store.open(path), split, only)
        return
    if path.suffix.lower() == ".json" and path.is_file():
        spec, folder = coco_at(path)
        yield _from_cases(path.stem, spec.list_cases(folder))
        return
    for name, data, folder in raw_datasets(text):
        if not only or data.info.id in {dataset(o).info.id for o in only}:
            yield _from_cases(name, data.list_cases(folder))


def raw_datasets(text: str) -> Iterator[tuple[str, DatasetSpec, Path]]:
    """Name, reader and folder of each data set in a folder.

    Data sets are recognized by folder name or by NAME=FOLDER, custom data sets by their layout.

    Raises:
        DataError: The folder is missing or contains no data set.
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
    custom, unknown = [], []
    children = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not known and any(_without_its_images(child) for child in children):
        # annotations/ beside images/: this folder is the data set, not its children.
        yield path.resolve().name, dataset(detect_layout(path)), path
        return
    for child in children:
        if not any(folder.is_relative_to(child.resolve()) for folder in taken):
            try:
                custom.append((child.name, _by_name_or_layout(child), child))
            except DataError:
                unknown.append(child)
    if known or custom:
        for child in unknown:
            logger.warning(
                "Ignoring %s: not a known data set. To include it, pass NAME=%s.", child, child
            )
        yield from custom
    else:
        yield path.resolve().name, dataset(detect_layout(path)), path


def _without_its_images(folder: Path) -> bool:
    """Whether a folder contains annotation files, but no image."""
    if has_images(folder):
        return False
    try:
        detect_layout(folder)
    except DataError:
        return False
    return True


def _by_name_or_layout(folder: Path) -> DatasetSpec:
    return recognize(folder.name) or dataset(detect_layout(folder))


def _from_cases(name: str, listed: tuple[list[Case], SkipReport]) -> EvaluationDataset:
    cases, report = listed
    for note in report.notes:
        logger.info("%s: %s", name, note)
    items = tuple(EvaluationItem(name, case.key, partial(images_of, case)) for case in cases)
    skips = tuple(skip for skip in report.skips if skip.damage)
    return EvaluationDataset(name, items, skips)


def _from_store(
    store: Store, split: str | None, only: Sequence[str]
) -> Iterator[EvaluationDataset]:
    names = sorted(store.images["dataset"].cast("string").unique().to_pylist())
    selected = {dataset(name).info.id for name in only}
    splits = [split] if split else ["test"]
    if split == "all" or (split is None and not len(store.select(splits=["test"]))):
        splits = list(SPLITS)
    for name in names:
        if selected and name not in selected:
            continue
        rows = store.select(datasets=[name], splits=splits)
        if len(rows):
            keys = [str(store.images["name"][int(row)].as_py()) for row in rows]
            yield EvaluationDataset(
                name,
                tuple(
                    EvaluationItem(name, key, partial(_read_stored, store, int(row), key))
                    for key, row in zip(keys, rows, strict=True)
                ),
            )


def _read_stored(store: Store, row: int, key: str) -> Iterator[AnnotatedImage | Skip]:
    try:
        yield store.image(row).loaded()
    except DataError as error:
        yield Skip(key, str(error), damage=True)
