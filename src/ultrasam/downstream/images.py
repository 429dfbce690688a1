"""Open images for fine-tuning from stores, raw data sets, class folders and CSV files; pixels are read
lazily."""

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
from ultrasam.datasets.custom import coco_at
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
    """All images from `open_datasets`, sorted by data set."""
    found = open_datasets(paths, datasets=datasets, workers=workers)
    return [image for name in sorted(found) for image in found[name]]


def open_datasets(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> dict[str, Sequence[AnnotatedImage]]:
    """Annotated images from stores, raw data sets, custom data sets and COCO files, by data set.

    Raw data are first built into cached stores. Skipped files are logged.

    Args:
        paths: each a store, a folder of data sets (named after them, or NAME=FOLDER), a custom data set
            (images and masks), or a COCO file next to its images.
        datasets: ids of the data sets to open; those not found are missing from the result. If empty, all.

    Raises:
        DataError: A path is missing or contains no data set, or a data set appears twice.
    """
    selected = {dataset_id(name) for name in datasets}
    found: dict[str, Sequence[AnnotatedImage]] = {}
    for text in paths:
        for name, images in _open(text, selected, workers):
            if name in found:
                raise DataError(
                    f"Data set '{name}' appears in two of the --data paths; give it once."
                )
            found[name] = images
    if not found and not selected:
        raise DataError(f"No images to train on in {', '.join(paths) or 'the data'}.")
    return found


def _open(
    text: str, selected: set[str], workers: int
) -> list[tuple[str, Sequence[AnnotatedImage]]]:
    path = Path(text).expanduser()
    if (path / "manifest.json").exists():
        store = Store.open(path)
        return [
            (name, StoredImages(store, store.select(datasets=[name], splits=SPLITS)))
            for name in store.manifest["datasets"]
            if not selected or name in selected
        ]
    if path.suffix.lower() == ".json" and path.is_file():
        raw = [(path.stem, *coco_at(path))]
    else:
        raw = list(raw_datasets(text))
    opened: list[tuple[str, Sequence[AnnotatedImage]]] = []
    for name, data, folder in raw:
        if selected and data.info.id not in selected:
            continue
        store = cached_store(data, folder, workers=workers)
        images = StoredImages(store, store.select(splits=SPLITS))
        # A custom data set is named after its folder, not after its layout.
        opened.append((name, [replace(image, dataset=name) for image in images]))
    return opened


def dataset_id(name: str) -> str:
    """Id of a data set, by any of its names; for a custom data set, its name."""
    try:
        return dataset(name).info.id
    except DataError:
        return name  # a custom data set


@dataclass(frozen=True, slots=True)
class ClassImages:
    """Images with a class label.

    Attributes:
        left_out: skipped images with reasons, one sentence each.
    """

    images: tuple[AnnotatedImage, ...]
    left_out: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """Class names, sorted."""
        return sorted({label_of(image) for image in self.images})


def label_of(image: AnnotatedImage) -> str:
    """Class label of an image that has one."""
    assert image.class_label is not None
    return image.class_label


def open_class_images(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> ClassImages:
    """Open images with a class label.

    An image with an unknown subject is its own subject. Unreadable files are skipped.

    Args:
        paths: each a folder with one subfolder per class, a CSV file (columns path and label, optionally
            subject and split), a store, or raw data sets with classes.

    Raises:
        DataError: A path is missing, a CSV file lacks a required column, or there are fewer than two classes.
    """
    images: list[AnnotatedImage] = []
    left_out: list[str] = []
    for text in paths:
        path = Path(text).expanduser()
        files: list[AnnotatedImage] | None = None
        if path.is_file() and path.suffix.lower() == ".csv":
            files = _from_table(path)
        elif path.is_dir() and not (path / "manifest.json").exists():
            files = _from_folder(path)
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
            f"{', '.join(paths)}: found {len(images)} readable images of {len(counts)} classes; at least two "
            "classes are needed."
        )
    return ClassImages(tuple(images), tuple(left_out))


def keep_classes(found: ClassImages, classes: Sequence[str]) -> ClassImages:
    """Keep only the images of some classes.

    Raises:
        DataError: One of the classes has no image.
    """
    absent = sorted(set(classes) - set(found.classes))
    if absent:
        raise DataError(
            f"No image has class '{absent[0]}'; the classes are {', '.join(found.classes)}."
        )
    images = tuple(image for image in found.images if image.class_label in classes)
    others = len(found.images) - len(images)
    note = (f"{others} images of other classes",) if others else ()
    return ClassImages(images, (*found.left_out, *note))


def folds_of(
    images: Sequence[AnnotatedImage], count: int, *, seed: int = 0
) -> list[tuple[list[int], list[int]]]:
    """``count`` pairs of training and test indices, stratified by class and grouped by subject.

    Raises:
        DataError: A class has fewer subjects than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    subjects: dict[str, set[str]] = {}
    for image in images:
        subjects.setdefault(label_of(image), set()).add(image.subject_key)
    rarest = min(subjects, key=lambda label: len(subjects[label]))
    if len(subjects[rarest]) < count:
        raise DataError(
            f"Class '{rarest}' has too few subjects ({len(subjects[rarest])}) for {count} folds; reduce "
            "--folds, exclude the class with --class, or add images."
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    labels, groups = [label_of(i) for i in images], [i.subject_key for i in images]
    return [(a.tolist(), b.tolist()) for a, b in splitter.split(labels, labels, groups)]


def check_classes(train: Sequence[AnnotatedImage], test: Sequence[AnnotatedImage]) -> None:
    """Check that no subject is in both sets, and that training has all classes of the test set.

    Raises:
        DataError: One of the two is violated.
    """
    check_subjects(train, test)
    unknown = sorted({label_of(i) for i in test} - {label_of(i) for i in train})
    if unknown:
        raise DataError(
            f"The test data contain class '{unknown[0]}', which does not occur in the training data."
        )


@dataclass(frozen=True, slots=True)
class _File:
    """An image file without annotated objects."""

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

    def ignored(self) -> None:
        return None


def _unreadable(image: AnnotatedImage) -> str | None:
    """Why a file cannot be read; None if it can."""
    try:
        image.reader.pixels()
    except (DataError, ValueError) as error:
        return str(error)
    return None


def _from_table(path: Path) -> list[AnnotatedImage]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader(lines)
        if not {"path", "label"} <= set(table.fieldnames or ()):
            raise DataError(
                f"{path} has the columns {', '.join(table.fieldnames or ['none'])}; 'path' and 'label' are "
                "required, 'subject' and 'split' are optional."
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


def _from_folder(path: Path) -> list[AnnotatedImage] | None:
    """Images in a folder with one subfolder per class; None if it has another layout."""
    images = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.lower().endswith(scan_suffixes()):
                name = f"{folder.name}/{file.name}"
                images.append(
                    AnnotatedImage("", name, name, name, _File(file), class_label=folder.name)
                )
    return images if len({image.class_label for image in images}) > 1 else None
