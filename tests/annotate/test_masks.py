"""What is drawn, how edits and the model's masks are joined, and how masks travel: invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ultrasam.annotate.drawing import brush_mask, polygon_interior
from ultrasam.annotate.layers import Edits
from ultrasam.annotate.segmentation import packed, unpacked
from ultrasam.annotate.wire import mask_from_json, mask_json
from ultrasam.errors import DataError, PromptError

SHAPE = (24, 32)
masks = arrays(bool, SHAPE)
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
coordinates = st.floats(-10, 45, allow_nan=False)
points = st.tuples(coordinates, coordinates)
# Corners off the pixels' centers, where a rounding error decides.
corners = st.lists(
    st.tuples(*2 * [st.integers(-20, 90).map(lambda v: v / 2 + 0.2137)]), min_size=3, max_size=9
)


@given(shapes.flatmap(lambda shape: arrays(bool, shape)))
def test_a_mask_travels_unchanged(mask: np.ndarray) -> None:
    wire = mask_json(mask)
    assert np.array_equal(mask_from_json(wire["box"], wire["runs"], mask.shape), mask)


@pytest.mark.parametrize(
    ("box", "runs"), [
        ([0, 0, 2, 2], [1, 2]), ([0, 0, 2, 2], [-1, 5]), ([3, 0, 2, 2], [4]), ([0, 0, 99, 2], [198]),
    ],
)  # fmt: skip
def test_a_mask_that_is_damaged_on_its_way_is_refused(box: list[int], runs: list[int]) -> None:
    with pytest.raises(DataError):
        mask_from_json(box, runs, SHAPE)


@given(st.lists(points, min_size=1, max_size=6), st.floats(0.1, 12))
def test_a_brush_covers_what_is_within_its_radius_of_its_way(
    path: list[tuple[float, float]], radius: float
) -> None:
    found = brush_mask(path, radius, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    distance = np.full(SHAPE, np.inf)
    for (ax, ay), (bx, by) in zip([path[0], *path], path, strict=False):
        # The distance to many points of the line stands in for that to the line.
        for share in np.linspace(0, 1, 200):
            distance = np.minimum(
                distance, np.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay))
            )
    slack = 0.2  # of the points' spacing on lines of up to 78 pixels
    assert found[distance <= radius - 1e-6].all()
    assert not found[distance > radius + slack].any()


@settings(max_examples=60)
@given(corners)
def test_a_polygon_holds_the_centers_that_the_even_odd_rule_says(
    polygon: list[tuple[float, float]],
) -> None:
    found = polygon_interior(polygon, SHAPE)
    for row in range(SHAPE[0]):
        for column in range(SHAPE[1]):
            x, y, inside, on_edge = column + 0.5, row + 0.5, False, False
            for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
                if (ay > y) != (by > y):
                    crossing = ax + (y - ay) * (bx - ax) / (by - ay)
                    inside ^= x < crossing
                    # A center on an edge belongs to either side, as rounding has it.
                    on_edge |= abs(x - crossing) < 1e-9 * max(1, abs(ax), abs(bx))
            assert on_edge or found[row, column] == inside


@pytest.mark.parametrize(
    "path", [[], [[1, 2, 3]], [[float("nan"), 1]], [[float("inf"), 1]], [[1e9, 1]]]
)
def test_lines_that_cannot_be_drawn_are_refused(path: list) -> None:
    with pytest.raises(PromptError):
        brush_mask(path, 2, SHAPE)
    with pytest.raises(PromptError):
        polygon_interior(path * 3, SHAPE)


@given(masks, masks, masks, masks)
def test_edits_are_on_top_of_whatever_the_model_says(
    first: np.ndarray, model: np.ndarray, drawn: np.ndarray, erased: np.ndarray
) -> None:
    edits = Edits.none(SHAPE).with_added(drawn).with_removed(erased)
    for mask in (first, model):
        found = edits.on(mask)
        assert not found[erased].any()
        assert found[drawn & ~erased].all()
        untouched = ~drawn & ~erased
        assert np.array_equal(found[untouched], mask[untouched])


@given(masks, masks, masks, st.integers(0, 31), st.integers(0, 23), st.sampled_from((0, 1)))
def test_a_click_that_lies_in_no_edit_leaves_all_edits(
    before: np.ndarray, model: np.ndarray, drawn: np.ndarray, x: int, y: int, label: int
) -> None:
    edits = Edits.none(SHAPE).with_added(drawn)
    kept = edits.yielding(before, model, [(x + 0.5, y + 0.5, label)])
    if label or not drawn[y, x]:
        assert np.array_equal(kept.added, drawn)
    assert (kept.added <= drawn).all()


def test_a_removing_click_in_a_drawn_piece_takes_that_piece_away() -> None:
    drawn = np.zeros(SHAPE, bool)
    drawn[2:6, 2:6] = drawn[12:16, 12:16] = True
    kept = (
        Edits.none(SHAPE).with_added(drawn).yielding(drawn, np.zeros(SHAPE, bool), [(3.5, 3.5, 0)])
    )
    assert not kept.added[2:6, 2:6].any()
    assert kept.added[12:16, 12:16].all()


@given(arrays(np.float32, (3, 8, 8), elements=st.floats(-30, 30, width=16)))
def test_logits_are_kept_to_half_precision(logits: np.ndarray) -> None:
    assert np.array_equal(unpacked(packed(logits), 3), logits.astype(np.float16).astype(np.float32))
    assert unpacked(b"damaged", 3) is None
    assert unpacked(packed(logits), 5) is None
