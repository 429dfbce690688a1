"""Image files with a class label, and what was left out of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import UltraSamError, one_line
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame, Gray, gray
from ultrasam.images.reading import read_scan
from ultrasam.text import name_key

logger = logging.getLogger(__name__)


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


def spelling_key(label: str) -> str:
    """A class's name in the form in which names are compared: ``Benign`` and ``benign`` have one key."""
    return " ".join(name_key(label).split())


@dataclass(frozen=True, slots=True)
class ClassFile:
    """An image file, not read yet.

    Attributes:
        path: of the file.
        name: unique name of the image.
        label: its class.
        subject: id of the person scanned; None if unknown.
        split: train, val or test; None if unassigned.
        where: how a message names it, such as the line of a table; empty for ``name``.
    """

    path: Path
    name: str
    label: str
    subject: str | None = None
    split: str | None = None
    where: str = ""


def readable(files: Iterable[ClassFile]) -> ClassImages:
    """The files that are images; the others are left out, each with its reason."""
    images, left_out = [], []
    several = []
    for file in files:
        try:
            scan = read_scan(file.path)
            scan.frame(0)
        except (UltraSamError, ValueError, OSError) as error:
            left_out.append(f"{file.where or file.name}: {one_line(error, limit=None)}")
            continue
        if len(scan) > 1:
            several.append(file.name)
        subject, reader = file.subject or file.name, _File(file.path)
        images.append(
            AnnotatedImage(
                "", file.name, subject, file.name, reader, split=file.split, class_label=file.label
            )
        )
    if several:
        logger.warning(
            "Of %d files with several frames, only the first frame is used, as in %s.",
            len(several), several[0],
        )  # fmt: skip
    return ClassImages(tuple(images), tuple(left_out))


@dataclass(frozen=True, slots=True)
class _File:
    """An image file without annotated objects; of a cine or volume, the first frame."""

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
