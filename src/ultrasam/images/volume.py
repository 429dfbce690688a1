"""Read NIfTI, MHA/MHD and NRRD: the slices of a volume are frames, and so are the images of a sequence."""

from __future__ import annotations

import math
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ultrasam.errors import ScanError
from ultrasam.images.itk_reader import open_itk, read_itk
from ultrasam.images.nifti import lacks_spacing, plane_is_skewed, slices_are_skewed
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.scan import Scan, check_size
from ultrasam.images.volume_header import (
    check_b_mode,
    frame_time,
    in_millimeters,
    is_stack_of_slices,
    read_fields,
    sequence_notes,
)

_MAX_VOXELS = 4_000_000_000


def read_volume(file: Path) -> Scan:
    """Open a volume or a sequence of images; its voxels are read on first access to a frame.

    Voxels of more than 8 bits have one gray scale throughout, so slices stay comparable. Time and any further
    axes follow the slices, also those that NRRD stores before them.

    Raises:
        ScanError: The file is damaged, truncated or too large, or holds no image, as radiofrequency data.
    """
    fields = read_fields(file)
    check_b_mode(file, fields)
    reader = open_itk(file, str(file))
    size = [int(n) for n in reader.GetSize()]
    components = int(reader.GetNumberOfComponents())
    width, height = size[0], size[1] if len(size) > 1 else 1
    frames = math.prod(size[2:])
    # ITK takes any axis of NRRD that is not in space for the components of a voxel.
    is_list = components > 1 and _nrrd_kind(reader) == "list"
    if is_list:
        frames, components = frames * components, 1
    check_size(file, height, width, frames)
    if width * height * frames * components > _MAX_VOXELS:
        raise ScanError(
            f"{file} declares {width * height * frames} voxels; it is damaged or must be split."
        )
    if components not in (1, 3, 4):
        raise ScanError(
            f"{file} has {components} values per voxel; only 1 (gray), 3 (RGB) and 4 (RGBA) are supported."
        )
    cache: list[Frame] = []
    lock = Lock()
    shape = (frames, height, width) if components == 1 else (frames, height, width, components)

    def read(index: int) -> Frame:
        with lock:
            if not cache:
                cache.append(_read_voxels(file, reader, shape, is_list=is_list))
        return np.asarray(cache[0][index])

    spacing, note = _spacing(file, reader, fields)
    return Scan(
        frames,
        height,
        width,
        components > 1,
        read,
        spacing,
        file,
        frame_time=frame_time(fields),
        notes=(*note, *sequence_notes(fields)),
        slice_spacing=None if spacing is None or is_list else _slice_spacing(file, reader, fields),
    )


def plane_spacing(
    spacing: tuple[float, float], *, is_located: bool = False
) -> tuple[float, float] | None:
    """The (row, column) distance in mm that a volume's header gives; None if it says nothing.

    Where the spacing is unknown, writers put 1 × 1: it is not taken for a millimeter.

    Args:
        is_located: the header also has the position of the volume, so that 1 × 1 is meant, as after
            resampling to 1 mm.
    """
    known = all(math.isfinite(s) and s > 0 for s in spacing)
    return spacing if known and (is_located or spacing != (1.0, 1.0)) else None


def _slice_spacing(file: Path, reader: Any, fields: dict[str, str]) -> float | None:
    """The distance between slices in mm; 1 counts as unknown where it does for rows and columns.

    None where the third axis is not one of space, or slices are shifted against each other.
    """
    steps = [float(s) for s in reader.GetSpacing()]
    if len(steps) != 3 or not is_stack_of_slices(fields) or slices_are_skewed(file):
        return None
    stored = plane_spacing((steps[2], steps[2]), is_located=_is_located(reader))
    spacing = None if stored is None else in_millimeters(fields, stored)
    return None if spacing is None else spacing[0]


def _is_located(reader: Any) -> bool:
    """Whether a header places slices anywhere but at the origin, which is what writers put by default."""
    size = reader.GetSize()
    return len(size) > 2 and size[2] > 1 and any(abs(v) > 1e-6 for v in reader.GetOrigin()[:3])


def _spacing(
    file: Path, reader: Any, fields: dict[str, str]
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """The spacing in mm, and why there is none."""
    steps = [float(s) for s in reader.GetSpacing()]
    located = _is_located(reader)
    stored = plane_spacing((steps[1], steps[0]), is_located=located) if len(steps) > 1 else None
    if plane_is_skewed(file):
        return None, (
            "Its rows and columns are not at right angles (NIfTI's affine is sheared), so there is no pixel "
            "spacing; the slices are shown as stored.",
        )
    if lacks_spacing(file):
        return None, ("Its pixel spacing is missing, so there are no sizes in mm.",)
    if stored is None:
        shown = " × ".join(f"{s:g}" for s in steps[:2])
        unknown = "means unknown in most files" if shown == "1 × 1" else "is no distance"
        return None, (
            f"Its pixel spacing is {shown}, which {unknown}, so there are no sizes in mm.",
        )
    spacing = in_millimeters(fields, stored)
    if spacing is None:
        return None, ("Its pixel spacing is not in a unit of length, so there are no sizes in mm.",)
    return spacing, ()


def _nrrd_kind(reader: Any) -> str:
    """What the components of a voxel are, if the file is NRRD."""
    key = "NRRD_kinds[pixel]"
    return str(reader.GetMetaData(key)).lower() if reader.HasMetaDataKey(key) else ""


def _read_voxels(file: Path, reader: Any, shape: tuple[int, ...], *, is_list: bool) -> Frame:
    array = read_itk(reader, str(file))
    try:
        if is_list:
            array = np.moveaxis(array, -1, 0)
        array = array.reshape(shape)
        if array.ndim == 3:
            return to_uint8(array)
        if array.min() < 0:
            raise ScanError("its voxels are vectors with negative values, not colors.")
        return to_uint8(array[..., :3])
    except ScanError as error:
        raise ScanError(f"{file}: {error}") from error
