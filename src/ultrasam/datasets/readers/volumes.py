"""Volumes and cines stored as volumes (NIfTI, MHA) with volumes of labels; each slice is a picture.

SimpleITK gives [z, y, x]. Slices along axis 0 are [y, x], along axis 1 [z, x], along axis 2 [z, y].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case, Instance, Picture, Spacing
from ultrasam.datasets.description import NO_OBJECT
from ultrasam.datasets.file_tree import Entry, RawTree, Report, Skip
from ultrasam.datasets.readers.paired_images import (
    Describe,
    half_turn,
    key_of,
    meaning_of,
    shared_groups,
)
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import to_uint8

with needs("Working with data sets", extra="data"):
    import SimpleITK as sitk

Volume = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class VolumeStyle:
    """How a pair of volumes becomes pictures.

    Attributes:
        labels: value to structure; every value above 0 where it has the one key -1.
        channels: the labels' first axis holds one binary volume per structure; its k-th is named by
            this function of k, instead of ``labels``.
        axis: of the slices.
        turn: slices are turned by 180 degrees.
        flip: slices are flipped top to bottom.
        keep_empty: slices without an object are kept.
        still: the volume is one image; a first axis of three is its colours, of which the first is used.
        clean_volume: changes the label volume, given the image's.
        clean: changes one slice's instance mask, given the image's slice.
        least_share: slices whose labels cover less than this share are left out.
    """

    labels: Mapping[int, str]
    channels: Callable[[int], str] | None = None
    axis: int = 0
    turn: bool = False
    flip: bool = False
    keep_empty: bool = False
    still: bool = False
    clean_volume: Callable[[Volume, Volume], Volume] | None = None
    clean: Callable[[BoolMask, npt.NDArray[np.uint8]], BoolMask] | None = None
    least_share: float = 0.0


def paired_volumes(
    dataset: str,
    tree: RawTree,
    report: Report,
    *,
    image: str,
    label: str,
    style: VolumeStyle,
    describe: Describe | None = None,
) -> Iterator[Case]:
    """Cases of image and label volumes that share their patterns' groups (see `readers.paired`)."""
    shared = shared_groups(image, label)
    labels: dict[tuple[str, ...], Entry] = {}
    for entry, groups in tree.match(label):
        key = key_of(groups, shared)
        if key in labels:
            report.skip(entry, "a second label volume of the same image")
        else:
            labels[key] = entry
    taken = {entry.path for entry in labels.values()}
    used = set()
    for entry, groups in tree.match(image):
        if entry.path in taken:
            continue
        key = key_of(groups, shared)
        if key not in labels:
            report.skip(entry, "volume without labels")
            continue
        used.add(key)
        yield Case(
            dataset,
            "/".join(part for part in key if part),
            (entry, labels[key]),
            partial(read_volumes, entry, labels[key], style),
            **meaning_of(groups, describe),
        )
    for key, entry in labels.items():
        if key not in used:
            report.skip(entry, "labels without a volume")


def read_volumes(image: Entry, label: Entry, style: VolumeStyle) -> Iterator[Picture | Skip]:
    """The slices of one pair, read together."""
    pixels, spacing = load(image)
    values, _ = load(label)
    if style.channels is not None and values.ndim == pixels.ndim:
        values = values[None]
    if style.channels is None and values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    while pixels.ndim > 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if style.still and pixels.ndim == 3:
        pixels = pixels[0]
    if style.still and values.ndim == 3:
        values = values[0]
    if pixels.ndim == 2:
        pixels, values = pixels[None], values[None] if values.ndim == 2 else values
    if values.shape[-3:] != pixels.shape or values.ndim not in (3, 4):
        raise DataError(
            f"labels are {_size(values)} voxels, the image {_size(pixels)}; they are not of each other"
        )
    grey = to_uint8(pixels)
    if style.clean_volume is not None:
        values = style.clean_volume(values, grey)
    plane = tuple(s for a, s in enumerate(spacing) if a != style.axis)
    known: Spacing | None = (plane[0], plane[1]) if len(plane) == 2 and min(plane) > 0 else None
    for k in range(grey.shape[style.axis]):
        slice_ = np.ascontiguousarray(np.take(grey, k, axis=style.axis))
        instances = _instances(np.take(values, k, axis=style.axis - 3), style)
        if style.clean is not None:
            instances = [Instance(i.name, style.clean(i.mask, slice_)) for i in instances]
        if not style.keep_empty and not any(i.mask.any() for i in instances):
            yield Skip(f"{image.path} slice {k}", NO_OBJECT)
            continue
        covered = np.count_nonzero(np.take(values, k, axis=style.axis - 3))
        if covered < style.least_share * slice_.size:
            share = f"labels cover less than {style.least_share:.1%} of the slice"
            yield Skip(f"{image.path} slice {k}", share)
            continue
        if style.turn:
            slice_ = half_turn(slice_)
            instances = [Instance(i.name, half_turn(i.mask)) for i in instances]
        if style.flip:
            slice_ = np.ascontiguousarray(slice_[::-1])
            instances = [Instance(i.name, i.mask[::-1]) for i in instances]
        yield Picture(slice_, tuple(instances), None if style.still else k, known)


def load(entry: Entry) -> tuple[Volume, tuple[float, ...]]:
    """Voxels [z, y, x] (further axes before) and their spacing in the same order, of the last three.

    Raises:
        DataError: damaged.
    """
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        with entry.on_disk() as path:
            volume = sitk.ReadImage(str(path))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].split("ITK ERROR: ")[-1].strip()[:200] if lines else "damaged"
        raise DataError(f"{entry.path} is damaged: {reason}") from error
    array = sitk.GetArrayFromImage(volume)
    if volume.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    return array, tuple(float(s) for s in volume.GetSpacing()[2::-1])


def _instances(values: Volume, style: VolumeStyle) -> list[Instance]:
    if style.channels is not None:
        return [Instance(style.channels(k), channel > 0) for k, channel in enumerate(values)]
    if set(style.labels) == {-1}:
        return [Instance(style.labels[-1], values > 0)]
    return [Instance(name, values == value) for value, name in style.labels.items()]


def _size(array: Volume) -> str:
    return " × ".join(str(n) for n in reversed(array.shape))
