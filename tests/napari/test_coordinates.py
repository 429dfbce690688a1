"""A click in napari means the same pixel on the server, and comes back to the same place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.napari.coordinates import box_at, boxes_of, click_at, label_map, points_of
from ultrasam.napari.frames import Frames

numbers = st.floats(-1, 5000).map(lambda value: round(value, 3))


def test_the_center_of_the_first_pixel_is_at_one_half() -> None:
    assert click_at((0, 0)) == (0, 0.5, 0.5)
    assert click_at((4, 0, 2)) == (4, 2.5, 0.5)


@given(numbers, numbers, st.integers(0, 99), st.sampled_from([2, 3]), st.sampled_from([0, 1]))
def test_clicks_come_back(
    row: float, column: float, frame: int, dimensions: int, label: int
) -> None:
    position = [frame, row, column][-dimensions:]
    at, x, y = click_at(position)
    prompts = [{"points": [[x, y, label], [1, 1, 1 - label]], "box": None}]
    assert points_of(prompts, label, at, dimensions)[0] == pytest.approx(position)
    assert len(points_of(prompts, label, at, dimensions)) == 1


@given(numbers, numbers, numbers, numbers, st.integers(0, 99), st.sampled_from([2, 3]))
def test_boxes_come_back(
    y0: float, x0: float, y1: float, x1: float, frame: int, dimensions: int
) -> None:
    corners = np.array([[frame, y0, x0], [frame, y0, x1], [frame, y1, x1], [frame, y1, x0]])
    at, box = box_at(corners[:, -dimensions:])
    (back,) = boxes_of([{"box": box}], at, dimensions)
    assert box_at(back) == (at, pytest.approx(box))
    assert box == pytest.approx(
        [min(x0, x1) + 0.5, min(y0, y1) + 0.5, max(x0, x1) + 0.5, max(y0, y1) + 0.5]
    )


def test_later_objects_lie_on_top() -> None:
    first, second = np.eye(3, dtype=bool), np.zeros((3, 3), bool)
    second[0] = True
    assert label_map([(4, first), (7, second)], (3, 3)).tolist() == [
        [7, 7, 7],
        [0, 4, 0],
        [0, 0, 4],
    ]


def test_frames_are_fetched_when_they_are_looked_at() -> None:
    fetched = []

    def fetch(index: int) -> np.ndarray:
        fetched.append(index)
        return np.full((4, 5, 3), index, np.uint8)

    frames = Frames(fetch, (7, 4, 5))
    assert fetched == []
    assert frames[2].shape == (4, 5)
    assert frames[-1, 1:3, 0].tolist() == [6, 6]
    assert frames[2:4, ..., 1].tolist() == [[2] * 4, [3] * 4]
    assert fetched == [2, 6, 3]
    whole = np.asarray(frames)
    assert whole.shape == frames.shape
    assert (whole[:, 0, 0] == np.arange(7)).all()
    with pytest.raises(IndexError):
        frames[7]
