"""What NumPy does where OpenCV is missing, compared with OpenCV."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ultrasam import morphology, resampling

SHAPES = [
    ((64, 64), (256, 256)),
    ((256, 200), (600, 470)),
    ((300, 411), (187, 256)),
    ((97, 33), (40, 91)),
]


def both(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, *arguments: object
) -> list[npt.NDArray[np.generic]]:
    """The results of a function with and without OpenCV."""
    function = getattr(module, name)
    results = [np.asarray(function(*arguments))]
    with monkeypatch.context() as patch:
        patch.setattr(module, "cv2", None)
        results.append(np.asarray(function(*arguments)))
    assert results[0].dtype == results[1].dtype
    assert results[0].shape == results[1].shape
    return results


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("name", ["resize_linear", "resize_area"])
def test_floats_are_resized_equally(
    monkeypatch: pytest.MonkeyPatch, name: str, old: tuple[int, int], new: tuple[int, int]
) -> None:
    logits = np.random.default_rng(0).normal(0, 8, old).astype(np.float32)
    a, b = both(monkeypatch, resampling, name, logits, new)
    assert np.abs(a - b).max() < 1e-3


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("name", ["resize_linear", "resize_area"])
def test_gray_levels_are_resized_to_one_level(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    channels: tuple[int, ...],
    old: tuple[int, int],
    new: tuple[int, int],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*old, *channels)).astype(np.uint8)
    a, b = both(monkeypatch, resampling, name, pixels, new)
    difference = np.abs(a.astype(int) - b.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.02


def masks() -> list[npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    noise = [rng.random((61, 47)) < share for share in (0.02, 0.3, 0.5, 0.9)]
    y, x = np.mgrid[:80, :100]
    ring = np.abs(np.hypot(x - 50, y - 40) - 25) < 3
    sector = (np.hypot(x - 50, y + 10) < 80) & (np.abs(x - 50) < 0.7 * (y + 10))
    return [*noise, ring, sector, ring | (rng.random(ring.shape) < 0.1)]


@pytest.mark.parametrize("index", range(7))
def test_components_holes_and_boxes_are_the_same(
    monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    mask = masks()[index]
    count, labels = morphology.label_components(mask)
    with monkeypatch.context() as patch:
        patch.setattr(morphology, "cv2", None)
        ours, our_labels = morphology.label_components(mask)
    assert ours == count
    assert len(np.unique(np.stack([labels, our_labels]).reshape(2, -1), axis=1).T) == count
    for name in ("fill_holes", "bounding_box", "largest_component"):
        a, b = both(monkeypatch, morphology, name, mask)
        assert np.array_equal(a, b), name
    for name in ("dilate", "close", "open_"):
        a, b = both(monkeypatch, morphology, name, mask, 3)
        assert np.array_equal(a, b), name


@pytest.mark.parametrize("index", range(7))
def test_a_convex_hull_differs_at_its_rim_at_most(
    monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    mask = masks()[index]
    a, b = both(monkeypatch, morphology, "convex_hull", mask)
    assert (b | ~mask).all()
    assert not (a & ~morphology.dilate(b, 1)).any()
    assert not (b & ~morphology.dilate(a, 1)).any()


def test_an_empty_mask_has_no_components_and_no_box(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = np.zeros((5, 7), bool)
    monkeypatch.setattr(morphology, "cv2", None)
    assert morphology.label_components(empty)[0] == 1
    assert morphology.bounding_box(empty).tolist() == [0, 0, 0, 0]
    assert not morphology.fill_holes(empty).any()


def test_a_local_mean_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 31)).astype(np.uint8)
    a, b = both(monkeypatch, morphology, "local_mean", pixels, 5)
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
