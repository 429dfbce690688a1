"""Labelled images: from a folder of classes, a CSV file, a store or raw data sets; split by subject."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Sample
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DataError, ScanError
from ultrasam.images.pixels import grey
from ultrasam.images.reading import read_scan, scan_suffixes
from ultrasam.store.store import Store

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image, not read yet: its class, and the subject that decides on which side it stands."""

    name: str
    label: str
    subject: str
    read: Callable[[], Pixels]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """All labelled images, and what was left out, one sentence each."""

    items: tuple[Labelled, ...]
    left_out: tuple[str, ...]

    @property
    def classes(self) -> list[str]:
        return sorted({item.label for item in self.items})


def open_labelled(path: Path) -> LabelledSet:
    """Labelled images of a store, of a CSV file (columns path, label, and subject if there is one), of a
    folder with one folder per class, or of a folder of raw data sets that have classes.

    Images that can't be read are left out and told. The subject is the image where it isn't known.

    Raises:
        DataError: missing, no labels, or a table without the columns.
    """
    if (path / "manifest.json").exists():
        items = _of_store(Store.open(path))
        left: list[str] = []
    elif path.is_file():
        items, left = _of_table(path)
    elif path.is_dir():
        items, left = _of_folder(path)
        if not items:
            items, left = _of_raw(path)
    else:
        raise DataError(
            f"There is no {path}; give a folder with one folder per class, a CSV file or a store."
        )
    kept = []
    for item in items:
        try:
            item.read()
        except (ScanError, DataError) as error:
            left.append(f"{item.name}: {error}")
        else:
            kept.append(item)
    _check(kept, path)
    return LabelledSet(tuple(kept), tuple(left))


def _check(items: Sequence[Labelled], path: Path) -> None:
    counts = Counter(item.label for item in items)
    if len(counts) < 2:
        raise DataError(
            f"{path} holds {len(items)} readable images of {len(counts)} classes; two classes are needed."
        )


def keep_classes(found: LabelledSet, wanted: Sequence[str]) -> LabelledSet:
    """Only some classes.

    Raises:
        DataError: there is no image of one of them.
    """
    absent = sorted(set(wanted) - set(found.classes))
    if absent:
        raise DataError(
            f"There is no image of class '{absent[0]}'; there are {', '.join(found.classes)}."
        )
    items = tuple(item for item in found.items if item.label in wanted)
    left = len(found.items) - len(items)
    told = (f"{left} images of classes that were not asked for",) if left else ()
    return LabelledSet(items, (*found.left_out, *told))


def folds_of(
    items: Sequence[Labelled], count: int, *, seed: int = 0
) -> list[tuple[list[int], list[int]]]:
    """``count`` pairs of training and test indices: classes in proportion, no subject in both.

    Raises:
        DataError: a class has fewer subjects than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    subjects: dict[str, set[str]] = {}
    for item in items:
        subjects.setdefault(item.label, set()).add(item.subject)
    least = min(subjects, key=lambda label: len(subjects[label]))
    if len(subjects[least]) < count:
        raise DataError(
            f"Class '{least}' has images of {len(subjects[least])} subjects, too few for {count} folds; "
            "lower --folds, leave the class out with --classes, or add images."
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    labels, groups = [i.label for i in items], [i.subject for i in items]
    return [(a.tolist(), b.tolist()) for a, b in splitter.split(labels, labels, groups)]


class OfSubject(Protocol):
    """Anything that is of a subject."""

    @property
    def subject(self) -> str: ...


def check_subjects(train: Iterable[OfSubject], test: Iterable[OfSubject]) -> None:
    """Refuse a subject that is in both training and test sets.

    Raises:
        DataError: there is one.
    """
    both = {i.subject for i in train} & {i.subject for i in test}
    if both:
        raise DataError(
            f"Subject '{min(both)}' and {len(both) - 1} more stand on both sides, in training and in test; "
            "images of one subject belong on one side."
        )


def check_apart(train: Sequence[Labelled], test: Sequence[Labelled]) -> None:
    """Refuse a subject that is in both sets, and classes in the test set that training never saw.

    Raises:
        DataError: either.
    """
    check_subjects(train, test)
    unknown = sorted({i.label for i in test} - {i.label for i in train})
    if unknown:
        raise DataError(
            f"The test data have the class '{unknown[0]}', of which training has no image."
        )


def _of_store(store: Store) -> list[Labelled]:
    labels = store.images["class_label"].to_pylist()
    names, subjects, splits, sets = (
        store.images[c].cast("string").to_pylist() for c in ("name", "subject", "split", "dataset")
    )
    return [
        Labelled(
            f"{sets[row]}/{names[row]}", str(label), f"{sets[row]}/{subjects[row]}",
            partial(store.pixels, row), splits[row],
        )
        for row, label in enumerate(labels)
        if label is not None and splits[row] != "excluded"
    ]  # fmt: skip


def _of_table(path: Path) -> tuple[list[Labelled], list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader(lines)
        if not {"path", "label"} <= set(table.fieldnames or ()):
            raise DataError(
                f"{path} has the columns {', '.join(table.fieldnames or ['none'])}; 'path' and 'label' are "
                "needed, 'subject' and 'split' are welcome."
            )
        rows = list(table)
    items = []
    for row in rows:
        file = path.parent / row["path"]
        subject = row.get("subject") or row["path"]
        items.append(
            Labelled(
                row["path"], row["label"], subject, partial(_read, file), row.get("split") or None
            )
        )
    return items, []


def _of_folder(path: Path) -> tuple[list[Labelled], list[str]]:
    items = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(
            p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(scan_suffixes())
        )
        items += [
            Labelled(
                f"{folder.name}/{f.name}", folder.name, f"{folder.name}/{f.name}", partial(_read, f)
            )
            for f in files
        ]
    return (items, []) if len({item.label for item in items}) > 1 else ([], [])


def _of_raw(path: Path) -> tuple[list[Labelled], list[str]]:
    from ultrasam.datasets.discover import find_datasets

    items, damaged = list[Labelled](), list[Skip]()
    for data, folder in find_datasets([str(path)]):
        items += labelled_of(data.samples(folder, skipped=damaged.append))
    return items, [f"{skip.where}: {skip.reason}" for skip in damaged if skip.damage]


def labelled_of(samples: Iterable[Sample]) -> list[Labelled]:
    """Samples whose images have a class, held in memory."""
    return [
        Labelled(
            f"{sample.dataset}/{sample.name}", sample.class_label, f"{sample.dataset}/{sample.subject}",
            partial(_held, grey(sample.pixels)), sample.split,
        )
        for sample in samples
        if sample.class_label is not None
    ]  # fmt: skip


def _read(file: Path) -> Pixels:
    return grey(read_scan(file).frame(0))


def _held(pixels: Pixels) -> Pixels:
    return pixels
