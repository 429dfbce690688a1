"""Read NIfTI, MHA/MHD and NRRD through SimpleITK; slices along the last axis are frames."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.errors import ScanError, one_line
from ultrasam.extras import needs
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.scan import Scan, check_size

with needs("Reading NIfTI, MHA and NRRD", extra="volumes"):
    import SimpleITK as sitk

_MAX_VOXELS = 4_000_000_000


def read_volume(file: Path) -> Scan:
    """Open a volume; its voxels are read on first access to a frame.

    Voxels of more than 8 bits are scaled over the range of the whole volume, so slices stay comparable. Time
    and any further axes follow the slices.

    Raises:
        ScanError: The file is damaged, truncated or too large.
    """
    sitk.ProcessObject.GlobalWarningDisplayOff()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
        size = [int(n) for n in reader.GetSize()]
        spacing = [float(s) for s in reader.GetSpacing()]
        components = int(reader.GetNumberOfComponents())
    except Exception as error:
        raise ScanError(
            f"{file} is damaged: {_reason(error)}; copy or download it again."
        ) from error
    width, height = size[0], size[1] if len(size) > 1 else 1
    frames = math.prod(size[2:])
    check_size(file, height, width, frames)
    if width * height * frames * components > _MAX_VOXELS:
        raise ScanError(
            f"{file} declares {math.prod(size)} voxels; it is damaged or must be split."
        )
    if components not in (1, 3, 4):
        raise ScanError(
            f"{file} has {components} values per voxel; only 1 (gray), 3 (RGB) and 4 (RGBA) are supported."
        )
    cache: list[Frame] = []

    def read(index: int) -> Frame:
        if not cache:
            cache.append(_read_voxels(file, reader, (frames, height, width), components))
        return np.asarray(cache[0][index])

    has_spacing = len(spacing) > 1 and spacing[0] > 0 and spacing[1] > 0
    return Scan(
        frames,
        height,
        width,
        components > 1,
        read,
        (spacing[1], spacing[0]) if has_spacing else None,
        file,
    )


def _read_voxels(file: Path, reader: Any, shape: tuple[int, int, int], components: int) -> Frame:
    try:
        array = sitk.GetArrayFromImage(reader.Execute())
        array = (
            array.reshape(*shape, components)[..., :3] if components > 1 else array.reshape(shape)
        )
        return to_uint8(array)
    except ScanError as error:
        raise ScanError(f"{file}: {error}") from error
    except Exception as error:
        raise ScanError(
            f"{file} is damaged: {_reason(error)}; copy or download it again."
        ) from error


def _reason(error: Exception) -> str:
    """The last line of an ITK message, which gives the cause."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1].split("ITK ERROR: ")[-1]) if lines else one_line(error)
