from __future__ import annotations

import cv2
import numpy as np
import pytest

from ultrasam.phantom.beams import BeamGeometry, Probe


def geometries(probe: Probe, count: int = 12) -> list[BeamGeometry]:
    return [BeamGeometry.draw(np.random.default_rng(s), probe, 220, 280) for s in range(count)]


@pytest.mark.parametrize("probe", ["linear", "curved", "phased"])
def test_beams_and_pixels_map_to_each_other(probe: Probe) -> None:
    for geometry in geometries(probe):
        x = cv2.remap(geometry.to_pixels[0], *geometry.to_beams, cv2.INTER_LINEAR)
        y = cv2.remap(geometry.to_pixels[1], *geometry.to_beams, cv2.INTER_LINEAR)
        rows, columns = np.nonzero(
            cv2.erode(geometry.inside.astype(np.uint8), np.ones((7, 7), np.uint8))
        )
        assert np.abs(x[rows, columns] - columns).max() < 0.5
        assert np.abs(y[rows, columns] - rows).max() < 0.5


def test_a_sector_leaves_the_corners_and_a_trapezoid_widens_from_a_flat_top() -> None:
    for geometry in geometries("phased"):
        assert not geometry.inside[-1, 0]
        assert not geometry.inside[0, 0]
        assert not geometry.inside[0, -1]
    steered = [g for g in geometries("linear", 60) if np.ptp(g.beam[0]) > 0]
    assert 1 <= len(steered) <= 15
    for geometry in steered:
        widths = geometry.inside.sum(axis=1)
        top = int(np.flatnonzero(widths)[0])
        assert widths[top + 1] > 60  # all of the array, and not an arc's first pixels
        assert widths[top + 100] > widths[top + 1] * 1.05
