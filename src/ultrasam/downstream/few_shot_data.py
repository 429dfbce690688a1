"""The images of few-shot fine-tuning: a pool to draw training images from, and a fixed test set.

Images of one subject, and images that are nearly the same, form a group; no group is in both.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import dataset_id
from ultrasam.datasets.custom import annotations_at, is_annotation_file
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import (
    EvaluationDataset,
    EvaluationItem,
    check_found,
    raw_datasets,
)
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.store.cache import cached_store
from ultrasam.store.sampling import spread
from ultrasam.store.store import Store
from ultrasam.text import counted


@dataclass(frozen=True)
class FewShotData:
    """One data set of a store, split into a training pool and a test set.

    All images have an object that is large enough to prompt.

    Attributes:
        name: of the data set in reports.
        dataset: its id in the store.
        place: where the data lie.
        store: holds the images.
        pool: rows [N] of the images to draw from, by name; all in the train split.
        test: rows [M] of the test images.
        how: a sentence on the split.
    """

    name: str
    dataset: str
    place: str
    store: Store
    pool: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    how: str

    def names(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Names of the images in some rows."""
        return [str(name) for name in self.store.images["name"].take(rows).to_pylist()]

    def groups(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """Groups of the images in some rows; see the module's docstring."""
        return [int(group) for group in self.store.images["group"].take(rows).to_pylist()]

    def draw(self, count: int, *, seed: int, repeat: int) -> list[str]:
        """Names of ``count`` training images.

        A larger draw of the same seed and repeat contains a smaller one. The images are of different groups
        as long as there are any.

        Raises:
            DataError: The pool has fewer images.
        """
        if count > len(self.pool):
            raise DataError(
                f"{self.name}: {counted(count, 'training image')} cannot be drawn from a pool of "
                f"{len(self.pool):,}."
            )
        rng = np.random.default_rng((seed, repeat, zlib.crc32(self.name.encode())))
        order = draw_order(self.groups(self.pool), rng)
        return self.names(self.pool[order[:count]])

    def content_hash(self, images: Sequence[str]) -> str:
        """Hash of the names, pixels and masks of the test images and of some images of the pool."""
        drawn = self.pool[np.isin(self.names(self.pool), list(images))]
        rows = np.concatenate([self.test, drawn])
        digest = hashlib.sha256("\n".join(self.names(rows)).encode())
        for pixels in self.store.images["sha256"].take(rows).to_pylist():
            digest.update(pixels if isinstance(pixels, bytes) else str(pixels).encode())
        for row in rows.tolist():
            for instance in self.store.instances_of(row):
                digest.update(self.store.instances["rle"][instance].as_py())
        return digest.hexdigest()

    def test_set(self) -> EvaluationDataset:
        """The test set to evaluate on; the subject of an image is the first one of its group."""
        names, groups = self.names(self.test), self.groups(self.test)
        first = _first_subjects(self.store)
        items = tuple(
            EvaluationItem(
                self.name, name, partial(_read, self.store, int(row), self.name, first[group])
            )
            for row, name, group in zip(self.test, names, groups, strict=True)
        )
        return EvaluationDataset(self.name, items, place=self.place)


def draw_order(groups: Sequence[int], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A random order [N] of images: one of each group, in a random order, then the second of each, …"""
    ids, index = np.unique(np.asarray(groups), return_inverse=True)
    of_group = rng.permutation(len(ids))[index]
    of_image = rng.permutation(len(index))
    round_of = np.empty(len(index), np.int64)
    for group in range(len(ids)):
        members = np.flatnonzero(of_group == group)
        round_of[members[np.argsort(of_image[members])]] = np.arange(len(members))
    return np.lexsort((of_group, round_of)).astype(np.int64)


def open_few_shot_data(
    paths: Sequence[str],
    *,
    datasets: Sequence[str] = (),
    test_fraction: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> list[FewShotData]:
    """The data sets of stores and folders, each with its training pool and its test set.

    A data set with a test split is tested on it, and its train split is the pool. Otherwise, a fraction of
    its groups is held out for testing.

    Args:
        paths: each a store, a folder of data sets (named after them, or NAME=FOLDER), a custom data set, or
            an annotation file next to its images.
        datasets: names of the data sets to open; if empty, all.
        test_fraction: fraction of the groups to test on.
        limit: maximum number of test images per data set, spread evenly over it.
        seed: of the split.

    Raises:
        DataError: A path is missing, or a data set has no image to test on or none to draw; or it appears
            twice or is absent.
    """
    selection = {dataset_id(name) for name in datasets}
    available, by_name = set[str](), dict[str, FewShotData]()
    for text in paths:
        for name, dataset, store, place in _stores(text, selection, available, workers):
            if name in by_name:
                raise DataError(
                    f"Data set '{name}' appears in two of the --data paths; give it once."
                )
            by_name[name] = _split(name, dataset, store, place, test_fraction, limit, seed)
    check_found(selection, available, paths)
    if not by_name:
        raise DataError(f"No images to train on in {', '.join(paths) or 'the data'}.")
    return [by_name[name] for name in sorted(by_name)]


def _stores(
    text: str, selection: set[str], available: set[str], workers: int
) -> Iterator[tuple[str, str, Store, str]]:
    """Name, id, store and place of each wanted data set at a path; the names of all go to ``there``."""
    path = Path(text).expanduser()
    if (path / "manifest.json").is_file():
        store = Store.open(path)
        available.update(store.manifest["datasets"])
        for name in store.manifest["datasets"]:
            if not selection or name in selection:
                yield name, name, store, str(path.resolve())
        return
    is_file = is_annotation_file(path)
    raw = [(path.stem, *annotations_at(path))] if is_file else list(raw_datasets(text))
    available.update(name for name, _, _ in raw)
    for name, spec, folder in raw:
        if not selection or {name, spec.info.id} & selection:
            store = cached_store(spec, folder, workers=workers)
            yield name, spec.info.id, store, str(folder.resolve())


def _split(
    name: str,
    dataset: str,
    store: Store,
    place: str,
    fraction: float,
    limit: int | None,
    seed: int,
) -> FewShotData:
    """Split one data set; see `open_few_shot_data`."""
    pool, test = (_usable(store, dataset, split) for split in ("train", "test"))
    how = "the test split of the data"
    if not len(test):
        pool, test = _hold_out(name, store, pool, fraction, seed)
        how = f"{fraction:.0%} of the subjects, held out with seed {seed}"
    if not len(pool):
        raise DataError(
            f"{name}: no image with an object of at least {MIN_OBJECT_PIXELS} pixels to train on in {place}."
        )
    evaluated = np.array(spread(test, len(test) if limit is None else limit), np.int64)
    data = FewShotData(name, dataset, place, store, pool, evaluated, "")
    beyond = f" (of {len(test):,}, evenly spaced)" if len(evaluated) < len(test) else ""
    return replace(
        data,
        how=f"{name}: training images are drawn from {_amount(data, pool)}; the test set is {how}: "
        f"{_amount(data, evaluated)}{beyond}.",
    )


def _amount(data: FewShotData, rows: npt.NDArray[np.int64]) -> str:
    subjects = counted(len(set(data.groups(rows))), "subject")
    return f"{counted(len(rows), 'image')} of {subjects}"


def _usable(store: Store, dataset: str, split: str) -> npt.NDArray[np.int64]:
    """Rows of the images of a split with an object that is large enough to prompt, by name."""
    rows = store.select(datasets=[dataset], splits=[split], with_instances=True)
    large = store.column("image")[store.column("area") >= MIN_OBJECT_PIXELS]
    rows = rows[np.isin(rows, large)]
    names = store.images["name"].take(rows).to_pylist()
    return rows[np.argsort(np.asarray(names, dtype=object), kind="stable")]


def _hold_out(
    name: str, store: Store, rows: npt.NDArray[np.int64], fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the pool and of the test set: the groups of one are not in the other.

    Raises:
        DataError: There are fewer than two groups.
    """
    groups = np.asarray(store.images["group"].take(rows).to_pylist(), np.int64)
    first = _first_subjects(store)
    ids = sorted(set(groups.tolist()), key=lambda group: first[group])
    if len(ids) < 2:
        raise DataError(
            f"{name}: {counted(len(rows), 'image')} with an object, of {counted(len(ids), 'subject')}; at "
            "least two subjects are needed, one of them to test on. Nearly equal images count as one."
        )
    count = min(len(ids) - 1, max(1, round(fraction * len(ids))))
    rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
    test_groups = {ids[i] for i in rng.permutation(len(ids))[:count]}
    tested = np.array([group in test_groups for group in groups.tolist()])
    return rows[~tested], rows[tested]


def _first_subjects(store: Store) -> dict[int, str]:
    """The first subject of each group, with its data set: what the images of the group count as."""
    columns = (store.images[c].cast("string").to_pylist() for c in ("dataset", "subject"))
    first: dict[int, str] = {}
    for group, dataset, subject in zip(store.images["group"].to_pylist(), *columns, strict=True):
        key = f"{dataset}/{subject}"
        first[group] = min(first.get(group, key), key)
    return first


def _read(store: Store, row: int, dataset: str, subject: str) -> Iterator[AnnotatedImage | Skip]:
    image = store.image(row)
    try:
        yield replace(image.loaded(), dataset=dataset, subject=subject)
    except DataError as error:
        yield Skip(image.name, str(error), damage=True)
