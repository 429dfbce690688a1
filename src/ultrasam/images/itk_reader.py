"""Read NIfTI, MHA/MHD and NRRD through SimpleITK, with errors that name the true cause."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError, one_line
from ultrasam.extras import needs
from ultrasam.images.nifti import check_nifti

# ITK then reads files whose affine is sheared, with the nearest affine that is not; the voxels stay as they
# are.
os.environ.setdefault("ITK_NIFTI_SFORM_PERMISSIVE", "ON")

with needs("Reading NIfTI, MHA and NRRD", extra="volumes"):
    import SimpleITK as sitk

sitk.ProcessObject.GlobalWarningDisplayOff()  # our errors and notes say the same


def open_itk(file: Path, name: str) -> Any:
    """Read a file's header, as a `SimpleITK.ImageFileReader`.

    Args:
        name: of the file, for error messages.

    Raises:
        ScanError: The file is damaged, or of a kind that ITK does not read.
    """
    check_nifti(file, name)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    if file.name.lower().endswith(".nii.gz") and file.with_suffix("").exists():
        # ITK would take the header of a.nii.gz and the voxels of a.nii.
        reader.SetFileName(str(_alone(file, reader)))
    try:
        reader.ReadImageInformation()
    except Exception as error:
        raise _unreadable(name, error) from error
    return reader


def _alone(file: Path, reader: Any) -> Path:
    """The same file in a folder of its own, for as long as the reader exists."""
    folder = tempfile.TemporaryDirectory(prefix="ultrasam-")
    weakref.finalize(reader, folder.cleanup)
    alone = Path(folder.name) / "a.nii.gz"
    try:
        alone.symlink_to(file.resolve())
    except OSError:  # Windows allows links to some users only
        shutil.copyfile(file, alone)
    return alone


def read_itk(reader: Any, name: str) -> npt.NDArray[Any]:
    """Read the voxels, [z, y, x], preceded by further axes and followed by components if there are any.

    Raises:
        ScanError: The file is damaged.
    """
    try:
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ScanError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    cause = lines[-1].split("ERROR: ")[-1]
    cause = re.sub(r"^(\w+\((0x)?[0-9a-fA-F]+\): )?(Read\w+: )?", "", cause)
    reason = one_line(cause).rstrip(". ")
    if "No such file" in reason:  # the last error of the system, whatever ITK failed at
        return ScanError(
            f"{name} is damaged: its voxels are incomplete or cannot be read; copy or download it again."
        )
    if re.search(r"not supported|unsupported|only supports", cause, re.IGNORECASE):
        return ScanError(
            f"{name} is of a kind that is not supported: {reason}; convert it to a plain NIfTI, MHA or NRRD."
        )
    return ScanError(f"{name} is damaged: {reason}; copy or download it again.")
