"""Select the objects to train and test on, and their classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.errors import DataError
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.images.pixels import Gray
from ultrasam.store.splits import held_out_images

Labels = Literal["structure", "image"]


@dataclass(frozen=True, slots=True, eq=False)
class InstanceTarget:
    """An image and its instances that have a class.

    Attributes:
        image: its pixels and masks are read lazily.
        rows: indices of the instances.
        labels: class of each of ``rows``.
    """

    image: AnnotatedImage
    rows: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique name of the image."""
        return self.image.key

    @property
    def subject(self) -> str:
        """Unique name of the subject."""
        return self.image.subject_key

    @property
    def pixels(self) -> Gray:
        """Grayscale pixels [H, W] uint8."""
        return self.image.gray

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """Masks [N, H, W] of the instances."""
        if not self.rows:
            return np.zeros((0, *self.pixels.shape), bool)
        return np.stack([self.image.mask(row) for row in self.rows])

    @classmethod
    def of(
        cls, pixels: Gray, masks: npt.NDArray[np.bool_], labels: Sequence[str], *, name: str = "",
        subject: str = "",
    ) -> InstanceTarget:  # fmt: skip
        """A target with an in-memory image."""
        instances = [Instance(label, mask) for label, mask in zip(labels, masks, strict=True)]
        image = AnnotatedImage.in_memory(pixels, instances, name=name, subject=subject)
        return cls(image, tuple(range(len(labels))), tuple(labels))


def instance_targets(
    images: Iterable[AnnotatedImage],
    classes: Sequence[str] | None = None,
    *,
    labels: Labels = "structure",
    keep_empty: bool = False,
) -> list[InstanceTarget]:
    """Images and their objects of at least MIN_OBJECT_PIXELS pixels; masks are not read.

    Args:
        classes: keep only these classes; None for all.
        labels: take an object's class from its ``structure`` or from its ``image``.
        keep_empty: keep images without objects.
    """
    found = []
    for image in images:
        if labels == "image" and image.class_label is None:
            continue
        names = image.structures
        if labels == "image":
            names = (str(image.class_label),) * len(names)
        rows = tuple(
            row
            for row, (name, area) in enumerate(zip(names, image.areas, strict=True))
            if area >= MIN_OBJECT_PIXELS and (classes is None or name in classes)
        )
        if rows or keep_empty:
            found.append(InstanceTarget(image, rows, tuple(names[row] for row in rows)))
    return found


Item = TypeVar("Item", AnnotatedImage, InstanceTarget)


def train_test_split(
    images: Sequence[AnnotatedImage], held_out: float
) -> tuple[list[AnnotatedImage], list[AnnotatedImage]]:
    """Split images into training and test: by their ``test`` split if there is one, otherwise by holding out
    a fraction of the subjects.

    Raises:
        DataError: There is no test split, and there are fewer than two subjects.
    """
    if any(image.split == "test" for image in images):
        tested = np.array([image.split == "test" for image in images])
    else:
        tested = held_out_images([(image.dataset, image.subject) for image in images], held_out)
    return (
        [image for image, test in zip(images, tested, strict=True) if not test],
        [image for image, test in zip(images, tested, strict=True) if test],
    )


def classes_of(train: Sequence[InstanceTarget], test: Sequence[InstanceTarget]) -> list[str]:
    """Classes to train on, sorted.

    Raises:
        DataError: A subject is in both splits, a split has no object, or the test split has a class that
            training does not have.
    """
    check_subjects(train, test)
    known, tested = ({name for t in split for name in t.labels} for split in (train, test))
    if not known or not tested:
        raise DataError(
            f"Too few objects in {len(train)} training images and {len(test)} test images; change "
            "--test-fraction or --class."
        )
    unknown = sorted(tested - known)
    if unknown:
        raise DataError(
            f"The test data contain class '{unknown[0]}', which does not occur in the training data; exclude "
            "it with --class, or change --test-fraction."
        )
    return sorted(known)


def check_subjects(
    train: Iterable[AnnotatedImage | InstanceTarget],
    test: Iterable[AnnotatedImage | InstanceTarget],
) -> None:
    """Check that no subject is in both training and test data.

    Raises:
        DataError: A subject is in both.
    """
    both = {subject_of(i) for i in train} & {subject_of(i) for i in test}
    if both:
        raise DataError(
            f"Subject '{min(both)}' is in both training and test data (subjects in both: {len(both)}); put "
            "all images of a subject in one of them."
        )


def subject_of(item: AnnotatedImage | InstanceTarget) -> str:
    """Name of an item's subject, unique over all data sets."""
    return item.subject_key if isinstance(item, AnnotatedImage) else item.subject


def validation_split(
    items: Sequence[Item], fraction: float, max_count: int
) -> tuple[list[Item], list[Item]]:
    """Hold out a fraction of the subjects; return the other items, and at most ``max_count`` held-out items.

    Raises:
        DataError: There are fewer than two subjects.
    """
    held = held_out_images([("", subject_of(item)) for item in items], fraction)
    validation = [item for item, out in zip(items, held, strict=True) if out]
    training = [item for item, out in zip(items, held, strict=True) if not out]
    return training, validation[:max_count]
