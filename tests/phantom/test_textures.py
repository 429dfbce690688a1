from __future__ import annotations

import cv2
import numpy as np
import pytest

from ultrasam.phantom import textures
from ultrasam.phantom.tissue import Material, Scene, paint

SHAPE = (200, 240)


def test_patterns_are_standardized_and_determined_by_their_seed() -> None:
    for seed in range(12):
        a = textures.random_pattern(np.random.default_rng(seed), SHAPE)
        b = textures.random_pattern(np.random.default_rng(seed), SHAPE)
        assert np.array_equal(a, b)
        assert a.shape == SHAPE
        assert a.dtype == np.float32
        assert a.mean() == pytest.approx(0, abs=1e-3)
        assert a.std() == pytest.approx(1, abs=1e-3)


def test_a_honeycomb_has_one_round_dark_fascicle_per_cell() -> None:
    """A hexagonal grid of distance 20 has one point per 0.87 * 20 ** 2 pixels."""
    pattern = textures.honeycomb(np.random.default_rng(0), SHAPE, 20)
    _, _, stats, _ = cv2.connectedComponentsWithStats((pattern < 0).astype(np.uint8))
    fascicles = stats[1:][stats[1:, 4] > 20]
    expected = SHAPE[0] * SHAPE[1] / (0.87 * 20**2)
    assert 0.6 * expected < len(fascicles) < 1.5 * expected
    # A disc fills 0.79 of its bounding box.
    filled = fascicles[:, 4] / (fascicles[:, 2] * fascicles[:, 3])
    assert np.median(filled) == pytest.approx(np.pi / 4, abs=0.08)


@pytest.mark.parametrize("angle", [-0.6, 0.0, 0.4])
def test_fibers_run_along_their_angle(angle: float) -> None:
    """The structure tensor's weak axis is the direction of the fibers."""
    pattern = textures.fibrillar(np.random.default_rng(1), SHAPE, angle, 6)
    dx, dy = np.gradient(pattern, axis=1), np.gradient(pattern, axis=0)
    across = 0.5 * np.arctan2(2 * (dx * dy).mean(), (dx**2 - dy**2).mean())
    along = across + np.pi / 2
    assert np.cos(2 * (along - angle)) > 0.95


def test_septa_are_brighter_than_the_cysts_between_them() -> None:
    pattern = textures.spongiform(np.random.default_rng(2), SHAPE, 24)
    assert np.percentile(pattern, 95) > 1
    assert (pattern < 0).mean() > 0.4


def test_a_pattern_becomes_the_texture_of_what_is_painted() -> None:
    zeros = np.zeros(SHAPE, np.float32)
    beam = np.stack([zeros, zeros + 1])
    scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), np.ones(SHAPE, bool), beam)
    mask = np.zeros(SHAPE, bool)
    mask[40:160, 40:200] = True
    pattern = textures.parenchyma(np.random.default_rng(3), SHAPE, 6)
    paint(np.random.default_rng(4), scene, mask, Material(-3.0, texture_db=5.0, pattern=pattern))
    inner = scene.echo_db[50:150, 50:190]
    assert np.corrcoef(inner.ravel(), pattern[50:150, 50:190].ravel())[0, 1] > 0.99
    assert inner.mean() == pytest.approx(-3 + 5 * pattern[50:150, 50:190].mean(), abs=0.1)
    assert np.abs(scene.echo_db[:30]).max() < 1e-3
