"""Images to evaluate on: from stores, raw data sets, custom folders and annotation files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.datasets.annotated_image import SPLITS, AnnotatedImage, Case, images_of
from ultrasam.datasets.catalogue import dataset, dataset_id, recognize
from ultrasam.datasets.custom import annotations_at, detect_layout, is_annotation_file
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.discover import find_datasets
from ultrasam.datasets.file_tree import Skip, SkipReport
from ultrasam.datasets.image_mask_folder import mask_pairs
from ultrasam.datasets.split_names import split_of
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
        skips: what was left out while listing.
        not_chosen: sentences on the images that were not asked for: of other splits, or beyond a limit.
        place: where it lies, to tell data sets of one name apart; empty if unknown.
        whole: its items before a limit; empty without one.
    """

    name: str
    items: tuple[EvaluationItem, ...]
    skips: tuple[Skip, ...] = ()
    not_chosen: tuple[str, ...] = ()
    place: str = ""
    whole: tuple[EvaluationItem, ...] = ()


def open_evaluation_datasets(
    paths: Sequence[str],
    *,
    split: str | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
) -> list[EvaluationDataset]:
    """Open data sets from stores, folders and annotation files; log subfolders that are not data sets.

    Args:
        paths: each a store, a folder of data sets (named after them, or NAME=FOLDER), a custom data set
            (images and masks), or an annotation file next to its images.
        split: split of a store: train, val, test or ``all``; None uses test, or all splits if there is no
            test split.
        only: names of the data sets to open; if empty, all.
        limit: maximum number of items per data set, spread evenly over it.

    Raises:
        DataError: A path is missing or contains no data set, or a data set appears twice.
    """
    opened: dict[str, EvaluationDataset] = {}
    selection, available = {dataset_id(name) for name in only}, set[str]()
    for path in paths:
        for data in _open(path, split, selection, available):
            if data.name in opened:
                raise DataError(
                    f"Data set '{data.name}' appears in two of the --data paths; give it once."
                )
            opened[data.name] = subsample(data, limit)
    check_found(selection, available, paths)
    if not opened:
        raise DataError(f"No images to evaluate on in {', '.join(paths) or 'the data'}.")
    return [opened[name] for name in sorted(opened)]


def check_found(
    selection: Collection[str], available: Collection[str], paths: Sequence[str]
) -> None:
    """Refuse data sets that were asked for and are not there.

    Raises:
        DataError: One of ``wanted`` is not among the names and ids ``there``.
    """
    if absent := sorted(set(selection) - set(available)):
        listing = f"; there are {', '.join(sorted(available))}" if available else ""
        raise DataError(f"{', '.join(absent)} not found in {', '.join(paths)}{listing}.")


def subsample(data: EvaluationDataset, limit: int | None) -> EvaluationDataset:
    """At most ``limit`` items of a data set, spread evenly over it; all for None."""
    if limit is None or limit >= len(data.items):
        return data
    rows = spread(np.arange(len(data.items)), limit)
    are = "is" if len(rows) == 1 else "are"
    note = (
        f"{data.name}: {len(rows):,} of {len(data.items):,} items {are} evaluated, evenly spaced; the limit "
        "leaves out the others."
    )
    return replace(
        data,
        items=tuple(data.items[row] for row in rows),
        not_chosen=(*data.not_chosen, note),
        whole=data.whole or data.items,
    )


def _open(
    text: str, split: str | None, selection: set[str], available: set[str]
) -> Iterator[EvaluationDataset]:
    """The data sets at a path that are wanted, all if none is named; the names of all go to ``there``."""
    path = Path(text).expanduser()
    if (path / "manifest.json").exists():
        for data in _from_store(Store.open(path), split, selection, available):
            yield replace(data, place=str(path.resolve()))
        return
    if is_annotation_file(path):
        spec, folder = annotations_at(path)
        available.add(path.stem)
        if not selection or path.stem in selection:
            opened = _from_cases(path.stem, spec.list_cases(folder))
            yield replace(opened, place=str(path.resolve()))
        return
    for name, spec, folder in raw_datasets(text):
        available.add(name)
        if not selection or {name, spec.info.id} & selection:
            opened = _from_cases(name, spec.list_cases(folder))
            yield replace(opened, place=str(folder.resolve()))


def raw_datasets(text: str) -> Iterator[tuple[str, DatasetSpec, Path]]:
    """Name, reader and folder of each data set in a folder.

    Data sets are recognized by folder name or by NAME=FOLDER, custom data sets by their layout. A custom data
    set may be spread over subfolders, such as ``annotations`` and ``images``, or ``train`` and ``test``.

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
    if known or not _is_one_dataset(path, children):
        for child in children:
            if not any(folder.is_relative_to(child.resolve()) for folder in taken):
                try:
                    custom.append((child.name, _whole_dataset(child), child))
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


def _is_one_dataset(path: Path, children: Sequence[Path]) -> bool:
    """Whether a data set is spread over the folders in ``path``: images/ and masks/, or train/ and test/."""
    return all(split_of(child.name) for child in children) or any(
        image.parts[0] != mask.parts[0] for image, mask in mask_pairs(path)
    )


def _whole_dataset(folder: Path) -> DatasetSpec:
    """The data set in a folder, by its name or layout.

    Raises:
        DataError: It has neither, or no annotated image: its annotations or images may be elsewhere.
    """
    spec = recognize(folder) or dataset(detect_layout(folder))
    spec.count(folder)
    return spec


def _from_cases(name: str, listed: tuple[list[Case], SkipReport]) -> EvaluationDataset:
    cases, report = listed
    for note in report.notes:
        logger.debug("%s: %s", name, note)
    items = tuple(EvaluationItem(name, case.key, partial(images_of, case)) for case in cases)
    return EvaluationDataset(name, items, tuple(report.skips))


def _from_store(
    store: Store, split: str | None, selection: set[str], available: set[str]
) -> Iterator[EvaluationDataset]:
    names = sorted(store.images["dataset"].cast("string").unique().to_pylist())
    available.update(names)
    splits = [split] if split else ["test"]
    if split == "all" or (split is None and not len(store.select(splits=["test"]))):
        splits = list(SPLITS)
    for name in names:
        if selection and name not in selection:
            continue
        rows = store.select(datasets=[name], splits=splits)
        others = _other_splits(store, name, splits)
        if len(rows):
            keys = [str(store.images["name"][int(row)].as_py()) for row in rows]
            yield EvaluationDataset(
                name,
                tuple(
                    EvaluationItem(name, key, partial(_read_stored, store, int(row), key))
                    for key, row in zip(keys, rows, strict=True)
                ),
                not_chosen=(others,) if others else (),
            )
        else:
            logger.warning("%s", others)


def _other_splits(store: Store, name: str, splits: Sequence[str]) -> str:
    """A sentence on the images of a data set that are in none of the splits; empty if there are none."""
    rows = store.select(datasets=[name])
    counts = Counter(store.images["split"].cast("string").take(rows).to_pylist())
    evaluated = sum(counts.pop(split, 0) for split in splits)
    if not counts:
        return ""
    rest = ", ".join(f"{count:,} in {split}" for split, count in sorted(counts.items()))
    total = sum(counts.values()) + evaluated
    return (
        f"{name}: {evaluated:,} of {total:,} images are evaluated, those in {' and '.join(splits)}; "
        f"left out are {rest}."
    )


def _read_stored(store: Store, row: int, key: str) -> Iterator[AnnotatedImage | Skip]:
    try:
        yield store.image(row).loaded()
    except DataError as error:
        yield Skip(key, str(error), damage=True)
