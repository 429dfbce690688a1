"""Sample: what every data set becomes, and Case: one unit of raw data, described but not yet read.

A Case can be pickled, so that listing happens once and reading in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ultrasam.datasets.file_tree import Entry, Skip
from ultrasam.errors import UltraSamError, one_line
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame

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


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One annotated image of one case.

    Attributes:
        pixels: [H, W] or [H, W, 3] uint8; instances: as read.
        name: unique in the data set: the case's key, and the frame of a cine or volume.
        subject: who was scanned; the case's key where the source doesn't tell.
        source: the image's path below the data set's folder.
    """

    dataset: str
    name: str
    subject: str
    source: str
    pixels: Frame
    instances: tuple[Instance, ...]
    study: str | None = None
    frame: int | None = None
    spacing: Spacing | None = None
    split: str | None = None
    class_label: str | None = None


def samples_of(case: Case) -> Iterator[Sample | Skip]:
    """All samples of a case, and what it leaves out."""
    for picture in case.pictures():
        if isinstance(picture, Skip):
            yield picture
            continue
        yield Sample(
            dataset=case.dataset,
            name=case.key if picture.frame is None else f"{case.key}#{picture.frame}",
            subject=case.subject or case.key,
            source=case.source,
            pixels=picture.pixels,
            instances=picture.instances,
            study=case.study,
            frame=picture.frame,
            spacing=picture.spacing,
            split=case.split,
            class_label=case.class_label,
        )
