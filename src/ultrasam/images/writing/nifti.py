"""Write masks as NIfTI, with no more geometry than the source has.

A cine becomes [x, y, 1, t]: time is not a direction in space. Ultrasound without a frame of reference has no
position: qform and sform codes are 0, "unknown", and only pixdim states distances. A volume keeps the
geometry of its file. Source: the NIfTI-1 standard, nifti1.h.
"""

from __future__ import annotations

import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.files import atomic_write
from ultrasam.images.reading import kind_of
from ultrasam.images.scan import Scan
from ultrasam.images.writing.segmentation import Segmentation

Labels = npt.NDArray[np.uint8 | np.uint16]
_VOLUMES = ("nifti", "metaimage", "nrrd")
_COMMENT = 6  # code of a header extension that is text
_ALIGNED = 2  # code of coordinates that are the file's own, not the scanner's
_MAX_VOXELS = 4_000_000_000
_TO_RAS = np.diag(
    [-1.0, -1.0, 1.0, 1.0]
)  # ITK's axes point to the left and back, NIfTI's right and front


def write_nifti(path: Path, result: Segmentation) -> list[Path]:
    """Write masks as a label map: 0 is background, k the k-th object.

    Where objects overlap, no single label map can hold them: each object then gets its own file,
    ``<name>_<k>.nii.gz``.

    Args:
        path: the file, ending in .nii.gz.
        result: the masks; frames without an entry are empty.

    Returns:
        The files.

    Raises:
        DataError: There are more voxels than NIfTI's readers hold.
        MissingDependencyError: The extra 'outputs' is not installed.
        UltraSamError: A file cannot be written.
    """
    scan, masks = result.scan, result.masks
    if scan.num_frames * scan.height * scan.width > _MAX_VOXELS:
        raise DataError(f"{scan.source}: its label map has too many voxels for NIfTI; use coco.")
    stem = path.name.removesuffix(".nii.gz")
    if not _overlap(result):
        _write(path, result, _label_map(result))
        return [path]
    paths = []
    for number in range(len(masks.names)):
        paths.append(path.with_name(f"{stem}_{number}.nii.gz"))
        _write(paths[-1], result, _label_map(result, only=number))
    return paths


def _nibabel() -> Any:
    with needs("Writing NIfTI", extra="outputs"):
        import nibabel
    return nibabel


def _overlap(result: Segmentation) -> bool:
    return any(
        (np.count_nonzero(result.masks.masks(frame), axis=0) > 1).any()
        for frame in result.masks.frames
    )


def _label_map(result: Segmentation, *, only: int | None = None) -> Labels:
    """[T, H, W]: k where object k - 1 is, or 1 where the only one is."""
    scan = result.scan
    kind = np.uint8 if len(result.masks.names) < 256 else np.uint16
    labels = np.zeros((scan.num_frames, scan.height, scan.width), kind)
    for frame, number, mask in result:
        if only is None or only == number:
            labels[frame][mask] = number + 1 if only is None else 1
    return labels


def _write(path: Path, result: Segmentation, labels: Labels) -> None:
    nib = _nibabel()
    image = _like_volume(result.scan, labels)
    if image is None:
        image = _like_cine(result.scan, labels)
    made = result.provenance
    image.header["descrip"] = f"UltraSam {made.ultrasam}, {made.model}"[:79].encode(
        "ascii", "replace"
    )
    told = {
        "labels": {str(k): name for k, name in enumerate(result.masks.names, 1)},
        **made.as_dict(),
        "prompts": {name: result.prompts(k) for k, name in enumerate(result.masks.names)},
    }
    # An extension's length is a multiple of 16; nibabel pads it with zeros.
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension(_COMMENT, json.dumps(told).encode("utf-8"))
    )
    buffer = io.BytesIO()
    image.to_stream(buffer)
    atomic_write(path, gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0))


def _like_cine(scan: Scan, labels: Labels) -> Any:
    """An image [x, y, 1, t], or [x, y] for a still, without a position."""
    nib = _nibabel()
    voxels = labels.transpose(2, 1, 0)
    voxels = voxels[:, :, None, :] if scan.num_frames > 1 else voxels[:, :, 0]
    image = nib.Nifti1Image(voxels, None)
    header = image.header
    row, column = scan.spacing or (1.0, 1.0)
    seconds = None if scan.frame_time is None else scan.frame_time / 1000
    steps = (column, row) if scan.num_frames == 1 else (column, row, 1.0, seconds or 1.0)
    header.set_zooms(steps)
    header.set_xyzt_units(
        "mm" if scan.spacing else "unknown",
        "sec" if seconds and scan.num_frames > 1 else "unknown",
    )
    header["qform_code"] = header["sform_code"] = 0
    return image


def _like_volume(scan: Scan, labels: Labels) -> Any | None:
    """An image with the axes and the geometry of the scan's file; None if that is no volume."""
    nib = _nibabel()
    if scan.source is None or kind_of(scan.source) not in _VOLUMES or scan.num_frames == 1:
        return None
    from ultrasam.images.itk_reader import open_itk

    reader = open_itk(scan.source, str(scan.source))
    size = [int(n) for n in reader.GetSize()]
    if len(size) < 3 or math.prod(size[2:]) != scan.num_frames:
        return None  # a list of images
    voxels = labels.reshape(size[::-1]).transpose()
    image = nib.Nifti1Image(voxels, None)
    if kind_of(scan.source) == "nifti":
        header = nib.load(scan.source).header
        image.header.set_zooms(header.get_zooms()[: len(size)])
        for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
                     "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):  # fmt: skip
            image.header[name] = header[name]
        image.header["pixdim"][0] = header["pixdim"][0]
        return image
    steps = np.array(reader.GetSpacing(), float)
    axes = np.array(reader.GetDirection(), float).reshape(len(size), len(size))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = axes * steps[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]
    image.set_sform(_TO_RAS @ affine, code=_ALIGNED)
    image.set_qform(_TO_RAS @ affine, code=_ALIGNED)
    image.header.set_zooms(np.abs(steps))
    image.header.set_xyzt_units("mm" if scan.spacing else "unknown", "unknown")
    return image
