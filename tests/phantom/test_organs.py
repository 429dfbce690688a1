from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tests.phantom.painting import masks_by_name, paint_scene, ring
from ultrasam.phantom import abdomen, fetal, lesions, pelvis
from ultrasam.phantom.tissue import Scene, depth_map

Painter = Callable[[np.random.Generator, Scene], None]


def test_lesions_are_darker_equal_and_brighter_than_their_organ() -> None:
    steps = np.array([lesions.relative_level(np.random.default_rng(s)) for s in range(2000)])
    assert np.mean(steps < -2.5) == pytest.approx(0.45, abs=0.04)
    assert np.mean(np.abs(steps) <= 2.5) == pytest.approx(0.30, abs=0.04)
    assert np.mean(steps > 2.5) == pytest.approx(0.25, abs=0.04)


def test_lesions_of_the_liver_are_small_and_lie_in_the_organ() -> None:
    shares, steps = [], []
    for seed in range(24):
        scene = paint_scene(abdomen.draw_liver, seed, probe="curved")
        masks = masks_by_name(scene)
        organ = masks["organ"][0]
        for mask in masks.get("lesion", []):
            assert (mask & ~organ).sum() == 0
            shares.append(mask.mean())
            rim = ring(mask, 0, 5) & organ
            steps.append(np.median(scene.echo_db[mask]) - np.median(scene.echo_db[rim]))
    assert len(shares) > 24
    assert 0.001 < min(shares) < max(shares) < 0.08
    assert 0.1 < np.mean(np.array(steps) > 0) < 0.8  # neither dark nor bright alone


@pytest.mark.parametrize(
    ("painter", "outer", "inner"),
    [
        (abdomen.draw_kidney, "kidney", "sinus"),
        (abdomen.draw_aorta, "vessel", "lumen"),
        (pelvis.draw_uterus, "pear", "lining"),
        (pelvis.draw_bladder, "gland", "inner zone"),
        (fetal.draw_fetal_abdomen, "fetal abdomen", "bubble"),
    ],
)
def test_parts_are_nested_in_their_organ(painter: Painter, outer: str, inner: str) -> None:
    found = 0
    for seed in range(14):
        masks = masks_by_name(paint_scene(painter, seed, probe="curved", size=(200, 230)))
        for part in masks.get(inner, []):
            assert any((part & ~whole).sum() == 0 for whole in masks[outer])
            found += 1
    assert found >= 3


@pytest.mark.parametrize(
    ("painter", "name"),
    [(abdomen.draw_kidney, "kidney"), (abdomen.draw_spleen, "crescent organ")],
)
def test_organs_are_drawn_darker_and_brighter_than_their_surroundings(
    painter: Painter, name: str
) -> None:
    darker = []
    for seed in range(40):
        scene = paint_scene(painter, seed, probe="curved", size=(150, 170))
        mask = masks_by_name(scene)[name][0]
        rim = ring(mask, 0, 5) & scene.inside
        darker.append(np.median(scene.echo_db[mask]) < np.median(scene.echo_db[rim]))
    assert 0.2 < np.mean(darker) < 0.9


def test_a_skull_is_an_ellipse_and_fades_where_it_runs_along_the_beam() -> None:
    for seed in range(8):
        scene = paint_scene(fetal.draw_fetal_head, seed, probe="linear")
        mask = dict(scene.instances)["head"]
        contour = cv2.findContours(mask.astype(np.uint8), 0, 1)[0][0]
        _, axes, _ = cv2.fitEllipse(contour)
        cut = mask.any(axis=0)[[0, -1]].any() or mask.any(axis=1)[[0, -1]].any()
        if not cut:
            assert mask.sum() == pytest.approx(np.pi * axes[0] * axes[1] / 4, rel=0.03)
    sides, caps = [], []
    for seed in range(20):
        scene = paint_scene(fetal.draw_fetal_head, seed, probe="linear", size=(220, 240))
        mask = dict(scene.instances)["head"]
        shell = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((7, 7))).astype(bool)
        xs = np.nonzero(mask.any(axis=0))[0]
        left, right = np.quantile(xs, (0.06, 0.94))
        x = np.arange(mask.shape[1])[None, :]
        sides.append(scene.echo_db[shell & ((x < left) | (x > right))].mean())
        caps.append(scene.echo_db[shell & (x > left) & (x < right)].mean())
    assert np.mean(np.array(caps) > np.array(sides)) > 0.7


@pytest.mark.parametrize("probe", ["linear", "curved", "phased"])
def test_depth_grows_along_the_beams(probe: str) -> None:
    scene = paint_scene(lambda rng, scene: None, 3, probe=probe)
    depth = depth_map(scene)
    slope_y, slope_x = np.gradient(depth)
    along = slope_x * scene.beam[0] + slope_y * scene.beam[1]
    across = slope_x * scene.beam[1] - slope_y * scene.beam[0]
    inner = cv2.erode(scene.inside.astype(np.uint8), np.ones((9, 9))).astype(bool)
    inner &= depth > 0.05
    assert (along[inner] > 0).all()
    assert np.abs(across[inner]).max() < 0.1 * along[inner].min()
    assert depth[scene.inside].min() == pytest.approx(0, abs=0.01)
    assert depth[scene.inside].max() == pytest.approx(1, abs=0.01)
