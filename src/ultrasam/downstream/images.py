"""Images to fine-tune on: from stores, raw data sets, folders of classes or CSV files; never read before they
are needed."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultrasam.datasets.annotated_image import SPLITS, AnnotatedImage
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.custom import coco_file
from ultrasam.downstream.targets import check_subjects
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import raw_datasets
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame, Gray, gray
from ultrasam.images.reading import read_scan, scan_suffixes
from ultrasam.store.cache import cached_store
from ultrasam.store.store import Store, StoredImages

logger = logging.getLogger(__name__)


def open_images(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> list[AnnotatedImage]:
    """All images of `open_datasets`, data set by data set."""
    found = open_datasets(paths, datasets=datasets, workers=workers)
    return [image for name in sorted(found) for image in found[name]]


def open_datasets(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> dict[str, Sequence[AnnotatedImage]]:
    """Annotated images of stores, raw data sets, custom folders and COCO files, by data set.

    Raw data are built into cached stores first. What is left out is logged.

    Args:
        paths: each a store, a folder of data sets by their names, NAME=FOLDER, a folder of one's own images
            and masks, or a COCO file beside its images.
        datasets: ids; only these are opened. One that is nowhere is missing from the result.

    Raises:
        DataError: a path is missing, nothing is recognized in it, or a data set is in two places.
    """
    wanted = {dataset_id(name) for name in datasets}
    found: dict[str, Sequence[AnnotatedImage]] = {}
    for text in paths:
        for name, images in _open(text, wanted, workers):
            if name in found:
                raise DataError(f"{name} is in two of the places that --data names; give it once.")
            found[name] = images
    if not found and not wanted:
        raise DataError(f"There is nothing to train on in {', '.join(paths) or 'no place'}.")
    return found


def _open(text: str, wanted: set[str], workers: int) -> list[tuple[str, Sequence[AnnotatedImage]]]:
    path = Path(text).expanduser()
    if (path / "manifest.json").exists():
        store = Store.open(path)
        return [
            (name, StoredImages(store, store.select(datasets=[name], splits=SPLITS)))
            for name in store.manifest["datasets"]
            if not wanted or name in wanted
        ]
    if path.suffix == ".json" and path.is_file():
        raw = [(path.stem, coco_file(path.stem, path.name), path.parent)]
    else:
        raw = list(raw_datasets(text))
    opened: list[tuple[str, Sequence[AnnotatedImage]]] = []
    for name, data, folder in raw:
        if wanted and data.info.id not in wanted:
            continue
        store = cached_store(data, folder, workers=workers)
        images = StoredImages(store, store.select(splits=SPLITS))
        # A custom folder is known by its own name, not by that of its layout.
        opened.append((name, [replace(image, dataset=name) for image in images]))
    return opened


def dataset_id(name: str) -> str:
    """The id of a data set by any of its names; of a custom folder, its name."""
    try:
        return dataset(name).info.id
    except DataError:
        return name  # a custom folder


@dataclass(frozen=True, slots=True)
class ClassImages:
    """Images that have a class, and what was left out, one sentence each."""

    images: tuple[AnnotatedImage, ...]
    left_out: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        return sorted({label_of(image) for image in self.images})


def label_of(image: AnnotatedImage) -> str:
    """The class of an image that has one."""
    assert image.class_label is not None
    return image.class_label


def open_class_images(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> ClassImages:
    """Images with a class: of a folder with one folder per class, a CSV file (columns path and label; subject
    and split, if there are), a store, or raw data sets that have classes.

    An image is its own subject if the subject is not known. Files that cannot be read are left out.

    Raises:
        DataError: missing, fewer than two classes, or a table without the columns.
    """
    images: list[AnnotatedImage] = []
    left_out: list[str] = []
    for text in paths:
        path = Path(text).expanduser()
        files: list[AnnotatedImage] | None = None
        if path.is_file() and path.suffix.lower() == ".csv":
            files = _of_table(path)
        elif path.is_dir() and not (path / "manifest.json").exists():
            files = _of_folder(path)
        if files is None:
            found = open_images([text], datasets=datasets, workers=workers)
            images += [image for image in found if image.class_label is not None]
            continue
        if datasets:
            raise DataError(f"{text} is not a store or a folder of data sets; leave --dataset out.")
        for image in files:
            reason = _unreadable(image)
            if reason is None:
                images.append(image)
            else:
                left_out.append(f"{image.name}: {reason}")
    counts = Counter(image.class_label for image in images)
    if len(counts) < 2:
        raise DataError(
            f"{', '.join(paths)}: {len(images)} readable images of {len(counts)} classes; at least two "
            "classes are needed."
        )
    return ClassImages(tuple(images), tuple(left_out))


def keep_classes(found: ClassImages, wanted: Sequence[str]) -> ClassImages:
    """Only some classes.

    Raises:
        DataError: there is no image of one of them.
    """
    absent = sorted(set(wanted) - set(found.classes))
    if absent:
        raise DataError(
            f"There is no image of class '{absent[0]}'; the classes are {', '.join(found.classes)}."
        )
    images = tuple(image for image in found.images if image.class_label in wanted)
    others = len(found.images) - len(images)
    note = (f"{others} images of other classes",) if others else ()
    return ClassImages(images, (*found.left_out, *note))


def folds_of(
    images: Sequence[AnnotatedImage], count: int, *, seed: int = 0
) -> list[tuple[list[int], list[int]]]:
    """``count`` pairs of training and test indices: classes in proportion, no subject in both.

    Raises:
        DataError: a class has fewer subjects than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    subjects: dict[str, set[str]] = {}
    for image in images:
        subjects.setdefault(label_of(image), set()).add(image.subject_key)
    rarest = min(subjects, key=lambda label: len(subjects[label]))
    if len(subjects[rarest]) < count:
        raise DataError(
            f"Class '{rarest}' has images of {len(subjects[rarest])} subjects, too few for {count} folds; "
            "lower --folds, leave the class out with --class, or add images."
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    labels, groups = [label_of(i) for i in images], [i.subject_key for i in images]
    return [(a.tolist(), b.tolist()) for a, b in splitter.split(labels, labels, groups)]


def check_classes(train: Sequence[AnnotatedImage], test: Sequence[AnnotatedImage]) -> None:
    """Refuse a subject that is in both sets, and a class in the test set that training does not have.

    Raises:
        DataError: either.
    """
    check_subjects(train, test)
    unknown = sorted({label_of(i) for i in test} - {label_of(i) for i in train})
    if unknown:
        raise DataError(
            f"The test data have the class '{unknown[0]}', of which training has no image."
        )


@dataclass(frozen=True, slots=True)
class _File:
    """An image file without annotations of objects."""

    path: Path

    def pixels(self) -> Frame:
        return read_scan(self.path).frame(0)

    def gray(self) -> Gray:
        return gray(self.pixels())

    def structures(self) -> tuple[str, ...]:
        return ()

    def areas(self) -> tuple[int, ...]:
        return ()

    def mask(self, index: int) -> BoolMask:
        raise IndexError(index)


def _unreadable(image: AnnotatedImage) -> str | None:
    """Why a file cannot be read; None if it can."""
    try:
        image.reader.pixels()
    except (DataError, ValueError) as error:
        return str(error)
    return None


def _of_table(path: Path) -> list[AnnotatedImage]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader(lines)
        if not {"path", "label"} <= set(table.fieldnames or ()):
            raise DataError(
                f"{path} has the columns {', '.join(table.fieldnames or ['none'])}; 'path' and 'label' are "
                "needed, 'subject' and 'split' are optional."
            )
        rows: list[dict[str, Any]] = list(table)
    return [
        AnnotatedImage(
            "",
            row["path"],
            row.get("subject") or row["path"],
            row["path"],
            _File(path.parent / row["path"]),
            split=row.get("split") or None,
            class_label=row["label"],
        )
        for row in rows
    ]


def _of_folder(path: Path) -> list[AnnotatedImage] | None:
    """Images of a folder with one folder per class; None if it is not laid out so."""
    images = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.lower().endswith(scan_suffixes()):
                name = f"{folder.name}/{file.name}"
                images.append(
                    AnnotatedImage("", name, name, name, _File(file), class_label=folder.name)
                )
    return images if len({image.class_label for image in images}) > 1 else None
