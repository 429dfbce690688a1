"""Headers of volumes that are incomplete or untrue: the spacing is then unknown, never another one."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ultrasam.datasets.file_tree import FileEntry
from ultrasam.datasets.readers.volumes import load
from ultrasam.errors import ScanError
from ultrasam.images.reading import read_scan
from ultrasam.images.volume import plane_spacing

VOXELS = np.arange(90, dtype=np.uint8).reshape(3, 6, 5)


@pytest.mark.parametrize("steps", [(np.nan, 0.3), (0.2, np.inf), (0.0, 0.0), (-0.2, 0.3)])
def test_a_nifti_without_a_positive_spacing_has_none(
    tmp_path: Path, steps: tuple[float, float]
) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(VOXELS.T, np.diag([0.2, 0.3, 1, 1])), str(path))
    data = bytearray(path.read_bytes())
    struct.pack_into("<2f", data, 80, *steps)
    struct.pack_into("<2h", data, 252, 0, 0)  # neither qform nor sform
    path.write_bytes(data)
    scan = read_scan(path)
    assert (scan.spacing, scan.notes) == (
        None,
        ("Its pixel spacing is missing, so there are no sizes in mm.",),
    )
    assert np.array_equal(scan.read_all(), VOXELS)
    _, spacing = load(FileEntry(path.name, (str(path),), path.stat().st_size, 0))
    assert plane_spacing((spacing[1], spacing[2])) is None


def test_a_negative_spacing_of_mha_is_no_distance(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    header = "ObjectType = Image\nNDims = 3\nDimSize = 5 6 3\nElementSpacing = -0.2 0.3 1\n"
    path.write_bytes(
        f"{header}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + VOXELS.tobytes()
    )
    scan = read_scan(path)
    said = "Its pixel spacing is -0.2 × 0.3, which is no distance, so there are no sizes in mm."
    assert (scan.spacing, scan.notes) == (None, (said,))


def test_missing_voxels_are_not_called_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    header = "ObjectType = Image\nNDims = 3\nDimSize = 5 6 3\nElementType = MET_FLOAT\n"
    path.write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + VOXELS.tobytes())
    with pytest.raises(
        ScanError, match="is damaged: its voxels are incomplete or cannot be read; copy"
    ):
        read_scan(path).frame()
