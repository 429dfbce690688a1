from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.phantom.painting import blank_scene, painted, ring
from ultrasam.phantom.bands import draw_pleura, draw_tendons
from ultrasam.phantom.muscles import draw_aponeuroses, draw_muscles, draw_sheet
from ultrasam.phantom.needles import draw_needle
from ultrasam.phantom.tissue import BoolMap


def _two_sides(mask: BoolMap) -> tuple[float, float]:
    """Longer and shorter side of the smallest rectangle around a mask."""
    points = np.argwhere(mask)[:, ::-1].astype(np.float32)
    _, sides, _ = cv2.minAreaRect(points)
    return max(sides), min(sides)


def test_a_sheet_is_as_thick_as_asked_and_brighter_than_its_surroundings() -> None:
    scene = blank_scene()
    edge = np.linspace(60, 100, scene.shape[1], dtype=np.float32)
    mask = draw_sheet(np.random.default_rng(0), scene, edge, 6.0, 12.0)
    assert mask.sum(axis=0).mean() == pytest.approx(6.0, abs=0.3)
    y, x = np.nonzero(mask)
    assert np.abs(y - edge[x]).max() <= 3
    assert scene.echo_db[mask].mean() > 4
    assert np.abs(scene.echo_db[ring(mask, 6, 20)]).max() < 1


def test_aponeuroses_are_thin_bands_with_disjoint_muscle_between_them() -> None:
    bellies = 0
    for scene, named in painted(draw_aponeuroses, 12):
        for band in named["aponeurosis"]:
            columns = band.any(axis=0)
            assert 2 <= band.sum(axis=0)[columns].mean() <= 0.04 * scene.shape[0]
        assert np.sum(named.get("muscle belly", [np.zeros(1)]), axis=0).max() <= 1
        bellies += len(named.get("muscle belly", []))
    assert bellies > 5


def test_muscle_bellies_are_disjoint_and_in_one_piece() -> None:
    for _, named in painted(draw_muscles, 8):
        bellies = named["muscle belly"]
        assert np.sum(bellies, axis=0).max() == 1
        for belly in bellies:
            assert cv2.connectedComponents(belly.astype(np.uint8))[0] == 2


def test_the_pleural_line_is_brighter_than_both_sides_and_hidden_behind_ribs() -> None:
    brighter, hidden = [], 0
    for scene, named in painted(draw_pleura, 20):
        lines, ribs = named.get("pleural line", []), named.get("rib surface", [])
        for line in lines:
            brighter.append(scene.echo_db[line].mean() > scene.echo_db[ring(line, 3, 9)].mean() + 3)
            for rib in ribs:
                lowest = np.where(rib.any(axis=0), rib.argmax(axis=0), scene.shape[0])
                below = np.arange(scene.shape[0])[:, None] > lowest + 12
                assert not (line & below)[:, lowest < scene.shape[0]].any()
                hidden += 1
    assert np.mean(brighter) > 0.9
    assert hidden > 5


def test_tendons_are_bands_or_ovals_of_any_brightness() -> None:
    levels = []
    for scene, named in painted(draw_tendons, 30):
        tendons = named.get("tendon", [])
        assert not tendons or np.sum(tendons, axis=0).max() == 1
        levels += [float(scene.echo_db[tendon].mean()) for tendon in tendons]
    assert np.mean(np.array(levels) < -1) > 0.15
    assert np.mean(np.array(levels) > 1) > 0.3


def test_a_needle_is_thin_straight_and_bright() -> None:
    for scene, named in painted(draw_needle, 12):
        (needle,) = named["needle"]
        long, short = _two_sides(needle)
        assert long > 8 * short
        assert short <= 8
        shine = scene.echo_db + 6 * scene.specular
        assert shine[needle].mean() > shine[ring(needle, 3, 8)].mean() + 3
