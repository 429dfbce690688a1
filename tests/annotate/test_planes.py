"""Planes across volumes, by HTTP."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from tests.annotate.conftest import Page
from ultrasam.annotate import planes
from ultrasam.annotate.wire import mask_from_json

SHAPE = (5, 40, 60)


@pytest.fixture
def voxels(folder: Path) -> np.ndarray:
    """Of ``volume.nrrd`` in the folder."""
    found: np.ndarray = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
    image = sitk.GetImageFromArray(found)
    image.SetSpacing((0.25, 0.5, 2.0))
    sitk.WriteImage(image, str(folder / "volume.nrrd"))
    return found


def test_a_plane_has_its_pixels_masks_and_size(voxels: np.ndarray, page: Page) -> None:
    image = page.id("volume.nrrd")
    for frame, x in ((1, 10.0), (3, 30.0)):
        page.draw(image, (x, 20.0), 6, frame=frame)
    drawn = np.zeros(SHAPE, bool)
    for frame in (1, 3):
        for one in page.get(f"/images/{image}/objects?frame={frame}").json()["objects"]:
            if one["mask"] is not None:
                wire = one["mask"]["mask"]
                drawn[frame] |= mask_from_json(wire["box"], wire["runs"], SHAPE[1:])
    assert drawn.sum() > 100
    for axis, index, spacing in ((1, 20, [2.0, 0.25]), (2, 12, [2.0, 0.5]), (2, 59, [2.0, 0.5])):
        place = f"/images/{image}/planes/{axis}/{index}"
        content = page.get(f"{place}.png").content
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(pixels, np.take(voxels, index, axis))
        found = page.get(place).json()
        assert (found["height"], found["width"]) == pixels.shape
        assert found["spacing"] == spacing
        together = np.zeros(pixels.shape, bool)
        for one in found["objects"]:
            wire = one["mask"]["mask"]
            together |= mask_from_json(wire["box"], wire["runs"], pixels.shape)
        assert np.array_equal(together, np.take(drawn, index, axis))


def test_what_has_no_such_plane_says_so(
    voxels: np.ndarray, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, still = page.id("volume.nrrd"), page.id("a.png")
    for place, said in (
        (f"{image}/planes/1/40", "Plane 40 of axis 1 does not exist; the image has 40"),
        (f"{still}/planes/1/0.png", "The image has one frame"),
        (f"{image}/planes/3/0", "less than or equal to 2"),
    ):
        answer = page.get(f"/images/{place}")
        assert answer.status_code == 422
        assert said in answer.json()["detail"]
    monkeypatch.setattr(planes, "MOST_BYTES", 1000)
    answer = page.get(f"/images/{image}/planes/1/0.png")
    assert answer.status_code == 422
    assert "planes across are shown up to" in answer.json()["detail"]
