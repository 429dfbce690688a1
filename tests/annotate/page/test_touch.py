"""The annotator's page on a tablet: fingers pan, zoom and tap, a pen draws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.annotate.page.folders import Truth
from tests.annotate.page.served import Server, dice, enter, masks, open_image, settle
from tests.web.browser import browser_page, on_screen

pytestmark = pytest.mark.slow  # a server with nano, and a browser


@pytest.fixture
def tablet(server: Server) -> Iterator[Any]:
    with browser_page(size=(1024, 700), touch=True) as page:
        enter(page, server)
        yield page
    server.leave()


class Fingers:
    """Fingers and a pen, by Chromium's own input events."""

    def __init__(self, page: Any) -> None:
        self._page, self._session = page, page.context.new_cdp_session(page)

    def move(self, *steps: list[tuple[float, float]]) -> None:
        """Put fingers down at the places of the first step, move them through the others, lift them."""
        began = time.time()
        for number, places in enumerate(steps):
            self._touch("touchMove" if number else "touchStart", places, began + 0.02 * number)
        self._touch("touchEnd", [], began + 0.02 * len(steps))
        settle(self._page)

    def hold(self, place: tuple[float, float], seconds: float) -> None:
        """Put a finger down and lift it later."""
        began = time.time()
        self._touch("touchStart", [place], began)
        self._touch("touchEnd", [], began + seconds)
        settle(self._page)

    def draw(self, *places: tuple[float, float]) -> None:
        """Move a pen."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1)]
        for kind, (x, y) in [*zip(kinds, places, strict=True), ("mouseReleased", places[-1])]:
            self._session.send(
                "Input.dispatchMouseEvent",
                {
                    "type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1,
                    "pointerType": "pen",
                },
            )  # fmt: skip
        settle(self._page)

    def _touch(self, kind: str, places: list[tuple[float, float]], at: float) -> None:
        # Times are given, as a loaded machine may be late.
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        self._session.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points, "timestamp": at}
        )


def scale(page: Any) -> float:
    found: float = page.evaluate("() => window.ultrasam.stage.scale")
    return found


def test_a_finger_taps_pans_and_zooms(tablet: Any, server: Server, truth: Truth) -> None:
    open_image(tablet, "a_still.png")
    fingers = Fingers(tablet)
    fingers.move([on_screen(tablet, *truth.point())])
    first = masks(server, "a_still.png")[1]
    assert dice(first, truth.still) >= 0.85

    # A long tap takes away, as a right click does.
    rows, columns = np.nonzero(first)
    fingers.hold(on_screen(tablet, float(columns[0]), float(rows[0]) + 2), 0.7)
    assert tablet.locator("#history li").count() == 2
    assert not np.array_equal(masks(server, "a_still.png")[1], first)
    before = masks(server, "a_still.png")[1]

    place, size = on_screen(tablet, 300.0, 300.0), scale(tablet)
    x, y = place
    fingers.move([(x, y)], [(x + 40, y + 20)], [(x + 80, y + 40)])
    assert on_screen(tablet, 300.0, 300.0) == pytest.approx((x + 80, y + 40), abs=1.0)
    fingers.move([(x - 40, y), (x + 40, y)], [(x - 60, y), (x + 60, y)], [(x - 80, y), (x + 80, y)])
    assert scale(tablet) == pytest.approx(2 * size, rel=0.05)
    fingers.move([(x - 40, y), (x + 40, y)])  # two fingers at once are no click
    assert tablet.locator("#history li").count() == 2
    assert np.array_equal(masks(server, "a_still.png")[1], before)


def test_a_pen_draws_and_a_hand_beside_it_does_not(tablet: Any, server: Server) -> None:
    open_image(tablet, "a_still.png")
    fingers = Fingers(tablet)
    tablet.click("[data-tool=brush]")
    path = [on_screen(tablet, x, 300.0) for x in (200.0, 240.0, 280.0, 320.0)]
    fingers.draw(*path)
    drawn = masks(server, "a_still.png")[1]
    assert drawn[300, 200:320].all()
    fingers.move([on_screen(tablet, 500.0, 500.0)])
    assert np.array_equal(masks(server, "a_still.png")[1], drawn)
