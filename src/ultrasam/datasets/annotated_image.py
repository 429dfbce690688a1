"""AnnotatedImage: what all that trains, evaluates or exports takes; and Case: one unit of raw data,
described but not yet read.

A Case can be pickled, so that listing happens once and reading in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.errors import UltraSamError, one_line
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame, Grey, grey

Spacing = tuple[float, float]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One annotated structure: its name and its mask [H, W] in the image's pixels."""

    name: str
    mask: BoolMask


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What reading yields: pixels with their instances.

    Attributes:
        pixels: [H, W] or [H, W, 3] uint8.
        instances: the structures; none of a normal image.
        frame: number of the cine's frame or the volume's slice, counted from 0; None of a still.
        spacing: (row, column) mm between pixels' centres, where the source has it.
    """

    pixels: Frame
    instances: tuple[Instance, ...]
    frame: int | None = None
    spacing: Spacing | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An image, a clip or a volume of one subject, not read yet.

    Attributes:
        dataset: the data set's id.
        key: unique in the data set, the same on every disk.
        sources: the files, the image's first.
        read: gives pictures, and skips for what is left out.
        subject: who was scanned; None where the source doesn't tell.
        study: the examination or recording, where told apart.
        split: train, val or test, where the source has splits.
        class_label: the image's class, where the source has one.
    """

    dataset: str
    key: str
    sources: tuple[Entry, ...]
    read: Callable[[], Iterable[Picture | Skip]]
    subject: str | None = None
    study: str | None = None
    split: str | None = None
    class_label: str | None = None

    @property
    def source(self) -> str:
        return self.sources[0].path

    def pictures(self) -> Iterator[Picture | Skip]:
        """What `read` gives; damage ends the case with a skip, never with an exception."""
        try:
            for picture in self.read():
                if isinstance(picture, Skip):
                    yield picture
                    continue
                present = tuple(i for i in picture.instances if i.mask.any())
                yield Picture(picture.pixels, present, picture.frame, picture.spacing)
        except UltraSamError as error:
            yield Skip(self.source, str(error), damage=True)
        except Exception as error:
            # Files of 43 sources break in more ways than can be foreseen; the build must go on.
            text = f"cannot be read: {type(error).__name__}: {one_line(error)}"
            yield Skip(self.source, text, damage=True)


class ImageReader(Protocol):
    """Where an annotated image's pixels and masks come from; each call may read a file."""

    def pixels(self) -> Frame:
        """[H, W] or [H, W, 3] RGB uint8."""

    def grey(self) -> Grey:
        """[H, W] uint8."""

    def structures(self) -> tuple[str, ...]:
        """The name of each instance."""

    def areas(self) -> tuple[int, ...]:
        """The pixels of each instance."""

    def mask(self, index: int) -> BoolMask:
        """The mask [H, W] of one instance."""


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """An image with its instances, whatever it comes from; pixels and masks are read when asked for.

    Attributes:
        dataset: id of the data set; empty for images that belong to none.
        name: unique in the data set: the case's key, and the frame of a cine or volume.
        subject: who was scanned; the case's key if the source does not say.
        source: the image's path below the data set's folder.
        reader: gives pixels and masks.
        study: the examination, if known.
        frame: number of the frame or slice, counted from 0; None for a still.
        spacing: (row, column) mm between the centres of pixels, if known.
        split: train, val or test, if the source or the store assigns one.
        class_label: the image's class, if it has one.
    """

    dataset: str
    name: str
    subject: str
    source: str
    reader: ImageReader
    study: str | None = None
    frame: int | None = None
    spacing: Spacing | None = None
    split: str | None = None
    class_label: str | None = None

    @classmethod
    def in_memory(
        cls,
        pixels: Frame,
        instances: Iterable[Instance] = (),
        *,
        dataset: str = "",
        name: str = "",
        subject: str = "",
        source: str = "",
        **optional: Any,
    ) -> AnnotatedImage:
        """An image whose pixels and masks are held in memory; ``optional`` are further attributes."""
        reader = _InMemory(pixels, tuple(instances))
        return cls(dataset, name, subject, source, reader, **optional)

    @property
    def key(self) -> str:
        """Unique among images of all data sets."""
        return f"{self.dataset}/{self.name}" if self.dataset else self.name

    @property
    def subject_key(self) -> str:
        """Unique among subjects of all data sets."""
        return f"{self.dataset}/{self.subject}" if self.dataset else self.subject

    @property
    def pixels(self) -> Frame:
        """[H, W] or [H, W, 3] RGB uint8.

        Raises:
            DataError: the file is missing or damaged.
        """
        return self.reader.pixels()

    @property
    def grey(self) -> Grey:
        """[H, W] uint8.

        Raises:
            DataError: the file is missing or damaged.
        """
        return self.reader.grey()

    @property
    def structures(self) -> tuple[str, ...]:
        """The name of each instance."""
        return self.reader.structures()

    @property
    def areas(self) -> tuple[int, ...]:
        """The pixels of each instance."""
        return self.reader.areas()

    def mask(self, index: int) -> BoolMask:
        """The mask [H, W] of one instance."""
        return self.reader.mask(index)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All instances with their masks, read now."""
        return tuple(Instance(name, self.mask(i)) for i, name in enumerate(self.structures))

    def loaded(self) -> AnnotatedImage:
        """The same image with pixels and masks held in memory.

        Raises:
            DataError: the file is missing or damaged.
        """
        return replace(self, reader=_InMemory(self.pixels, self.instances))


@dataclass(frozen=True, slots=True, eq=False)
class _InMemory:
    image: Frame
    annotated: tuple[Instance, ...]

    def pixels(self) -> Frame:
        return self.image

    def grey(self) -> Grey:
        return grey(self.image)

    def structures(self) -> tuple[str, ...]:
        return tuple(instance.name for instance in self.annotated)

    def areas(self) -> tuple[int, ...]:
        return tuple(int(np.count_nonzero(instance.mask)) for instance in self.annotated)

    def mask(self, index: int) -> BoolMask:
        return self.annotated[index].mask


def images_of(case: Case) -> Iterator[AnnotatedImage | Skip]:
    """All annotated images of a case, and what it leaves out."""
    for picture in case.pictures():
        if isinstance(picture, Skip):
            yield picture
            continue
        yield AnnotatedImage.in_memory(
            picture.pixels,
            picture.instances,
            dataset=case.dataset,
            name=case.key if picture.frame is None else f"{case.key}#{picture.frame}",
            subject=case.subject or case.key,
            source=case.source,
            study=case.study,
            frame=picture.frame,
            spacing=picture.spacing,
            split=case.split,
            class_label=case.class_label,
        )
