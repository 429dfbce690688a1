"""The page's numbers equal Python's: resizing, views, prompts, postprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.web.node import call, image
from ultrasam.geometry import ViewTransform
from ultrasam.images.pixels import gray
from ultrasam.inference.augmentation import zoomed_views
from ultrasam.inference.postprocessing import clicked_pieces, scanned_area
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.prompts import Prompt

RESIZE, GEOMETRY, PREPROCESSING = (
    f"segmentation/{name}.js" for name in ("resize", "geometry", "preprocessing")
)
SETTINGS = Preprocessor(size=256, channels="gray")
# Wide, tall, tiny, already right, whole and broken factors.
SHAPES = [(600, 800), (512, 512), (1024, 768), (257, 255), (131, 97), (256, 256), (48, 300), (5, 3)]

# A module for the test itself: classes cannot be called by name.
BRIDGE = """
import {{ View }} from '{site}/segmentation/geometry.js';
import {{ pixelsOf, promptArrays }} from '{site}/segmentation/preprocessing.js';
import {{ zoomedViews }} from '{site}/segmentation/views.js';
const full = (h, w, size, box, margin, flip) => {{
  const whole = View.full(h, w, {{ size }});
  const view = box ? whole.cropAround(box, margin) : whole;
  return flip ? view.hflip() : view;
}};
export const edges = (...a) => {{ const v = full(...a); return [v.left, v.top, v.right, v.bottom]; }};
export const pixels = (image, settings, ...a) => pixelsOf(image, full(...a), settings);
export const toPicture = (logits, side, ...a) => full(...a).logitsToPicture(logits, side);
export const toModel = (logits, side, ...a) => full(...a).logitsToModel(logits, side);
export const prompt = (prompt, ...a) => promptArrays(prompt, full(...a));
export const zoom = (box, h, w, size, tta) =>
  zoomedViews(box, View.full(h, w, {{ size }}), tta).map((v) => [v.left, v.top, v.right, v.bottom]);
