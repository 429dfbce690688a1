from __future__ import annotations

import cv2
import numpy as np

from tests.phantom.painting import masks_by_name, paint_scene
from ultrasam.phantom.heart import draw_apical_heart, draw_short_axis_heart
from ultrasam.phantom.tissue import BoolMap


def _touching(a: BoolMap, b: BoolMap) -> BoolMap:
    return a & cv2.dilate(b.astype(np.uint8), np.ones((5, 5))).astype(bool)


def test_the_ventricle_is_nested_in_its_wall_and_chambers_do_not_overlap() -> None:
    for seed in range(8):
        masks = masks_by_name(paint_scene(draw_apical_heart, seed, probe="phased"))
        ventricle, whole = masks["left ventricle"][0], masks["left ventricle with wall"][0]
        assert (ventricle & ~whole).sum() == 0
        assert 1.1 * ventricle.sum() < whole.sum() < 4 * ventricle.sum()
        chambers = [
            mask for name, found in masks.items() for mask in found if name.split()[-1] != "wall"
        ]
        overlap = np.sum(chambers, axis=0) > 1
        assert overlap.sum() < 0.03 * ventricle.sum()


def test_the_ventricle_ends_in_a_straight_line_at_the_valve() -> None:
    for seed in range(8):
        masks = masks_by_name(paint_scene(draw_apical_heart, seed, probe="phased"))
        ys, xs = np.nonzero(_touching(masks["left ventricle"][0], masks["left atrium"][0]))
        assert len(xs) > 20
        middle = np.stack([xs - xs.mean(), ys - ys.mean()])
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(middle)))
        assert spread[0] < 3  # thickness of the line in pixels
        assert spread[1] > 2.5 * spread[0]


def test_there_is_no_border_at_the_valve() -> None:
    """The step in echogenicity across the valve is small compared with that across the side walls."""
    valve, walls = [], []
    for seed in range(12):
        scene = paint_scene(draw_apical_heart, seed, probe="phased")
        masks = masks_by_name(scene)
        ventricle, atrium = masks["left ventricle"][0], masks["left atrium"][0]
        ring = masks["left ventricle with wall"][0] & ~ventricle
        inner = scene.echo_db[ventricle]
        valve.append(abs(np.median(inner) - np.median(scene.echo_db[atrium])))
        walls.append(abs(np.median(inner) - np.median(scene.echo_db[ring])))
    assert np.median(valve) < 0.5 * np.median(walls)


def test_blood_may_be_darker_or_brighter_than_the_wall() -> None:
    darker = []
    for seed in range(40):
        scene = paint_scene(draw_apical_heart, seed, probe="phased", size=(150, 170))
        masks = masks_by_name(scene)
        ventricle = masks["left ventricle"][0]
        ring = masks["left ventricle with wall"][0] & ~ventricle
        darker.append(np.median(scene.echo_db[ventricle]) < np.median(scene.echo_db[ring]))
    assert 0.8 < np.mean(darker) < 1


def test_the_right_ventricle_is_a_crescent_around_the_wall_in_short_axis() -> None:
    solidity = []
    for seed in range(10):
        scene = paint_scene(draw_short_axis_heart, seed, probe="phased")
        right, left = scene.instances[2][1], scene.instances[0][1]
        assert (right & left).sum() == 0
        assert _touching(right, left).sum() > 30
        points = np.argwhere(right).astype(np.int32)
        solidity.append(right.sum() / cv2.contourArea(cv2.convexHull(points)))
    assert np.median(solidity) < 0.85
