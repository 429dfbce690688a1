"""Parts of the annotator's page that need no browser: masks, polygons, keys."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.web.node import SITE, call
from ultrasam.annotate.wire import mask_json
from ultrasam.images import rle

STATIC = SITE.parents[1] / "annotate" / "static"
BoolMask = npt.NDArray[np.bool_]

# Several at once: it takes longer to start Node than to compute.
_MASKS = st.lists(
    arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 14))), min_size=8, max_size=16
)
_PLACES = st.tuples(st.floats(-3, 22), st.floats(-3, 22))
_STROKES = st.tuples(
    arrays(bool, (20, 18)),
    st.lists(_PLACES, min_size=1, max_size=4),
    st.floats(0.3, 6),
    st.booleans(),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's modules, with the shared ones where Node finds them."""
    folder = tmp_path_factory.mktemp("page")
    for path in (STATIC / "page").rglob("*.js"):
        copy = folder / path.relative_to(STATIC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text().replace("'/shared/", f"'{SITE.as_posix()}/"))
    (folder / "package.json").write_text('{"type": "module"}')
    bridge = """
import * as masks from './page/masks.js';
import { contoursOf, simplified } from './page/contours.js';
const plain = (crop) => crop && { ...crop };
export const cropOf = (wire) => plain(masks.cropOf(wire));
export const wireOf = (crop) => masks.wireOf(crop);
export const brushed = (...given) => plain(masks.brushed(...given));
export const filled = (contours, size) => plain(masks.filled(contours, size));
export const refilled = (crop, size) => plain(masks.filled(contoursOf(crop), size));
export const isAsStored = masks.isAsStored;
export const simple = (contour, tolerance) => simplified(contour, tolerance);
"""
    (folder / "bridge.js").write_text(bridge)
    return folder


def run(page: Path, *calls: tuple[str, list[Any]]) -> list[Any]:
    return call(page, str(page / "bridge.js"), *calls)


def size(mask: BoolMask) -> dict[str, int]:
    return {"width": mask.shape[1], "height": mask.shape[0]}


def crop(mask: BoolMask) -> dict[str, Any]:
    return {"x": 0, "y": 0, **size(mask), "data": mask.astype(np.uint8).ravel()}


def mask_of(found: dict[str, Any] | None, like: BoolMask) -> BoolMask:
    out = np.zeros_like(like)
    if found is not None:
        part = found["data"].reshape(found["height"], found["width"]).astype(bool)
        out[found["y"] : found["y"] + found["height"], found["x"] : found["x"] + found["width"]] = (
            part
        )
    return out


@settings(max_examples=4, deadline=None)
@given(masks=_MASKS)
def test_a_mask_travels_as_the_server_writes_it_and_comes_back(
    page: Path, masks: list[BoolMask]
) -> None:
    wires = run(page, *(("wireOf", [crop(mask)]) for mask in masks))
    assert wires == [mask_json(mask) for mask in masks]
    for mask, back in zip(masks, run(page, *(("cropOf", [wire]) for wire in wires)), strict=True):
        assert np.array_equal(mask_of(back, mask), mask)


@settings(max_examples=3, deadline=None)
@given(masks=_MASKS)
def test_the_page_hashes_a_mask_as_the_project_does(page: Path, masks: list[BoolMask]) -> None:
    digests = [hashlib.sha256(rle.encode(mask).encode()).hexdigest()[:16] for mask in masks]
    for others, answer in (
        (digests, True),
        (["0" * 16] * len(masks), False),
        ([None] * len(masks), None),
    ):
        calls = [
            ("isAsStored", [crop(mask), digest, size(mask)])
            for mask, digest in zip(masks, others, strict=True)
        ]
        assert run(page, *calls) == [answer] * len(masks)


