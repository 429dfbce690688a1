"""Read volumes (NIfTI, MHA) with label volumes, slice by slice; cines may be stored as volumes too.

SimpleITK returns [z, y, x]. Slices along axis 0 are [y, x], along axis 1 [z, x], along axis 2 [z, y].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case, CaseImage, Instance, Spacing
from ultrasam.datasets.description import NO_OBJECT
from ultrasam.datasets.file_tree import FileEntry, FileTree, Skip, SkipReport
from ultrasam.datasets.readers.paired_images import (
    Describe,
    Measure,
    half_turn,
    key_of,
    metadata_of,
    shared_groups,
)
from ultrasam.errors import DataError, ScanError
from ultrasam.images.itk_reader import open_itk, read_itk
from ultrasam.images.masks import BoolMask
from ultrasam.images.nifti import lacks_spacing
from ultrasam.images.pixels import to_uint8
from ultrasam.images.volume import plane_spacing

Volume = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """How a volume and its label volume become images.

    Attributes:
        labels: maps label values to structures; the single key -1 stands for all values above 0.
        name_of_channel: for label volumes with one binary channel per structure on the first axis: maps the
            channel's index to the structure, instead of ``labels``.
        slice_axis: axis along which the volume is sliced.
        rotate_180: rotate slices by 180 degrees.
        flip_vertical: flip slices top to bottom.
        keep_empty: keep slices without an object.
        single_image: the volume is one image; of a first axis with color channels, the first one is used.
        clean_volume: changes the label volume, given the image volume.
        clean: changes the mask of an instance in a slice, given the slice of the image.
        min_coverage: skip slices whose labels cover less than this fraction of the pixels.
    """

    labels: Mapping[int, str]
    name_of_channel: Callable[[int], str] | None = None
    slice_axis: int = 0
    rotate_180: bool = False
    flip_vertical: bool = False
    keep_empty: bool = False
    single_image: bool = False
    clean_volume: Callable[[Volume, Volume], Volume] | None = None
    clean: Callable[[BoolMask, npt.NDArray[np.uint8]], BoolMask] | None = None
    min_coverage: float = 0.0


def paired_volumes(
    dataset: str,
    tree: FileTree,
    report: SkipReport,
    *,
    image: str,
    label: str,
    options: VolumeOptions,
    describe: Describe | None = None,
    measurements: Measure | None = None,
) -> Iterator[Case]:
    """List cases of image and label volumes whose patterns' shared groups have equal values.

    Args:
        dataset: id of the data set.
        tree, report: files to search, and where to report skipped ones.
        image, label: path patterns (see `FileTree.match`).
        options: how volumes become images.
        describe: maps the image's groups to metadata (see `paired`).
        measurements: maps the image's groups to what the source measured; each slice has it.
    """
    shared = shared_groups(image, label)
    labels: dict[tuple[str, ...], FileEntry] = {}
    for entry, groups in tree.match(label):
        key = key_of(groups, shared)
        if key in labels:
            report.skip(entry, "duplicate label volume", what="file")
        else:
            labels[key] = entry
    label_paths = {entry.path for entry in labels.values()}
    used = set()
    for entry, groups in tree.match(image):
        if entry.path in label_paths:
            continue
        key = key_of(groups, shared)
        if key not in labels:
            report.skip(entry, "volume without labels")
            continue
        used.add(key)
        found = dict(measurements(groups)) if measurements is not None else {}
        yield Case(
            dataset,
            "/".join(part for part in key if part),
            (entry, labels[key]),
            partial(
                read_volumes,
                entry,
                labels[key],
                options,
                **({"measurements": found} if found else {}),
            ),
            **metadata_of(groups, describe),
        )
    for key, entry in labels.items():
        if key not in used:
            report.skip(entry, "labels without a volume", what="file")


def read_volumes(
    image: FileEntry,
    label: FileEntry,
    options: VolumeOptions,
    *,
    measurements: Mapping[str, float] | None = None,
) -> Iterator[CaseImage | Skip]:
    """Read the slices of one image volume and its label volume; each has the measurements, if there are any.

    Raises:
        DataError: A file is damaged, or the volumes differ in size.
    """
    pixels, spacing = load(image)
    values, _ = load(label)
    if options.name_of_channel is not None and values.ndim == pixels.ndim:
        values = values[None]
    if options.name_of_channel is None and values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    while pixels.ndim > 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if options.single_image and pixels.ndim == 3:
        pixels = pixels[0]
    if options.single_image and values.ndim == 3:
        values = values[0]
    if pixels.ndim == 2:
        pixels, values = pixels[None], values[None] if values.ndim == 2 else values
    if values.shape[-3:] != pixels.shape or values.ndim not in (3, 4):
        raise DataError(
            f"the label volume has {_size(values)} voxels, but the image volume {_size(pixels)}"
        )
    gray = to_uint8(pixels)
    if options.clean_volume is not None:
        values = options.clean_volume(values, gray)
    plane = tuple(s for a, s in enumerate(spacing) if a != options.slice_axis)
    known: Spacing | None = plane_spacing((plane[0], plane[1])) if len(plane) == 2 else None
    for k in range(gray.shape[options.slice_axis]):
        slice_ = np.ascontiguousarray(np.take(gray, k, axis=options.slice_axis))
        instances = _instances(np.take(values, k, axis=options.slice_axis - 3), options)
        if options.clean is not None:
            instances = [Instance(i.name, options.clean(i.mask, slice_)) for i in instances]
        if not options.keep_empty and not any(i.mask.any() for i in instances):
            yield Skip(f"{image.path} slice {k}", NO_OBJECT)
            continue
        labeled = np.count_nonzero(np.take(values, k, axis=options.slice_axis - 3))
        if labeled < options.min_coverage * slice_.size:
            reason = f"labels cover less than {options.min_coverage:.1%} of the slice"
            yield Skip(f"{image.path} slice {k}", reason)
            continue
        if options.rotate_180:
            slice_ = half_turn(slice_)
            instances = [Instance(i.name, half_turn(i.mask)) for i in instances]
        if options.flip_vertical:
            slice_ = np.ascontiguousarray(slice_[::-1])
            instances = [Instance(i.name, i.mask[::-1]) for i in instances]
        frame = None if options.single_image else k
        yield CaseImage(slice_, tuple(instances), frame, known, measurements or {})


def load(entry: FileEntry) -> tuple[Volume, tuple[float, ...]]:
    """Load a volume.

    Returns:
        Voxels [z, y, x], preceded by further axes if there are any, and the spacing (z, y, x) in mm;
        NaN if the header has none.

    Raises:
        DataError: The file is damaged.
    """
    try:
        with entry.on_disk() as path:
            reader = open_itk(path, entry.path)
            array = read_itk(reader, entry.path)
            has_spacing = not lacks_spacing(path)
    except ScanError as error:
        raise DataError(str(error).rstrip(".")) from error
    if reader.GetNumberOfComponents() > 1:
        array = np.moveaxis(array, -1, 0)
    spacing = tuple(float(s) if has_spacing else math.nan for s in reader.GetSpacing()[2::-1])
    return array, spacing


def _instances(values: Volume, options: VolumeOptions) -> list[Instance]:
    if options.name_of_channel is not None:
        return [
            Instance(options.name_of_channel(k), channel > 0) for k, channel in enumerate(values)
        ]
    if set(options.labels) == {-1}:
        return [Instance(options.labels[-1], values > 0)]
    return [Instance(name, values == value) for value, name in options.labels.items()]


def _size(array: Volume) -> str:
    return " × ".join(str(n) for n in reversed(array.shape))
