"""Open images for fine-tuning from stores, raw data sets, class folders and CSV files; pixels are read
lazily."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ultrasam.datasets.annotated_image import SPLITS, AnnotatedImage
from ultrasam.datasets.archives import is_archive
from ultrasam.datasets.catalogue import dataset_id
from ultrasam.datasets.custom import annotations_at, is_annotation_file
from ultrasam.datasets.discover import find_datasets
from ultrasam.downstream.class_files import ClassImages, label_of, spelling_key
from ultrasam.downstream.class_folders import read_class_folders
from ultrasam.downstream.class_tables import read_class_table
from ultrasam.downstream.targets import check_subjects
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import raw_datasets
from ultrasam.store.cache import cached_store
from ultrasam.store.store import Store, StoredImages
from ultrasam.text import counted

logger = logging.getLogger(__name__)


def open_images(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> list[AnnotatedImage]:
    """All images from `open_datasets`, sorted by data set."""
    by_name = open_datasets(paths, datasets=datasets, workers=workers)
    return [image for name in sorted(by_name) for image in by_name[name]]


def open_datasets(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> dict[str, Sequence[AnnotatedImage]]:
    """Annotated images from stores, raw data sets, custom data sets and annotation files, by data set.

    Raw data are first built into cached stores. Skipped files are logged.

    Args:
        paths: each a store, a folder of data sets (named after them, or NAME=FOLDER), a custom data set
            (images and masks), or an annotation file next to its images.
        datasets: ids of the data sets to open; those not found are missing from the result. If empty, all.

    Raises:
        DataError: A path is missing or contains no data set, or a data set appears twice.
    """
    selected = {dataset_id(name) for name in datasets}
    by_name: dict[str, Sequence[AnnotatedImage]] = {}
    for text in paths:
        for name, images in _open(text, selected, workers):
            if name in by_name:
                raise DataError(
                    f"Data set '{name}' appears in two of the --data paths; give it once."
                )
            by_name[name] = images
    if not by_name and not selected:
        raise DataError(f"No images to train on in {', '.join(paths) or 'the data'}.")
    return by_name


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
    is_file = is_annotation_file(path)
    raw = [(path.stem, *annotations_at(path))] if is_file else list(raw_datasets(text))
    opened: list[tuple[str, Sequence[AnnotatedImage]]] = []
    for name, data, folder in raw:
        if selected and not {name, data.info.id} & selected:
            continue
        store = cached_store(data, folder, workers=workers)
        images = StoredImages(store, store.select(splits=SPLITS))
        # A custom data set is named after its folder, not after its layout.
        opened.append((name, [replace(image, dataset=name) for image in images]))
    return opened


def open_class_images(
    paths: Sequence[str], *, datasets: Sequence[str] = (), workers: int = 0
) -> ClassImages:
    """Open images with a class label.

    An image with an unknown subject is its own subject. Unreadable files are skipped.

    Args:
        paths: each a folder with one subfolder per class, a CSV file (columns path and label, optionally
            subject and split), a store, or raw data sets with classes.

    Raises:
        DataError: A path is missing, a CSV file is damaged or lacks a required column, there are fewer than
            two classes, or two classes differ only in how they are spelled.
    """
    images: list[AnnotatedImage] = []
    left_out: list[str] = []
    for text in paths:
        labeled = _class_files(Path(text).expanduser())
        if labeled is None:
            labeled = _of_datasets(open_images([text], datasets=datasets, workers=workers), text)
        elif datasets:
            raise DataError(f"{text} is not a store or a folder of data sets; leave --dataset out.")
        images += labeled.images
        left_out += labeled.left_out
    counts = Counter(image.class_label for image in images)
    if len(counts) < 2:
        first = f" Left out: {left_out[0]}." if left_out else ""
        raise DataError(
            f"{', '.join(paths)}: found {counted(len(images), 'readable image')} of "
            f"{len(counts)} classes; at least two classes are needed.{first}"
        )
    _check_spelling(sorted(label_of(image) for image in images))
    return ClassImages(tuple(images), tuple(left_out))


def _class_files(path: Path) -> ClassImages | None:
    """The images of a table or of class folders; None for a store, and for a data set that has classes."""
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return read_class_table(path)
    if path.is_file() and not is_archive(path.name) and not is_annotation_file(path):
        raise DataError(
            f"{path} cannot be read as a table; save it as CSV, with columns path and label."
        )
    if not path.is_dir() or (path / "manifest.json").exists() or _is_classified(path):
        return None
    return read_class_folders(path)


def _is_classified(folder: Path) -> bool:
    """Whether a folder holds a data set of the catalog that has classes."""
    try:
        known = find_datasets([str(folder)])
        return any(case.class_label for data, place in known for case in data.list_cases(place)[0])
    except DataError:
        return False


def _of_datasets(images: Sequence[AnnotatedImage], text: str) -> ClassImages:
    labeled = tuple(image for image in images if image.class_label is not None)
    others = len(images) - len(labeled)
    note = f"{text}: {counted(others, 'image')} without a class"
    return ClassImages(labeled, (note,) if others else ())


def _check_spelling(labels: Sequence[str]) -> None:
    """Refuse names that must mean one class, such as ``Benign`` and ``benign``.

    Raises:
        DataError: There are such names.
    """
    spellings: dict[str, str] = {}
    for label in labels:
        other = spellings.setdefault(spelling_key(label), label)
        if other != label:
            raise DataError(
                f"The classes '{other}' and '{label}' differ only in how they are spelled; write them alike."
            )


def keep_classes(labeled: ClassImages, classes: Sequence[str]) -> ClassImages:
    """Keep only the images of some classes.

    Raises:
        DataError: One of the classes has no image.
    """
    absent = sorted(set(classes) - set(labeled.classes))
    if absent:
        raise DataError(
            f"No image has class '{absent[0]}'; the classes are {', '.join(labeled.classes)}."
        )
    images = tuple(image for image in labeled.images if image.class_label in classes)
    others = len(labeled.images) - len(images)
    note = (f"{counted(others, 'image')} of other classes",) if others else ()
    return ClassImages(images, (*labeled.left_out, *note))


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
