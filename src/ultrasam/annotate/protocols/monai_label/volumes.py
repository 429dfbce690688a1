"""Scans and label maps as volumes that a viewer lays over each other, voxel for voxel.

A cine is a volume whose slices are its frames, 1 mm apart; a still has one slice. Voxels are numbered from
0 along x, y and z, and a voxel's number is its center.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError, one_line
from ultrasam.extras import needs
from ultrasam.images.mask_reading import check_size
from ultrasam.images.pixels import gray
from ultrasam.images.reading import kind_of
from ultrasam.images.scan import Scan

Labels = npt.NDArray[np.uint8 | np.uint16]
SUFFIXES = (".nii.gz", ".nii", ".nrrd")
_VOLUMES = ("nifti", "metaimage", "nrrd")
_MOST_VOXELS = 1_000_000_000


def check_voxels(scan: Scan) -> None:
    """Refuse scans whose label map would fill the memory.

    Raises:
        DataError: There are more than a billion voxels.
    """
    if scan.num_frames * scan.height * scan.width > _MOST_VOXELS:
        raise DataError(
            "The scan has more than a billion voxels; split it, or use 'ultrasam annotate'."
        )


def image_file(scan: Scan) -> tuple[Path | bytes, str]:
    """What a viewer loads, and its suffix: the file itself if it is a volume, else its gray values as NIfTI.

    No element of a DICOM file gets into the NIfTI.

    Raises:
        DataError: As in `check_voxels`.
        ScanError: A frame cannot be read.
        MissingDependencyError: The extra 'volumes' is not installed.
    """
    if scan.source is not None and kind_of(scan.source) in _VOLUMES:
        suffixes = "".join(scan.source.suffixes[-2:]).lower()
        return scan.source, ".nii.gz" if suffixes.endswith(".nii.gz") else scan.source.suffix
    check_voxels(scan)
    frames = np.stack([gray(frame) for frame in scan])
    return _written(_volume(frames, scan), ".nii.gz", compress=True), ".nii.gz"


def label_map_file(labels: Labels, scan: Scan, suffix: str, *, compress: bool = True) -> bytes:
    """A label map [T, H, W] in the geometry of a scan's volume, as NIfTI or NRRD.

    Args:
        suffix: one of `SUFFIXES`.
        compress: whether NRRD is compressed; NIfTI is if it ends in .gz.

    Raises:
        DataError: The suffix is another.
        MissingDependencyError: The extra 'volumes' is not installed.
    """
    if suffix not in SUFFIXES:
        raise DataError(f"Results cannot be written as '{suffix[:20]}'; use {', '.join(SUFFIXES)}.")
    return _written(_volume(labels, scan), suffix, compress=compress)


def read_label_map(content: bytes, name: str, scan: Scan) -> npt.NDArray[np.int64]:
    """The values [T, H, W] of a label map that a viewer sends: NIfTI, NRRD, or the bare bytes of the voxels.

    Args:
        name: of the file; only its suffix counts.

    Raises:
        DataError: It is no label map, or that of another scan.
    """
    shape = (scan.num_frames, scan.height, scan.width)
    if name.endswith(".bin"):
        for kind in (np.uint8, np.uint16):
            if len(content) == math.prod(shape) * np.dtype(kind).itemsize:
                return np.frombuffer(content, kind).reshape(shape).astype(np.int64)
        raise DataError(
            f"The label map has {len(content)} bytes, which is not 1 or 2 for each voxel of the image."
        )
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), None)
    if suffix is None:
        raise DataError(f"The label map must be a file {', '.join(SUFFIXES)}.")
    sitk = _sitk()
    with tempfile.TemporaryDirectory(prefix="ultrasam-") as folder:
        path = Path(folder) / f"label{suffix}"
        path.write_bytes(content)
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise DataError("The label map is damaged; save it again.") from error
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise DataError(
                "The label map has several values per voxel; save segments that don't overlap."
            )
        voxels = sitk.GetArrayFromImage(image)
    if voxels.dtype.kind not in "iuf" or (voxels.dtype.kind == "f" and (voxels % 1 != 0).any()):
        raise DataError("The label map has values that are no whole numbers.")
    voxels = voxels.reshape(-1, *voxels.shape[-2:])
    check_size(Path("The label map"), voxels.shape, scan)
    return np.asarray(voxels, np.int64)


def _sitk() -> Any:
    with needs("MONAI Label's protocol", extra="volumes"):
        import SimpleITK
    return SimpleITK


def _volume(voxels: npt.NDArray[Any], scan: Scan) -> Any:
    sitk = _sitk()
    if scan.source is not None and kind_of(scan.source) in _VOLUMES:
        from ultrasam.images.itk_reader import open_itk

        reader = open_itk(scan.source, str(scan.source))
        size = [int(n) for n in reader.GetSize()]
        if len(size) > 2 and math.prod(size[2:]) == len(voxels):
            image = sitk.GetImageFromArray(voxels.reshape(size[::-1]), isVector=False)
            image.SetOrigin(reader.GetOrigin())
            image.SetSpacing(reader.GetSpacing())
            image.SetDirection(reader.GetDirection())
            return image
    image = sitk.GetImageFromArray(voxels, isVector=False)
    row, column = scan.spacing or (1.0, 1.0)
    image.SetSpacing((column, row, 1.0))
    return image


def _written(image: Any, suffix: str, *, compress: bool) -> bytes:
    with tempfile.TemporaryDirectory(prefix="ultrasam-") as folder:
        path = Path(folder) / f"image{suffix}"
        try:
            _sitk().WriteImage(image, str(path), compress)
        except RuntimeError as error:
            raise DataError(f"The volume cannot be written: {one_line(error)}.") from error
        return path.read_bytes()
