from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.acquisition import simulate
from ultrasam.phantom.paste import paste

NO_MASKS = np.zeros((0, 240, 300), bool)


def speckle(seed: int, level: float = 110) -> np.ndarray:
    """An image of log-compressed Rayleigh speckle, with a slow gradient."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.standard_normal((240, 300, 2)), (0, 0), 1.3)
    decibels = 20 * np.log10(np.hypot(field[..., 0], field[..., 1]) / 0.2 + 0.05)
    gradient = np.linspace(15, -15, 240)[:, None]
    return np.clip(level + 4 * decibels + gradient, 0, 255).astype(np.uint8)


def test_the_same_seed_pastes_the_same_structure() -> None:
    image = speckle(0)
    first, second = (paste(np.random.default_rng(4), image, NO_MASKS) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert first[1].sum() >= 64


def test_a_pasted_structure_keeps_away_from_the_annotated_ones() -> None:
    for seed in range(20):
        phantom = simulate(seed, size=(240, 300))
        changed, masks = paste(np.random.default_rng(seed), phantom.pixels, phantom.masks)
        assert np.array_equal(masks[: len(phantom.masks)], phantom.masks)
        if len(masks) == len(phantom.masks):
            assert np.array_equal(changed, phantom.pixels)
        else:
            assert not (masks[-1] & phantom.masks.any(axis=0)).any()


def test_structures_are_darker_and_brighter_than_their_surroundings() -> None:
    shifts = []
    for seed in range(40):
        image = speckle(seed)
        changed, masks = paste(np.random.default_rng(seed), image, NO_MASKS)
        core = cv2.erode(masks[-1].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        shifts.append(float(changed[core].mean()) - float(image[core].mean()))
    assert 0.2 < np.mean(np.array(shifts) > 8) < 0.5
    assert 0.3 < np.mean(np.array(shifts) < -8) < 0.7


def test_speckle_inside_is_as_fine_as_the_images_own() -> None:
    """Neighboring pixels correlate as before: nothing was blurred, and no white noise was added."""

    def correlation(pixels: np.ndarray, core: np.ndarray) -> float:
        fine = pixels.astype(np.float32)
        fine -= cv2.GaussianBlur(fine, (0, 0), 1.5)  # leaves out what is simulated inside
        pairs = core[:, 1:] & core[:, :-1]
        return float(np.corrcoef(fine[:, 1:][pairs], fine[:, :-1][pairs])[0, 1])

    ratios = []
    for seed in range(40):
        image = speckle(seed)
        changed, masks = paste(np.random.default_rng(seed), image, NO_MASKS)
        core = cv2.erode(masks[-1].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        if core.sum() > 600 and changed[core].mean() > 40:
            ratios.append(correlation(changed, core) / correlation(image, core))
    assert len(ratios) > 8
    assert 0.95 < np.median(ratios) < 1.1, ratios


def test_only_what_lies_near_or_behind_a_structure_changes() -> None:
    for seed in range(20):
        image = speckle(seed)
        changed, masks = paste(np.random.default_rng(seed), image, NO_MASKS)
        top = int(np.flatnonzero(masks[-1].any(axis=1))[0])
        assert np.array_equal(changed[: max(0, top - 40)], image[: max(0, top - 40)])


def test_an_image_without_room_stays_as_it_is() -> None:
    black = np.zeros((240, 300), np.uint8)
    full = np.ones((1, 240, 300), bool)
    for image, masks in ((black, NO_MASKS), (speckle(1), full)):
        changed, found = paste(np.random.default_rng(0), image, masks)
        assert np.array_equal(changed, image)
        assert len(found) == len(masks)
