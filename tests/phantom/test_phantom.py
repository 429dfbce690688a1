from __future__ import annotations

import cv2
import numpy as np
import pytest

from ultrasam.phantom import acquisition, tissue
from ultrasam.phantom.acquisition import simulate
from ultrasam.phantom.display import DisplaySettings, compress
from ultrasam.phantom.tissue import BoolMap, FloatMap, Material, Scene


def test_a_seed_determines_the_image() -> None:
    a, b, c = simulate(5), simulate(5), simulate(6)
    assert np.array_equal(a.pixels, b.pixels)
    assert np.array_equal(a.masks, b.masks)
    assert a.names == b.names
    assert a.pixels.shape != c.pixels.shape or not np.array_equal(a.pixels, c.pixels)


@pytest.mark.parametrize("probe", ["linear", "curved", "phased"])
def test_masks_have_the_size_of_the_image(probe: str) -> None:
    for seed in range(4):
        phantom = simulate(seed, size=(200, 260), probe=probe)
        assert phantom.pixels.shape == (200, 260)
        assert phantom.pixels.dtype == np.uint8
        assert phantom.masks.shape == (len(phantom.names), 200, 260)
        assert all(mask.sum() >= 64 for mask in phantom.masks)
        assert min(phantom.spacing) > 0


def test_speckle_has_rayleigh_statistics() -> None:
    """Fully developed speckle's amplitude has a mean 1.91 times its deviation (Burckhardt 1978)."""
    rng = np.random.default_rng(0)
    scatter = rng.standard_normal((400, 400, 2), dtype=np.float32)
    from ultrasam.phantom.acquisition import _unit_energy_blur

    echo = _unit_energy_blur(scatter, 1.5, 1.0)
    amplitude = np.sqrt((echo * echo).sum(-1))[20:-20, 20:-20]
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.91, abs=0.06)
    assert (echo * echo).sum(-1).mean() == pytest.approx(2.0, rel=0.1)


def test_fluid_is_darker_than_the_tissue_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def cyst(
        rng: np.random.Generator, inside: BoolMap, beam: FloatMap, *, is_sector: bool
    ) -> Scene:
        zeros = np.zeros(inside.shape, np.float32)
        scene = Scene(zeros.copy(), zeros.copy(), zeros.copy(), inside, beam)
        place = inside.shape[1] / 2, inside.shape[0] / 2
        mask = tissue.fill(tissue.blob(rng, place, (40, 30), roughness=0.1), inside.shape)
        tissue.paint(rng, scene, mask, Material(-20, attenuation_db=-8))
        scene.instances.append(("cyst", mask))
        return scene

    monkeypatch.setattr(acquisition, "draw_scene", cyst)
    for seed in range(12):
        phantom = simulate(seed)
        for mask in phantom.masks:
            ring = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))).astype(bool) & ~mask
            ring &= phantom.pixels > 0  # in the field of view
            assert phantom.pixels[mask].mean() < phantom.pixels[ring].mean()


def test_a_structure_is_where_its_contour_is() -> None:
    square = np.array([[10, 20], [30, 20], [30, 50], [10, 50]], np.float32)
    mask = tissue.fill(square, (80, 60))
    assert abs(int(mask.sum()) - 600) < 60
    assert mask[21:49, 11:29].all()
    assert not mask[:19].any()


def test_log_compression_shows_a_decade_by_its_decibels() -> None:
    settings = DisplaySettings(60.0, 30.0)
    envelope = np.full((50, 4), 1.0, np.float32)
    envelope[:, 2:] = 10.0
    differences = [
        np.diff(compress(np.random.default_rng(s), envelope, settings)[:, 1:3], axis=1)
        for s in range(9)
    ]
    assert np.median(differences) == pytest.approx(20 / 60, abs=0.01)


def test_structures_in_the_dark_have_no_masks() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    pixels = np.zeros((100, 100), np.uint8)
    assert not acquisition._is_lit(pixels, mask)
    pixels[~mask] = 60  # a black cyst in visible tissue
    assert acquisition._is_lit(pixels, mask)
