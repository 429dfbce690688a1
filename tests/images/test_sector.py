"""The scanned sector is found on screens with text, rulers and buttons, and none of these is in it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.images.scan import Scan
from ultrasam.images.sector import find_sector, sector_of

Bool = npt.NDArray[np.bool_]
HEIGHT, WIDTH = 480, 640


def fan(apex: tuple[float, float], near: float, far: float, degrees: float) -> Bool:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    distance = np.hypot(x - apex[0], y - apex[1])
    angle = np.degrees(np.arctan2(x - apex[0], y - apex[1]))
    return np.asarray((distance >= near) & (distance <= far) & (np.abs(angle) <= degrees))


SHAPES = {
    "sector": fan((320, 40), 0, 400, 38),
    "curved": fan((320, -60), 110, 500, 32),
    "rectangle": np.pad(np.ones((360, 300), bool), ((60, 60), (170, 170))),
}


def echoes(shape: Bool, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Speckle, compressed logarithmically, with a cyst."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(2, *shape.shape)).transpose(1, 2, 0), (0, 0), 1.2)
    speckle = 90 + 25 * np.log(np.hypot(noise[..., 0], noise[..., 1]) / 0.2 + 0.05)
    picture = np.where(shape, np.clip(speckle, 8, 255), 0).astype(np.uint8)
    cv2.circle(picture, (320, 260), 45, 2, cv2.FILLED)
    return picture


def with_text(picture: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Bool]:
    """The picture on a screen, and where its text, ruler and buttons are."""
    screen = np.zeros_like(picture)
    for row, text in enumerate(("MUELLER ANNE", "ID 12345678", "1970-02-03")):
        cv2.putText(
            screen, text, (8, 22 + 18 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA
        )
    for y in range(60, 440, 20):
        cv2.line(screen, (620, y), (628, y), 200, 1)
    cv2.rectangle(screen, (0, 455), (639, 479), 70, cv2.FILLED)
    cv2.putText(screen, "FREEZE  MENU  2D", (20, 472), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 230, 1)
    return np.maximum(picture, screen), screen > 0


def overlap(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("kind", list(SHAPES))
def test_the_sector_is_found_and_its_kind_told(kind: str) -> None:
    screen, text = with_text(echoes(SHAPES[kind]))
    found = sector_of([screen])
    assert found is not None
    assert found.kind == kind
    assert overlap(found.mask, SHAPES[kind]) > 0.93
    assert not (found.mask & text & ~SHAPES[kind]).any()
    if kind != "rectangle":
        assert found.apex is not None
        assert np.hypot(found.apex[0] - 320, found.apex[1] - (40 if kind == "sector" else -60)) < 25


def test_two_views_side_by_side_are_two_parts() -> None:
    shape = np.zeros((HEIGHT, WIDTH), bool)
    shape[80:420, 30:290] = shape[80:420, 350:610] = True
    found = sector_of([with_text(echoes(shape))[0]])
    assert found is not None
    assert found.parts == 2
    assert overlap(found.mask, shape) > 0.93
    assert not found.mask[:, 310:330].any()


def test_a_cine_is_looked_at_as_a_whole() -> None:
    """Where one frame is dark, others are not."""
    shape = SHAPES["rectangle"]
    frames = [with_text(echoes(shape, seed))[0] for seed in range(3)]
    frames[0][shape] = np.where(np.mgrid[0:HEIGHT, 0:WIDTH][0] > 200, 0, frames[0])[shape]
    scan = Scan(3, HEIGHT, WIDTH, False, lambda index: frames[index])
    found = find_sector(scan)
    assert found is not None
    assert overlap(found.mask, shape) > 0.93


def test_what_a_file_states_of_its_regions_is_respected() -> None:
    shape = SHAPES["rectangle"]
    found = sector_of([echoes(shape)], regions=[(170, 60, 400, 420)])
    assert found is not None
    assert not found.mask[:, 400:].any()


@pytest.mark.parametrize("value", [0, 3, 90, 255])
def test_a_flat_picture_has_no_sector(value: int) -> None:
    assert sector_of([np.full((HEIGHT, WIDTH), value, np.uint8)]) is None


def test_a_picture_without_a_margin_has_no_sector() -> None:
    assert sector_of([echoes(np.ones((HEIGHT, WIDTH), bool))]) is None


def test_text_alone_is_no_sector() -> None:
    assert sector_of([with_text(np.zeros((HEIGHT, WIDTH), np.uint8))[0]]) is None


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_picture_is_answered(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = sector_of([picture])
    assert found is None or found.mask.shape == (height, width)
