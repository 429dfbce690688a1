"""Parts of the annotator's page that need no browser: masks, polygons, keys; compared with the package's own."""

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
from ultrasam.images import rle

STATIC = SITE.parents[1] / "annotate" / "static"
BoolMask = npt.NDArray[np.bool_]

_MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 14)))
_PLACES = st.tuples(st.floats(-3, 22), st.floats(-3, 22))


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
export const brushed = (crop, path, radius, adds, size) => plain(masks.brushed(crop, path, radius, adds, size));
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


def mask_of(found: dict[str, Any] | None, shape: tuple[int, int]) -> BoolMask:
    out = np.zeros(shape, bool)
    if found is not None:
        part = found["data"].reshape(found["height"], found["width"]).astype(bool)
        out[found["y"] : found["y"] + found["height"], found["x"] : found["x"] + found["width"]] = part
    return out


@settings(max_examples=20, deadline=None)
@given(mask=_MASKS)
def test_a_mask_survives_the_wire_and_its_box_is_tight(page: Path, mask: BoolMask) -> None:
    (wire,) = run(page, ("wireOf", [crop(mask)]))
    (back,) = run(page, ("cropOf", [wire]))
    assert np.array_equal(mask_of(back, mask.shape), mask)
    if mask.any():
        rows, columns = np.nonzero(mask)
        assert wire["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    else:
        assert wire == {"box": [0, 0, 0, 0], "runs": []}


@settings(max_examples=10, deadline=None)
@given(mask=_MASKS)
def test_the_page_hashes_a_mask_as_the_project_does(page: Path, mask: BoolMask) -> None:
    digest = hashlib.sha256(rle.encode(mask).encode()).hexdigest()[:16]
    other = "0" * 16
    same, not_same, unknown = run(
        page,
        ("isAsStored", [crop(mask), digest, size(mask)]),
        ("isAsStored", [crop(mask), other, size(mask)]),
        ("isAsStored", [crop(mask), None, size(mask)]),
    )
    assert (same, not_same, unknown) == (True, False, None)


def distances(shape: tuple[int, int], path: list[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """The distance of each pixel's center to a polyline, by dense algebra."""
    centers = np.stack(np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5), axis=-1)
    found = np.full(shape, np.inf)
    for a, b in zip(map(np.array, path), map(np.array, [*path[1:], path[-1]]), strict=True):
        length = float((b - a) @ (b - a))
        along = np.clip((centers - a) @ (b - a) / length, 0, 1) if length else np.zeros(shape)
        nearest = a + along[..., None] * (b - a)
        found = np.minimum(found, np.linalg.norm(centers - nearest, axis=-1))
    return found


@settings(max_examples=20, deadline=None)
@given(
    before=arrays(bool, (20, 18)),
    path=st.lists(_PLACES, min_size=1, max_size=4),
    radius=st.floats(0.3, 6),
    adds=st.booleans(),
)
def test_a_brush_takes_the_pixels_whose_centers_it_passes(
    page: Path, before: BoolMask, path: list[tuple[float, float]], radius: float, adds: bool
) -> None:
    (found,) = run(page, ("brushed", [crop(before), path, radius, adds, size(before)]))
    distance = distances(before.shape, path)
    clear = np.abs(distance - radius) > 1e-9  # on the very edge, rounding may decide
    covered = distance <= radius
    expected = np.where(covered, adds, before)
    assert np.array_equal(mask_of(found, before.shape)[clear], expected[clear])


@settings(max_examples=20, deadline=None)
@given(mask=_MASKS)
def test_a_mask_is_what_its_contours_enclose(page: Path, mask: BoolMask) -> None:
    (found,) = run(page, ("refilled", [crop(mask), size(mask)]))
    assert np.array_equal(mask_of(found, mask.shape), mask)


def test_a_polygon_takes_the_pixels_whose_centers_it_encloses(page: Path) -> None:
    square, hole = [[2, 3], [9, 3], [9, 8], [2, 8]], [[4, 4], [4, 6], [6, 6], [6, 4]]
    expected = np.zeros((10, 12), bool)
    expected[3:8, 2:9] = True
    (whole,) = run(page, ("filled", [[square], size(expected)]))
    assert np.array_equal(mask_of(whole, expected.shape), expected)
    expected[4:6, 4:6] = False
    pierced, outside = run(
        page,
        ("filled", [[square, hole], size(expected)]),
        ("filled", [[[[-5, -5], [-1, -5], [-1, -1]]], size(expected)]),
    )
    assert np.array_equal(mask_of(pierced, expected.shape), expected)
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
        return {"key": key, "ctrlKey": False, "metaKey": False, "altKey": False, "shiftKey": False} | held

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
