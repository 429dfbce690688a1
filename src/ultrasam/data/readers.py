"""The few layouts that raw data sets repeat, and the sample that all of them yield.

A data set in `us43d` is a short declaration over these; pixels and masks are read when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError

BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotated structure: its name and its mask [H, W] in the image's pixels."""

    name: str
    mask: BoolMask


@dataclass(frozen=True, slots=True)
class Sample:
    """One annotated image, not read yet.

    Attributes:
        dataset: the data set's name.
        path: the image's file.
        subject: who was scanned, unique within the data set; the file's stem where unknown.
        read_instances: masks for an image of (height, width) pixels.
        class_label: the image's class where the source has one.
        spacing: mm per pixel where known.
    """

    dataset: str
    path: Path
    subject: str
    read_instances: Callable[[tuple[int, int]], list[Instance]]
    class_label: str | None = None
    spacing: float | None = None

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The image as [H, W] uint8 grey."""
        return read_grey(self.path)

    def instances(self) -> list[Instance]:
        """The structures, each with at least one pixel."""
        height, width = self.pixels().shape
        return [i for i in self.read_instances((height, width)) if i.mask.any()]


@dataclass(frozen=True, slots=True)
class RawDataset:
    """What the catalogue knows of one data set, and its reader.

    Attributes:
        name: as in the paper.
        licence, attribution: for the model card of whatever is trained on it.
        samples: a folder to its samples, in a fixed order.
    """

    name: str
    licence: str
    attribution: str
    samples: Callable[[Path], Iterator[Sample]]


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    """A PNG, JPEG, BMP or TIFF file as [H, W] uint8.

    Raises:
        DataError: missing or not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DataError(f"{path} is missing or not an image; download it again.")
    return np.asarray(image, dtype=np.uint8)


def read_binary(path: Path, shape: tuple[int, int]) -> BoolMask:
    """A mask file, bright for the structure, as bool at ``shape`` (nearest where it differs)."""
    grey = read_grey(path)
    mask = (grey > (127 if grey.max() > 1 else 0)).astype(np.uint8)
    if mask.shape != shape:
        mask = np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    return mask.astype(bool)


def paired_masks(name: str, *paths: Path) -> Callable[[tuple[int, int]], list[Instance]]:
    """One structure per mask file."""
    return lambda shape: [Instance(name, read_binary(path, shape)) for path in paths]


def colour_coded_mask(
    path: Path, colours: Mapping[tuple[int, int, int], str]
) -> Callable[[tuple[int, int]], list[Instance]]:
    """One mask file whose (red, green, blue) names the structure."""

    def read(shape: tuple[int, int]) -> list[Instance]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{path} is missing or not an image; download it again.")
        if image.shape[:2] != shape:
            image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST)
        rgb = image[..., ::-1]
        return [Instance(name, (rgb == colour).all(axis=-1)) for colour, name in colours.items()]

    return read


def filled_outline(name: str, path: Path) -> Callable[[tuple[int, int]], list[Instance]]:
    """One mask file that holds the closed outline of the structure."""

    def read(shape: tuple[int, int]) -> list[Instance]:
        outline = read_binary(path, shape)
        contours, _ = cv2.findContours(
            outline.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        filled = np.zeros(shape, np.uint8)
        cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
        return [Instance(name, filled.astype(bool))]

    return read


def sorted_files(folder: Path, pattern: str) -> list[Path]:
    """Files under ``folder`` that match, in a fixed order.

    Raises:
        DataError: there are none.
    """
    found = sorted(p for p in folder.rglob(pattern) if not p.name.startswith("."))
    if not found:
        raise DataError(
            f"No file '{pattern}' is under {folder}; check that the data are unpacked there."
        )
    return found
