"""Volumes cut along another axis, and masks put back."""

from __future__ import annotations

import numpy as np
import pytest

from ultrasam.errors import ConfigError
from ultrasam.images.mask_sequence import MaskSequence
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