"""


@pytest.fixture
def bridge(tmp_path: Path) -> str:
    from tests.web.node import SITE

    path = tmp_path / "bridge.mjs"
    path.write_text(BRIDGE.format(site=SITE.as_posix()))
    return str(path)


def speckle(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def settings() -> dict[str, Any]:
    return SETTINGS.to_dict()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_network_sees_the_same_pixels(
    tmp_path: Path, bridge: str, shape: tuple[int, int]
) -> None:
    pixels = speckle(shape)
    view = SETTINGS.view(*shape)
    (ours,) = call(
        tmp_path, bridge, ("pixels", [image(pixels), settings(), *shape, 256, None, 1, False])
    )
    theirs = SETTINGS.image(pixels, view)
    # OpenCV rounds some pixels otherwise, depending on the processor: by one level of 255.
    difference = np.abs(ours.reshape(theirs.shape) - theirs)
    assert difference.max() <= 1.01 / min(SETTINGS.std)
    assert (difference > 1e-5).mean() < (5e-3 if max(shape) > 50 else 0.1)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(40, 30, 90, 80), (0, 0, 30, 200), (100, 10, 620, 470)])
def test_zoomed_views_are_the_same(
    tmp_path: Path, bridge: str, box: tuple[int, ...], flip: bool
) -> None:
    shape = (480, 640)
    pixels = speckle(shape, 1)
    view = ViewTransform.full(*shape, size=256).crop_around(box, margin=1.6)
    view = view.hflip() if flip else view
    where = [*shape, 256, list(box), 1.6, flip]
    logits = np.random.default_rng(2).normal(0, 4, (64, 64)).astype(np.float32)
    large = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 9, shape), (0, 0), 5).astype(
        np.float32
    )
    edges, seen, placed, mask = call(
        tmp_path, bridge, ("edges", where), ("pixels", [image(pixels), settings(), *where]),
        ("toPicture", [logits.ravel(), 64, *where]), ("toModel", [large.ravel(), 64, *where]),
    )  # fmt: skip
    assert edges == [view.left, view.top, view.right, view.bottom]
    theirs = SETTINGS.image(pixels, view)
    difference = np.abs(seen.reshape(theirs.shape) - theirs)
    assert difference.max() <= 1.01 / min(SETTINGS.std)
    assert (difference > 1e-5).mean() < 5e-3
    assert np.allclose(placed.reshape(shape), view.logits_to_scan(logits), atol=1e-4)
    assert np.allclose(mask.reshape(64, 64), view.logits_to_model(large, size=64), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_come_to_the_same_place(tmp_path: Path, bridge: str, shape: tuple[int, int]) -> None:
    view = SETTINGS.view(*shape)
    logits = np.random.default_rng(4).normal(0, 4, (64, 64)).astype(np.float32)
    large = np.random.default_rng(5).normal(0, 4, shape).astype(np.float32)
    where = [*shape, 256, None, 1, False]
    placed, mask = call(
        tmp_path, bridge, ("toPicture", [logits.ravel(), 64, *where]),
        ("toModel", [large.ravel(), 64, *where]),
    )  # fmt: skip
    assert np.allclose(placed.reshape(shape), view.logits_to_scan(logits), atol=1e-4)
    assert np.allclose(mask.reshape(64, 64), view.logits_to_model(large, size=64), atol=1e-4)


def test_views_that_barely_magnify_are_left_out(tmp_path: Path, bridge: str) -> None:
    tta = TestTimeAugmentation(zoom=1.6, flip=True)
    full = SETTINGS.view(480, 640)
    boxes = [(40, 30, 90, 80), (10, 10, 500, 400)]
    found = call(
        tmp_path,
        bridge,
        *(("zoom", [list(box), 480, 640, 256, {**tta.to_dict(), **tta.rules()}]) for box in boxes),
    )
    for box, ours in zip(boxes, found, strict=True):
        theirs = zoomed_views(box, full, tta)
        assert ours == [[v.left, v.top, v.right, v.bottom] for v in theirs]
    assert found[0]
    assert not found[1]


def test_prompts_are_the_same(tmp_path: Path, bridge: str) -> None:
    view = SETTINGS.view(480, 640).crop_around((40, 30, 190, 180), margin=1.6).hflip()
    where = [480, 640, 256, [40, 30, 190, 180], 1.6, True]
    clicks = [(100.5, 90), (600, 20), (60, 61)]
    given = [{"x": x, "y": y, "label": i % 2} for i, (x, y) in enumerate(clicks, 1)]
    for box in (None, (40.0, 30.0, 190.0, 400.0)):
        prompt = Prompt(points=clicks, labels=[1, 0, 1], box=box)
        theirs = SETTINGS.prompt(prompt, view, mask=None, mask_size=64)
        ask = {"points": given, "box": None if box is None else list(box), "mask": None}
        (ours,) = call(tmp_path, bridge, ("prompt", [ask, *where]))
        assert np.allclose(ours["coords"].reshape(-1, 2), theirs.coords[0], atol=1e-4)
        assert ours["labels"].astype(int).tolist() == theirs.labels[0].tolist()


def test_color_becomes_the_same_gray(tmp_path: Path) -> None:
    pixels = speckle((60, 80, 3), 6)
    pixels[:20] = pixels[:20, :, :1]
    (ours,) = call(tmp_path, PREPROCESSING, ("gray", [image(pixels)]))
    assert np.array_equal(ours["data"].reshape(60, 80), gray(pixels))


def sector(shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A scan like a convex probe's, with text beside it."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius, angle = np.hypot(x - shape[1] / 2, y + 60), np.arctan2(x - shape[1] / 2, y + 60)
    inside = (radius > 90) & (radius < shape[0] * 0.95) & (np.abs(angle) < 0.6)
    pixels = np.where(inside, speckle(shape, 7) // 2 + 20, 0).astype(np.uint8)
    pixels[10:20, 10:60:3] = 200
    return pixels


@pytest.mark.parametrize("shape", [(480, 640), (301, 277)])
def test_the_scanned_area_is_the_same(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = sector(shape)
    theirs = scanned_area(pixels)
    assert theirs is not None
    (ours,) = call(tmp_path, "segmentation/postprocessing.js", ("scannedArea", [image(pixels)]))
    assert (ours.reshape(shape) != theirs).mean() < 5e-4  # single pixels at the hull's edge
    whole = speckle(shape, 8) // 2 + 100
    assert scanned_area(whole) is None
    assert call(tmp_path, "segmentation/postprocessing.js", ("scannedArea", [image(whole)])) == [
        None
    ]


def test_the_clicked_piece_is_the_same(tmp_path: Path) -> None:
    mask = cv2.GaussianBlur(speckle((90, 120), 9), (0, 0), 6) > 128
    clicks = np.argwhere(mask)[[5, -5]][:, ::-1] + 0.5
    prompt = Prompt(points=clicks, labels=[1, 1])
    given = [{"x": float(x), "y": float(y), "label": 1} for x, y in clicks]
    (ours,) = call(
        tmp_path, "segmentation/postprocessing.js",
        ("clickedPieces", [mask.astype(np.uint8).ravel(), given, 120, 90]),
    )  # fmt: skip
    theirs = clicked_pieces(mask, prompt)
    assert 0 < theirs.sum() < mask.sum()
    assert np.array_equal(ours.reshape(90, 120).astype(bool), theirs)


def test_pieces_are_those_of_opencv(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shapes = [(9, 13), (24, 31), (1, 40), (40, 1), (2, 2)]
    masks = [
        rng.random(shape) < share for shape in shapes for share in (0, 0.15, 0.35, 0.6, 0.9, 1)
    ]
    found = call(
        tmp_path, "segmentation/regions.js",
        *(("pieces", [m.astype(np.uint8).ravel(), m.shape[1], m.shape[0]]) for m in masks),
    )  # fmt: skip
    for mask, ours in zip(masks, found, strict=True):
        _, theirs = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        flat = theirs.ravel()
        order = dict.fromkeys(flat[flat > 0].tolist())  # ours are numbered by their first pixels
        numbers = np.zeros(len(order) + 1, int)
        numbers[list(order)] = range(1, len(order) + 1)
        assert np.array_equal(ours["labels"], numbers[flat])
        assert ours["areas"] == [0, *np.bincount(numbers[flat], minlength=1)[1:].tolist()]
