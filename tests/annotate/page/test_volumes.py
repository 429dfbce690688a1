"""A volume in the annotator's page, with the planes across its slices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from tests.annotate.page.served import Held, drag, enter, open_image, served, settle
from tests.web.browser import browser_page, chromium
from ultrasam.annotate.wire import mask_from_json

pytestmark = pytest.mark.slow  # a server with nano, and a browser

SLICES, HEIGHT, WIDTH = 24, 90, 120


@pytest.fixture
def voxels(tmp_path: Path) -> np.ndarray:
    """The voxels of ``volume.nii.gz``, in a folder that also holds a still."""
    chromium()
    folder = tmp_path / "scans"
    folder.mkdir()
    found: np.ndarray = np.random.default_rng(0).integers(0, 255, (SLICES, HEIGHT, WIDTH), np.uint8)
    image = sitk.GetImageFromArray(found)
    image.SetSpacing((0.5, 0.5, 2.0))
    sitk.WriteImage(image, str(folder / "volume.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(found[0]), str(folder / "still.png"))
    return found


def test_planes_across_show_the_volume_and_what_is_drawn_in_its_slices(
    tmp_path: Path, voxels: np.ndarray
) -> None:
    with served(tmp_path / "scans") as server, browser_page() as page:
        server.work_as("anna")
        enter(page, server)
        open_image(page, "still.png")
        assert page.locator("#planes-open").is_hidden()
        open_image(page, "volume.nii.gz")
        assert page.locator("#planes").is_hidden()
        page.keyboard.press("o")
        for frame in (8, 9, 10):
            page.evaluate(f"() => window.ultrasam.session.toFrame({frame})")
            settle(page)
            page.keyboard.press("b")
            drag(page, (30.0, 40.0), (60.0, 44.0))
            if frame < 10:
                page.keyboard.press("n")
        drawn = stored(server, page, range(SLICES))

        # They cross where the stroke has ended.
        point = page.evaluate("() => window.ultrasam.planes.point")
        assert abs(point["x"] - 60) <= 1
        assert abs(point["y"] - 44) <= 1
        page.wait_for_function(
            "() => window.ultrasam.planes.views.every(({ about }) => about?.objects.length === 3)"
        )
        for number, axis, index in ((0, 1, point["y"]), (1, 2, point["x"])):
            plane = page.evaluate(_PLANE, number)
            expected = np.take(voxels, index, axis)
            assert np.array_equal(
                np.reshape(plane["pixels"], (*expected.shape, 4))[..., 0], expected
            )
            assert plane["spacing"] == [2.0, 0.5]
            together = np.zeros(expected.shape, bool)
            for box, runs in plane["masks"]:
                together |= mask_from_json(box, runs, expected.shape)
            assert np.array_equal(together, np.take(drawn, index, axis))
            assert together.any()

        # A click in a plane leads to its slice, and moves the other plane.
        place = page.locator("#plane-of-row").bounding_box()
        page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        page.wait_for_function(f"() => window.ultrasam.session.frame === {SLICES // 2}")
        now = page.evaluate("() => window.ultrasam.planes.point")
        assert abs(now["x"] - WIDTH // 2) <= 1
        assert now["y"] == point["y"]

        # A stroke ends elsewhere while a plane is on its way: it comes with the pixels of its own place.
        held = Held(page, re.compile(r"/planes/1/\d+\.png"))
        drag(page, (30.0, 12.0), (60.0, 20.0))
        held.wait()
        held.release()
        settle(page)
        page.wait_for_timeout(500)
        pixels = np.reshape(page.evaluate(_PLANE, 0)["pixels"], (SLICES, WIDTH, 4))[..., 0]
        assert np.array_equal(pixels, voxels[:, 20])
        page.locator("#plane-row").fill("7")
        page.wait_for_function("() => window.ultrasam.planes.point.y === 7")
        page.reload()
        page.evaluate("() => window.ultrasam.started")
        page.wait_for_function("() => !document.querySelector('#planes').hidden")


def stored(server: Any, page: Any, frames: range) -> np.ndarray:
    """All masks of the volume together, [T, H, W]."""
    image = page.evaluate("() => window.ultrasam.session.image.id")
    volume: np.ndarray = np.zeros((SLICES, HEIGHT, WIDTH), bool)
    for frame in frames:
        for one in server.ask(f"/v1/images/{image}/objects?frame={frame}")["objects"]:
            if one["mask"] is not None:
                mask = one["mask"]["mask"]
                volume[frame] |= mask_from_json(mask["box"], mask["runs"], (HEIGHT, WIDTH))
    return volume


_PLANE = """async (number) => {
  const { bitmap, about } = window.ultrasam.planes.views[number];
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  const { data } = canvas.getContext('2d').getImageData(0, 0, bitmap.width, bitmap.height);
  const masks = about.objects.map(({ mask }) => [mask.mask.box, mask.mask.runs]);
  return { pixels: [...data], spacing: about.spacing, masks };
}"""
