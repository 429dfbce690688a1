from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.phantom.painting import masks_by_name, paint_scene, ring
from ultrasam.phantom import breast, ovary, thyroid
from ultrasam.phantom.tissue import BoolMap, fill


def _solidity(mask: BoolMap) -> float:
    """Area relative to that of the convex hull: 1 for convex shapes."""
    hull = cv2.convexHull(np.argwhere(mask).astype(np.int32))
    return float(mask.sum() / max(1.0, cv2.contourArea(hull)))


def test_a_thyroid_surrounds_a_windpipe_with_a_shadow() -> None:
    for seed in range(10):
        scene = paint_scene(thyroid.draw_thyroid, seed, probe="linear")
        masks = masks_by_name(scene)
        gland = masks["gland"][0]
        shadow = scene.attenuation_db > 19
        assert shadow.sum() > 200
        assert (gland & shadow).sum() < 0.35 * gland.sum()
        assert _solidity(gland) < 0.95  # the isthmus bends around the windpipe
        for vessel in masks["vessel"]:
            assert (gland & vessel).sum() == 0


def test_nodules_of_whole_and_cropped_frames_have_their_shares_of_the_picture() -> None:
    whole, cropped, steps = [], [], []
    for seed in range(24):
        for painter, shares in (
            (thyroid.draw_thyroid, whole),
            (thyroid.draw_nodule_frame, cropped),
        ):
            scene = paint_scene(painter, seed, probe="linear", size=(180, 200))
            for mask in masks_by_name(scene).get("nodule", []):
                shares.append(mask.mean())
                rim = ring(mask, 0, 4)
                steps.append(np.median(scene.echo_db[mask]) - np.median(scene.echo_db[rim]))
    assert 0.001 < np.median(whole) < 0.08
    assert 0.08 < np.median(cropped) < 0.35
    assert max(cropped) > 0.28
    assert 0.1 < np.mean(np.array(steps) > 0) < 0.75


def test_follicles_lie_in_the_ovary_and_apart_from_each_other() -> None:
    found = 0
    for seed in range(12):
        masks = masks_by_name(paint_scene(ovary.draw_ovary, seed, probe="curved"))
        follicles = masks.get("cyst", [])
        found += len(follicles)
        if follicles:
            assert (np.sum(follicles, axis=0) > 1).sum() == 0
            assert (np.any(follicles, axis=0) & ~masks["ovary"][0]).sum() == 0
    assert found > 5


def test_solid_parts_lie_in_the_mass() -> None:
    found = 0
    for seed in range(40):
        masks = masks_by_name(
            paint_scene(ovary.draw_ovarian_mass, seed, probe="curved", size=(160, 190))
        )
        for part in masks.get("solid part", []):
            assert (part & ~masks["mass"][0]).sum() == 0
            found += 1
    assert found > 3


def test_outlines_of_lesions_keep_the_area_of_their_ellipse_and_range_to_spiculated() -> None:
    """The contours' mean squared radius is normalized, so their area is that of the ellipse."""
    solidity = []
    for seed in range(40):
        outline = breast._lesion_outline(np.random.default_rng(seed), (150, 150), (60, 40))
        mask = fill(outline, (300, 300))
        assert mask.sum() == pytest.approx(np.pi * 60 * 40, rel=0.03)
        solidity.append(_solidity(mask))
    assert max(solidity) > 0.97
    assert min(solidity) < 0.85


def test_lesions_of_the_breast_do_not_overlap() -> None:
    for seed in range(12):
        scene = paint_scene(breast.draw_breast, seed, probe="linear", size=(200, 240))
        lesions = masks_by_name(scene)["lesion"]
        assert (np.sum(lesions, axis=0) > 1).sum() == 0
