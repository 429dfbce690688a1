"""Objects are followed from key frames in both directions, and what is said of each mask is true."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.tracking.cines import Cine, Told, dice, moving
from ultrasam import GONE, Prompt, track
from ultrasam.errors import PromptError, ScanError
from ultrasam.images.masks import components, fill_holes
from ultrasam.images.scan import Scan
from ultrasam.inference.tracking.keys import ObjectKeys
from ultrasam.inference.tracking.results import FrameMask, Origin


def of(cine: Cine, frame: int) -> Prompt:
    return Prompt(mask=cine.truth[frame])


def test_an_object_is_followed_in_both_directions_from_one_key() -> None:
    cine = moving(9)
    result = track(cine.scan, {4: [of(cine, 4)]})
    assert [round(dice(result.mask(t), cine.truth[t]), 2) >= 0.95 for t in range(9)] == [True] * 9
    assert result.origin(4) == Origin("key", (4,))
    assert result.origin(0) == result.origin(8) == Origin("propagated", (4,))
    assert np.array_equal(result.mask(4), cine.truth[4])
    assert result.stops == ()
    assert result.notes == ()
    assert (result.confidences[0] > 0.8).all()


@pytest.mark.parametrize("angle", range(0, 360, 45))
def test_eight_pixels_a_frame_are_followed_in_every_direction(angle: int) -> None:
    step = 8 * np.cos(np.radians(angle)), 8 * np.sin(np.radians(angle))
    start = 56 - 2 * step[0], 48 - 2 * step[1]
    cine = moving(5, step, start=start, radius=12)
    result = track(cine.scan, {0: [of(cine, 0)]})
    assert min(dice(result.mask(t), cine.truth[t]) for t in range(5)) >= 0.93


def test_between_two_keys_both_directions_are_blended() -> None:
    cine = moving(7)
    result = track(cine.scan, {0: [of(cine, 0)], 6: [of(cine, 6)]})
    assert {result.origin(t) for t in range(1, 6)} == {Origin("propagated", (0, 6))}
    assert min(dice(result.mask(t), cine.truth[t]) for t in range(7)) >= 0.96
    # Each frame is nearer to the key that is nearer in time.
    small = Prompt(mask=cv2.erode(cine.truth[6].astype(np.uint8), np.ones((9, 9))) > 0)
    uneven = track(cine.scan, {0: [of(cine, 0)], 6: [small]})
    areas = [int(uneven.mask(t).sum()) for t in range(7)]
    assert areas == sorted(areas, reverse=True)
    assert areas[1] > 0.8 * areas[0]
    assert areas[5] < 1.8 * areas[6]


def test_a_key_that_contradicts_the_flow_bends_the_masks_before_it_and_none_behind_the_next_key() -> (
    None
):
    cine = moving(12)
    keys = {0: [of(cine, 0)], 4: [of(cine, 4)], 8: [of(cine, 8)]}
    result = track(cine.scan, keys)
    before = [result.mask(t) for t in range(12)]
    bigger = Prompt(
        mask=np.asarray(np.hypot(*(np.indices(cine.truth[0].shape).T - (46, 49)).T) <= 22)
    )
    cine.read.clear()
    assert result.correct({4: [bigger]}) == tuple(range(1, 8))
    assert set(cine.read) <= set(range(9))
    for t in (0, 8, 9, 10, 11):
        assert np.array_equal(result.mask(t), before[t]), t
    assert result.mask(4).sum() > 1.5 * before[4].sum()
    assert before[5].sum() < result.mask(5).sum()
    assert before[3].sum() < result.mask(3).sum()
    # The same as if all had been known from the start.
    anew = track(cine.scan, {**keys, 4: [bigger]})
    assert all(np.array_equal(result.mask(t), anew.mask(t)) for t in range(12))


def test_several_objects_appear_and_end() -> None:
    cine = moving(8)
    other = Prompt(mask=np.roll(cine.truth[3], (20, 30), axis=(0, 1)))
    result = track(
        cine.scan,
        {0: [of(cine, 0), GONE], 3: [None, other], 6: [GONE, None]},
        names=("cyst", "vessel"),
    )
    assert result.frames(0) == tuple(range(6))
    assert result.frames(1) == tuple(range(3, 8))
    sequence = result.masks
    assert sequence.names == ("cyst", "vessel")
    assert sequence.masks(1)[0].any()
    assert not sequence.masks(1)[1].any()
    assert not result.mask(7, 0).any()
    assert result.origin(7, 0) is None


def test_the_network_segments_the_keys_and_is_asked_nowhere_else_by_default() -> None:
    cine = moving(5)
    told = Told(cine)
    result = track(cine.scan, {2: [Prompt(box=(20, 20, 60, 60))]}, model=told)
    assert told.frames == [2]
    assert result.confidence(2) == pytest.approx(0.9)
    assert np.array_equal(result.mask(2), cine.truth[2])


def test_a_correcting_network_is_freed_of_how_it_differs_in_the_key_frame() -> None:
    cine = moving(6)
    plain = track(cine.scan, {0: [of(cine, 0)]})
    biased = track(cine.scan, {0: [of(cine, 0)]}, model=Told(cine, grows=2), correction="all")
    assert biased.origin(3) == Origin("propagated", (0,), corrected=True)
    for t in range(6):
        truth = cine.truth[t]
        assert dice(biased.mask(t), truth) >= dice(plain.mask(t), truth) - 0.02


def test_an_object_that_is_replaced_by_another_picture_stops_with_a_reason() -> None:
    cine = moving(10)
    rng = np.random.default_rng(5)
    cine.pixels[6:] = rng.integers(0, 255, cine.pixels[6:].shape)
    result = track(cine.scan, {0: [of(cine, 0)]})
    (stop,) = result.stops
    assert stop.frame in (6, 7)
    assert stop.key == 0
    assert stop.reason
    assert result.frames() == tuple(range(stop.frame))
    assert f"from frame {stop.frame} on" in result.notes[0]
    assert np.isnan(result.confidences[0, stop.frame :]).all()
    # A key behind the cut begins anew.
    result.correct({9: [of(cine, 9)]})
    assert 9 in result.frames()


def test_an_object_that_leaves_the_picture_stops() -> None:
    cine = moving(12, (9, 0))
    result = track(cine.scan, {0: [of(cine, 0)]})
    assert result.stops
    assert result.frames()[-1] < 11


def test_a_damaged_frame_is_interpolated_and_told() -> None:
    cine = moving(8, damaged=(3, 4))
    result = track(cine.scan, {0: [of(cine, 0)]})
    assert result.origin(3) == result.origin(4) == Origin("interpolated", (0,))
    assert result.origin(5) == Origin("propagated", (0,))
    assert dice(result.mask(3), cine.truth[3]) >= 0.85
    assert result.notes == ("Frame 3 of cine.avi is damaged.", "Frame 4 of cine.avi is damaged.")


def test_a_cine_that_is_cut_ends_there() -> None:
    cine = moving(12, damaged=tuple(range(5, 12)))
    result = track(cine.scan, {0: [of(cine, 0)]})
    assert result.frames() == tuple(range(5))
    assert "6 frames in a row cannot be read" in result.notes[-1]


def test_a_frame_of_another_size_is_left_out() -> None:
    cine = moving(6)
    whole = cine.scan

    def read(index: int) -> np.ndarray:
        return cine.pixels[index][:50] if index == 2 else cine.pixels[index]

    scan = Scan(6, whole.height, whole.width, False, read)
    result = track(scan, {0: [of(cine, 0)]})
    assert result.origin(2) == Origin("interpolated", (0,))
    assert "frame 2 is 112 × 50 pixels" in result.notes[0]


def test_few_frames_are_in_memory_and_each_is_read_once_in_a_direction() -> None:
    cine = moving(40, (0.5, 0))
    track(cine.scan, {0: [of(cine, 0)], 39: [of(cine, 39)]})
    assert cine.read == [*range(39), *range(24, 40), *range(8, 24), *range(1, 8)]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "No prompt"),
        ({9: [Prompt(box=(1, 1, 20, 20))]}, "Frame 9 does not exist"),
        ({0: [None, Prompt(box=(1, 1, 20, 20))]}, "Object 0 has no prompt"),
        ({0: [GONE]}, "Object 0 has no prompt"),
        ({0: ["box"]}, "str is no Prompt"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(prompts: dict, message: str) -> None:
    cine = moving(4)
    with pytest.raises(PromptError, match=message):
        track(cine.scan, prompts, model=Told(cine))


def test_a_key_in_a_damaged_frame_and_a_prompt_without_an_object_are_refused() -> None:
    cine = moving(4, damaged=(1,))
    with pytest.raises(ScanError, match="Frame 1 has a prompt but cannot be read"):
        track(cine.scan, {1: [Prompt(box=(1, 1, 20, 20))]}, model=Told(cine))
    cine.truth[2] = False
    with pytest.raises(PromptError, match="found no object"):
        track(cine.scan, {2: [Prompt(box=(1, 1, 20, 20))]}, model=Told(cine))


@settings(max_examples=60)
@given(
    st.integers(1, 30),
    st.sets(st.integers(0, 29), min_size=1, max_size=5),
    st.sets(st.integers(0, 29), max_size=3),
)
def test_segments_and_keys_share_out_the_frames(count: int, keys: set[int], gone: set[int]) -> None:
    keys = {key for key in keys if key < count}
    gone = {frame for frame in gone if frame < count} - keys
    mask = FrameMask("", 1.0, Origin("key", (0,)))
    found = ObjectKeys(dict.fromkeys(keys, mask), gone).segments(0, count)
    filled = [f for segment in found for f in range(segment.first, segment.last + 1)]
    assert len(filled) == len(set(filled))
    assert not set(filled) & keys
    # A frame is left out only if the object is gone there, or was never seen.
    for frame in set(range(count)) - keys - set(filled):
        latest = max((key for key in keys if key < frame), default=-1)
        assert (
            not keys
            or any(latest < one <= frame for one in gone)
            or (latest == -1 and gone & set(range(min(keys))))
        )


def test_masks_get_no_holes_and_pieces_that_the_key_does_not_have() -> None:
    cine = moving(6)
    ring = cine.truth[0] & ~(np.hypot(*(np.indices(cine.truth[0].shape).T - (44, 40)).T) <= 6)
    result = track(cine.scan, {0: [of(cine, 0), Prompt(mask=ring)]})
    for t in range(6):
        assert np.array_equal(fill_holes(result.mask(t)), result.mask(t))
        assert len(components(result.mask(t))) == 1
        assert not np.array_equal(fill_holes(result.mask(t, 1)), result.mask(t, 1))


def test_a_black_object_that_is_taken_for_the_margin_is_followed() -> None:
    cine = moving(4, start=(40, 20), radius=16)
    cine.pixels[cine.truth] = 0
    cine.pixels[:, :, :3] = 0
    result = track(cine.scan, {0: [of(cine, 0)]})
    assert result.frames() == (0, 1, 2, 3)
    assert dice(result.mask(3), cine.truth[3]) >= 0.9
