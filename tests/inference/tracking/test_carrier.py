"""How a mask is carried when the picture changes for a while."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.inference.tracking.carrier import Carrier

Gray = npt.NDArray[np.uint8]


def changing_and_coming_back() -> tuple[list[Gray], npt.NDArray[np.bool_]]:
    """Frames of a texture that turns into another one and back, and an object at rest."""
    rng = np.random.default_rng(0)
    first, second = (cv2.GaussianBlur(rng.normal(size=(96, 96)), (0, 0), 2) for _ in range(2))
    share = np.sin(np.linspace(0, np.pi, 21)) ** 2
    y, x = np.mgrid[0:96, 0:96]
    mixed = [(1 - part) * first + part * second for part in share]
    frames = [np.clip(120 + 40 * one / one.std(), 0, 255).astype(np.uint8) for one in mixed]
    return frames, np.asarray(np.hypot(x - 48, y - 48) <= 20)


def test_the_key_takes_its_place_back_when_the_picture_looks_like_it_again() -> None:
    frames, mask = changing_and_coming_back()
    carrier = Carrier(frames[0], mask, 0, 3.0)
    links = [carrier.step(frame, index).chained for index, frame in enumerate(frames[1:], 1)]
    assert any(link is not None for link in links)
    assert carrier.anchor == 0


def test_a_carrier_goes_on_within_a_chain_as_if_it_had_not_stopped() -> None:
    frames, mask = changing_and_coming_back()
    carrier = Carrier(frames[0], mask, 0, 3.0)
    other = None
    for index, frame in enumerate(frames[1:], 1):
        expected = carrier.step(frame, index)
        if other is not None:
            found = other.step(frame, index)
            assert np.array_equal(found.mask, expected.mask)
            assert (found.likeness, found.chained) == (expected.likeness, expected.chained)
        elif carrier.anchor != 0:
            other = Carrier(frames[0], mask, 0, 3.0)
            other.restore(carrier.state(), frames[carrier.anchor], frame)
    assert other is not None
    assert other.anchor == carrier.anchor == 0
