from __future__ import annotations

import numpy as np
import pytest

from tests.phantom.painting import painted, ring
from ultrasam.phantom.nerves import draw_nerves
from ultrasam.phantom.tissue import BoolMap, Scene

Scenes = list[tuple[Scene, dict[str, list[BoolMap]]]]


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return list(painted(draw_nerves, 50))


def test_fascicles_lie_in_nerves_and_roots_in_compartments_or_apart(scenes: Scenes) -> None:
    fascicles, roots = 0, 0
    for _, named in scenes:
        for fascicle in named.get("fascicle", []):
            assert any((fascicle & ~nerve).sum() == 0 for nerve in named["nerve"])
            fascicles += 1
        for inner in named.get("nerve", []) + named.get("nerve root", []):
            for compartment in named.get("fascial compartment", []):
                share = (inner & compartment).sum() / inner.sum()
                assert share < 0.02 or share > 0.98
                roots += share > 0.98
    assert fascicles > 5
    assert roots > 5


def test_a_nerve_is_darker_brighter_or_equal_to_what_is_around_it(scenes: Scenes) -> None:
    differences = []
    for scene, named in scenes:
        for nerve in named.get("nerve", []):
            around = scene.echo_db[ring(nerve, 6, 14)].mean()
            differences.append(float(scene.echo_db[nerve].mean() - around))
    values = np.array(differences)
    assert (values < -2).mean() > 0.12
    assert (values > 2).mean() > 0.12
    assert (np.abs(values) < 2).mean() > 0.15


def test_a_nerve_fills_between_half_a_percent_and_six_percent_of_the_view(scenes: Scenes) -> None:
    shares = [nerve.mean() for _, named in scenes for nerve in named.get("nerve", [])]
    assert min(shares) > 0.003
    assert max(shares) < 0.07
    assert 0.008 < np.median(shares) < 0.03


def test_a_seed_determines_a_scene_of_nerves(scenes: Scenes) -> None:
    again, _ = next(painted(draw_nerves, 1))
    assert np.array_equal(scenes[0][0].echo_db, again.echo_db)
    assert [name for name, _ in scenes[0][0].instances] == [name for name, _ in again.instances]


def test_nerves_roots_and_vessels_do_not_overlap(scenes: Scenes) -> None:
    for _, named in scenes:
        masks = [
            m for name in ("nerve", "nerve root", "artery", "vein") for m in named.get(name, [])
        ]
        assert not masks or np.sum(masks, axis=0).max() == 1
