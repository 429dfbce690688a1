"""Objects to learn and to test on: which instances of an image count, and the class of each."""

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
    """An image and those of its instances that have a class.

    Attributes:
        image: pixels and masks are read when asked for.
        rows: which of the image's instances.
        labels: the class of each of ``rows``.
    """

    image: AnnotatedImage
    rows: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.image.key

    @property
    def subject(self) -> str:
        return self.image.subject_key

    @property
    def pixels(self) -> Gray:
        """[H, W] uint8."""
        return self.image.gray

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """[N, H, W]."""
        if not self.rows:
            return np.zeros((0, *self.pixels.shape), bool)
        return np.stack([self.image.mask(row) for row in self.rows])

    @classmethod
    def of(
        cls, pixels: Gray, masks: npt.NDArray[np.bool_], labels: Sequence[str], *, name: str = "",
        subject: str = "",
    ) -> InstanceTarget:  # fmt: skip
        """A target whose image is held in memory."""
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
    """Images with the objects that count, those of fewer than MIN_OBJECT_PIXELS left out; masks are not read.

    Args:
        classes: only these.
        labels: an object's class is its structure's name, or its image's class.
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
    """Images to train and to test on: by their splits if some are in ``test``, else ``held_out`` of the
    subjects are tested.

    Raises:
        DataError: there is no test split, and fewer than two subjects.
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
    """The classes to train on.

    Raises:
        DataError: a subject is in both splits, one of them shows no object, or the test split has a class of
            which training has none.
    """
    check_subjects(train, test)
    known, tested = ({name for t in split for name in t.labels} for split in (train, test))
    if not known or not tested:
        raise DataError(
            f"{len(train)} training images and {len(test)} test images show too few objects; change "
            "--test-fraction or --class."
        )
    unknown = sorted(tested - known)
    if unknown:
        raise DataError(
            f"The test data have the class '{unknown[0]}', of which training has no object; leave it out "
            "with --class, or change --test-fraction."
        )
    return sorted(known)


def check_subjects(
    train: Iterable[AnnotatedImage | InstanceTarget],
    test: Iterable[AnnotatedImage | InstanceTarget],
) -> None:
    """Refuse a subject that is in both training and test sets.

    Raises:
        DataError: there is one.
    """
    both = {subject_of(i) for i in train} & {subject_of(i) for i in test}
    if both:
        raise DataError(
            f"Subject '{min(both)}' and {len(both) - 1} more are in both training and test data; put all "
            "images of a subject in one of them."
        )


def subject_of(item: AnnotatedImage | InstanceTarget) -> str:
    """Unique among subjects of all data sets."""
    return item.subject_key if isinstance(item, AnnotatedImage) else item.subject


def validation_split(
    items: Sequence[Item], share: float, most: int
) -> tuple[list[Item], list[Item]]:
    """Items to train on, and at most ``most`` of those of held-out subjects to validate on.

    Raises:
        DataError: there are fewer than two subjects.
    """
    held = held_out_images([("", subject_of(item)) for item in items], share)
    chosen = [item for item, out in zip(items, held, strict=True) if out]
    return [item for item, out in zip(items, held, strict=True) if not out], chosen[:most]
