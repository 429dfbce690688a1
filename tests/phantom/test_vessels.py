from __future__ import annotations

import numpy as np

from tests.phantom.painting import blank_scene, painted, ring
from ultrasam.phantom.tissue import blob, fill
from ultrasam.phantom.vessels import _paint_vessel, draw_carotid, draw_tube, draw_vessels


def test_lumens_plaques_and_veins_do_not_overlap_and_walls_contain_the_lumen() -> None:
    plaques, walls = 0, 0
    for painter in (draw_carotid, draw_tube, draw_vessels):
        for _, named in painted(painter, 25):
            apart = [
                m for name in ("artery", "vein", "plaque", "gland") for m in named.get(name, [])
            ]
            apart += named.get("vessel along its axis", [])
            assert np.sum(apart, axis=0).max() == 1
            plaques += len(named.get("plaque", []))
            for outer in named.get("artery with its wall", []):
                assert not (named["artery"][0] & ~outer).any()
                assert outer.sum() > named["artery"][0].sum()
                walls += 1
    assert plaques > 5
    assert walls > 3


def test_a_large_artery_fills_between_one_and_thirty_percent_of_the_view() -> None:
    shares = np.array([named["artery"][0].mean() for _, named in painted(draw_carotid, 30)])
    assert shares.min() > 0.01
    assert shares.max() < 0.3
    assert (shares > 0.05).mean() > 0.4


def test_a_wall_is_brighter_than_its_lumen() -> None:
    brighter = []
    for seed in range(40):
        scene, rng = blank_scene(), np.random.default_rng(seed)
        lumen = fill(blob(rng, (130, 120), (50, 45), roughness=0.03), scene.shape)
        _paint_vessel(rng, scene, lumen, wall=8)
        brighter.append(scene.echo_db[ring(lumen, 4, 7)].mean() > scene.echo_db[lumen].mean())
    assert np.mean(brighter) > 0.9


def test_blood_is_not_always_black() -> None:
    levels = [
        float(scene.echo_db[named["artery"][0]].mean())
        for scene, named in painted(draw_carotid, 40)
    ]
    assert min(levels) < -20
    assert np.mean(np.array(levels) > -10) > 0.15