def distances(shape: tuple[int, ...], path: list[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """The distance of each pixel's center to a polyline, by dense algebra."""
    centers = np.stack(np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5), axis=-1)
    found = np.full(shape, np.inf)
    for a, b in zip(map(np.array, path), map(np.array, [*path[1:], path[-1]]), strict=True):
        length = float((b - a) @ (b - a))
        along = np.clip((centers - a) @ (b - a) / length, 0, 1) if length else np.zeros(shape)
        nearest = a + along[..., None] * (b - a)
        found = np.minimum(found, np.linalg.norm(centers - nearest, axis=-1))
    return found


@settings(max_examples=4, deadline=None)
@given(strokes=st.lists(_STROKES, min_size=8, max_size=12))
def test_a_brush_takes_the_pixels_whose_centers_it_passes(
    page: Path, strokes: list[tuple[BoolMask, list[tuple[float, float]], float, bool]]
) -> None:
    calls = [
        ("brushed", [crop(before), path, radius, adds, size(before)])
        for before, path, radius, adds in strokes
    ]
    for (before, path, radius, adds), found in zip(strokes, run(page, *calls), strict=True):
        distance = distances(before.shape, path)
        clear = np.abs(distance - radius) > 1e-9  # on the very edge, rounding may decide
        expected = np.where(distance <= radius, adds, before)
        assert np.array_equal(mask_of(found, before)[clear], expected[clear])


@settings(max_examples=4, deadline=None)
@given(masks=_MASKS)
def test_a_mask_is_what_its_contours_enclose(page: Path, masks: list[BoolMask]) -> None:
    found = run(page, *(("refilled", [crop(mask), size(mask)]) for mask in masks))
    for mask, each in zip(masks, found, strict=True):
        assert np.array_equal(mask_of(each, mask), mask)


def test_a_polygon_takes_the_pixels_whose_centers_it_encloses(page: Path) -> None:
    square, hole = [[2, 3], [9, 3], [9, 8], [2, 8]], [[4, 4], [4, 6], [6, 6], [6, 4]]
    expected = np.zeros((10, 12), bool)
    expected[3:8, 2:9] = True
    (whole,) = run(page, ("filled", [[square], size(expected)]))
    assert np.array_equal(mask_of(whole, expected), expected)
    expected[4:6, 4:6] = False
    pierced, outside = run(
        page,
        ("filled", [[square, hole], size(expected)]),
        ("filled", [[[[-5, -5], [-1, -5], [-1, -1]]], size(expected)]),
    )
    assert np.array_equal(mask_of(pierced, expected), expected)
    assert outside is None


def test_a_simplified_outline_stays_close_and_keeps_corners(page: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([50 + 30 * np.cos(angles), 50 + 30 * np.sin(angles)], axis=1).tolist()
    square = [[0, 0], [5, 0], [10, 0], [10, 10], [5, 10], [0, 10], [0, 5]]
    few, corners = run(page, ("simple", [circle, 0.5]), ("simple", [square, 0.1]))
    assert 8 <= len(few) <= 60
    radii = np.linalg.norm(np.array(few) - 50, axis=1)
    assert np.allclose(radii, 30)
    assert sorted(map(tuple, corners)) == [(0, 0), (0, 10), (10, 0), (10, 10)]


def test_keys_are_named_alike_whatever_the_keyboard(page: Path) -> None:
    def event(key: str, **held: bool) -> dict[str, Any]:
        return {
            "key": key,
            "ctrlKey": False,
            "metaKey": False,
            "altKey": False,
            "shiftKey": False,
        } | held

    names = call(
        page,
        str(page / "page" / "shortcuts.js"),
        ("keyOf", [event("z", ctrlKey=True)]),
        ("keyOf", [event("z", metaKey=True)]),
        ("keyOf", [event("B")]),
        ("keyOf", [event("?", shiftKey=True)]),
        ("keyOf", [event("ArrowLeft", shiftKey=True)]),
        ("keyOf", [event("Backspace")]),
        ("shownKey", ["Shift+ArrowLeft"]),
        ("shownKey", ["+"]),
    )
    assert names == ["Ctrl+Z", "Ctrl+Z", "B", "?", "Shift+ArrowLeft", "Delete", "Shift+←", "+"]
