"""Volumes cut along another axis, and masks put back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ultrasam.errors import ConfigError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.reading import read_scan
from ultrasam.images.regions import Region
from ultrasam.images.reslice import along_axis, masks_as_stored
from ultrasam.images.scan import Scan


def volume(rng: np.random.Generator) -> tuple[Scan, np.ndarray]:
    voxels = rng.integers(0, 255, (5, 6, 7), dtype=np.uint8)
    return Scan(5, 6, 7, False, lambda index: voxels[index], (0.5, 0.25)), voxels


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_an_axis_are_those_of_numpy(axis: int, rng: np.random.Generator) -> None:
    scan, voxels = volume(rng)
    along = along_axis(scan, axis)
    assert np.array_equal(along.read_all(), np.moveaxis(voxels, axis, 0))
    assert along.spacing == ((0.5, 0.25) if axis == 0 else None)
    assert along.slice_spacing is None


@pytest.mark.parametrize(
    ("axis", "spacing", "distance"), [(1, (2.0, 0.25), 0.5), (2, (2.0, 0.5), 0.25)]
)
def test_slices_along_an_axis_are_in_mm_if_those_that_are_stored_have_a_known_distance(
    axis: int, spacing: tuple[float, float], distance: float, rng: np.random.Generator
) -> None:
    region = Region((0, 0, 7, 6), (0.1, 0.1))
    scan = replace(volume(rng)[0], slice_spacing=2.0, regions=(region,))
    along = along_axis(scan, axis)
    assert along.spacing == spacing
    assert along.slice_spacing == distance
    assert along.regions == ()  # they calibrate the stored frames


@pytest.mark.parametrize(
    ("distance", "origin", "known"), [(2.0, 0.0, 2.0), (1.0, 0.0, None), (1.0, 9.0, 1.0)]
)
def test_the_distance_between_slices_comes_from_the_file(
    distance: float, origin: float, known: float | None, tmp_path: Path
) -> None:
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
    image.SetSpacing((0.25, 0.5, distance))
    image.SetOrigin((0.0, origin, 0.0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    scan = read_scan(tmp_path / "a.nrrd")
    assert scan.spacing == (0.5, 0.25)
    assert scan.slice_spacing == known


@pytest.mark.parametrize(
    ("more", "known"),
    [
        ('kinds: domain domain domain\nunits: "mm" "mm" "mm"\n', 2.0),
        ('kinds: domain domain time\nunits: "mm" "mm" "ms"\n', None),
        ('units: "mm" "mm" "s"\n', None),
        ("kinds: domain domain list\n", None),
    ],
)
def test_a_distance_in_time_is_none_between_slices(
    more: str, known: float | None, tmp_path: Path
) -> None:
    head = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nspacings: 0.25 0.5 2\n{more}encoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + bytes(60))
    scan = read_scan(tmp_path / "a.nrrd")
    assert scan.num_frames == 3
    assert scan.slice_spacing == known


def test_frames_of_a_freehand_sweep_have_no_distance(tmp_path: Path) -> None:
    frames = "".join(f"Seq_Frame{n:04d}_ProbeToTrackerTransformStatus = OK\n" for n in range(3))
    head = (
        "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementSpacing = 0.25 0.5 0.2\n"
        f"ElementType = MET_UCHAR\nBinaryData = True\n{frames}ElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(60))
    scan = read_scan(tmp_path / "a.mha")
    assert (scan.spacing, scan.slice_spacing) == ((0.5, 0.25), None)


@pytest.mark.parametrize(("shift", "known"), [(0.0, 2.0), (0.5, None)])
def test_slices_that_are_shifted_against_each_other_have_no_distance(
    shift: float, known: float | None, tmp_path: Path
) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    affine = np.diag([0.25, 0.5, 2.0, 1.0])
    affine[0, 2] = shift
    image = nibabel.Nifti1Image(np.zeros((5, 4, 3), np.uint8), affine)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.spacing == pytest.approx((0.5, 0.25))
    assert scan.slice_spacing == known


@pytest.mark.parametrize("axis", [1, 2])
def test_masks_come_back_to_the_stored_slices(axis: int, rng: np.random.Generator) -> None:
    scan, _ = volume(rng)
    truth = rng.random((2, 5, 6, 7)) < 0.3
    along = along_axis(scan, axis)
    masks = MaskSequence(along.num_frames, along.height, along.width, ("a", "b"))
    for index in range(along.num_frames):
        masks.put(index, np.take(truth, index, axis=axis + 1))
    stored = masks_as_stored(masks, scan, axis)
    assert stored.names == ("a", "b")
    for index in range(5):
        assert np.array_equal(stored.masks(index), truth[:, index])


def test_an_axis_that_does_not_exist_and_a_still_are_refused(rng: np.random.Generator) -> None:
    scan, voxels = volume(rng)
    with pytest.raises(ConfigError, match="Axis 3 does not exist"):
        along_axis(scan, 3)
    with pytest.raises(ConfigError, match="one frame"):
        along_axis(Scan.from_array(voxels[0]), 1)
