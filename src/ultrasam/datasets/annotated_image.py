"""`AnnotatedImage`, the input of training, evaluation and export, and `Case`, a raw file before it is read.

A `Case` can be pickled: one process lists a data set, and any process can read its cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.errors import DiskFullError, UltraSamError, one_line
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame, Gray, gray

Spacing = tuple[float, float]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One annotated structure.

    Attributes:
        name: of the structure.
        mask: [H, W] in the image's pixels.
        ignore: whether this is a region to ignore, and not an object: COCO's ``iscrowd``, which marks many
            objects at once, or an object whose outline is unknown. It is neither prompted nor scored, and
            what an instance segmenter finds in it counts neither as right nor as wrong.
    """

    name: str
    mask: BoolMask
    ignore: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CaseImage:
    """One image of a case, as its reader yields it.

    Attributes:
        pixels: [H, W] or [H, W, 3] RGB uint8.
        instances: the annotated structures; empty for a normal image.
        frame: 0-based index of the cine frame or volume slice; None for a still.
        spacing: (row, column) distance between pixel centers in mm; None if unknown.
        measurements: what the source measured in this image (see `AnnotatedImage`).
    """

    pixels: Frame
    instances: tuple[Instance, ...]
    frame: int | None = None
    spacing: Spacing | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A still, cine or volume of one subject, not read yet.

    Attributes:
        dataset: id of the data set.
        key: unique within the data set, and independent of where the files are stored.
        sources: the files; the image file comes first.
        read: yields the images of the case, and a skip for each one it leaves out.
        subject: id of the person scanned; None if unknown.
        study: id of the examination or recording; None if unknown.
        split: the source's own split (train, val, test or trainval); None if it has none.
        class_label: class of the image; None if it has none.
    """

    dataset: str
    key: str
    sources: tuple[FileEntry, ...]
    read: Callable[[], Iterable[CaseImage | Skip]]
    subject: str | None = None
    study: str | None = None
    split: str | None = None
    class_label: str | None = None

    @property
    def source(self) -> str:
        return self.sources[0].path

    def images(self) -> Iterator[CaseImage | Skip]:
        """The images of the case without empty masks. A damaged file yields a skip, never an exception."""
        try:
            for image in self.read():
                if isinstance(image, Skip):
                    yield image
                    continue
                present = tuple(i for i in image.instances if i.mask.any())
                yield replace(image, instances=present)
        except DiskFullError:
            raise  # unpacking an archive needs space; the image is not at fault
        except UltraSamError as error:
            yield Skip(self.source, str(error), damage=True)
        except Exception as error:
            # Files from 43 sources break in unforeseeable ways, and the build must continue.
            text = f"unreadable file: {type(error).__name__}: {one_line(error)}"
            yield Skip(self.source, text, damage=True)


class ImageReader(Protocol):
    """Reads the pixels and masks of an annotated image; each call may read a file."""

    def pixels(self) -> Frame:
        """[H, W] or [H, W, 3] RGB uint8."""

    def gray(self) -> Gray:
        """[H, W] uint8."""

    def structures(self) -> tuple[str, ...]:
        """The name of each instance."""

    def areas(self) -> tuple[int, ...]:
        """The area of each instance in pixels."""

    def mask(self, index: int) -> BoolMask:
        """The mask of one instance, [H, W] bool."""

    def ignored(self) -> BoolMask | None:
        """The union of the regions to ignore, [H, W] bool; None if there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """An image with its instances, from raw data or a store. Pixels and masks are read on access.

    Attributes:
        dataset: id of the data set; empty for an image that belongs to none.
        name: unique within the data set: the key of the case, plus the frame of a cine or volume.
        subject: id of the person scanned; the key of the case if unknown.
        source: path of the image file, relative to the data set's folder.
        reader: reads the pixels and masks.
        study: id of the examination; None if unknown.
        frame: 0-based index of the frame or slice; None for a still.
        spacing: (row, column) distance between pixel centers in mm; None if unknown.
        split: train, val or test as assigned by the source or the store; None if unassigned.
        class_label: class of the image; None if it has none.
        measurements: what the source measured, each name with its unit, such as
            ``{"head_circumference_mm": 62.48}``; empty if it measured nothing. The values are tabulated by
            the source, or follow from its own outlines and calibration; none is computed from the masks.
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
    measurements: Mapping[str, float] = field(default_factory=dict)

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
        """An image with pixels and masks in memory; ``optional`` sets the remaining attributes."""
        return cls(dataset, name, subject, source, _in_memory(pixels, instances), **optional)

    @property
    def key(self) -> str:
        """Unique across all data sets."""
        return f"{self.dataset}/{self.name}" if self.dataset else self.name

    @property
    def subject_key(self) -> str:
        """The subject's id, unique across all data sets."""
        return f"{self.dataset}/{self.subject}" if self.dataset else self.subject

    @property
    def pixels(self) -> Frame:
        """[H, W] or [H, W, 3] RGB uint8.

        Raises:
            DataError: The file is missing or damaged.
        """
        return self.reader.pixels()

    @property
    def gray(self) -> Gray:
        """[H, W] uint8.

        Raises:
            DataError: The file is missing or damaged.
        """
        return self.reader.gray()

    @property
    def structures(self) -> tuple[str, ...]:
        """The name of each instance."""
        return self.reader.structures()

    @property
    def areas(self) -> tuple[int, ...]:
        """The area of each instance in pixels."""
        return self.reader.areas()

    def mask(self, index: int) -> BoolMask:
        """The mask of one instance, [H, W] bool."""
        return self.reader.mask(index)

    @property
    def ignored(self) -> BoolMask | None:
        """The union of the regions to ignore, [H, W] bool; None if there is none (see `Instance`)."""
        return self.reader.ignored()

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All instances with their masks, read on access; regions to ignore are none of them."""
        return tuple(Instance(name, self.mask(i)) for i, name in enumerate(self.structures))

    def loaded(self) -> AnnotatedImage:
        """A copy with pixels and masks in memory.

        Raises:
            DataError: The file is missing or damaged.
        """
        return replace(self, reader=_InMemory(self.pixels, self.instances, self.ignored))


@dataclass(frozen=True, slots=True, eq=False)
class _InMemory:
    image: Frame
    annotated: tuple[Instance, ...]
    region: BoolMask | None = None

    def pixels(self) -> Frame:
        return self.image

    def gray(self) -> Gray:
        return gray(self.image)

    def structures(self) -> tuple[str, ...]:
        return tuple(instance.name for instance in self.annotated)

    def areas(self) -> tuple[int, ...]:
        return tuple(int(np.count_nonzero(instance.mask)) for instance in self.annotated)

    def mask(self, index: int) -> BoolMask:
        return self.annotated[index].mask

    def ignored(self) -> BoolMask | None:
        return self.region


def _in_memory(pixels: Frame, instances: Iterable[Instance]) -> _InMemory:
    every = tuple(instances)
    regions = [i.mask for i in every if i.ignore]
    region = np.logical_or.reduce(regions) if regions else None
    return _InMemory(pixels, tuple(i for i in every if not i.ignore), region)


def images_of(case: Case) -> Iterator[AnnotatedImage | Skip]:
    """Read the annotated images of a case, with a skip for each one left out."""
    for image in case.images():
        if isinstance(image, Skip):
            yield image
            continue
        yield AnnotatedImage.in_memory(
            image.pixels,
            image.instances,
            dataset=case.dataset,
            name=case.key if image.frame is None else f"{case.key}#{image.frame}",
            subject=case.subject or case.key,
            source=case.source,
            study=case.study,
            frame=image.frame,
            spacing=image.spacing,
            split=case.split,
            class_label=case.class_label,
            measurements=image.measurements,
        )
