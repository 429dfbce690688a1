"""Several readers and windows in the annotator's page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.annotate.page.folders import SIZE, Truth
from tests.annotate.page.served import (
    BoolMask,
    Server,
    another_window,
    click,
    dice,
    drag,
    enter,
    label,
    masks,
    open_image,
    shown,
)
from ultrasam.annotate.wire import mask_from_json

pytestmark = pytest.mark.slow  # a server with nano, and a browser


def drawn_in_another_window(page: Any, server: Server) -> BoolMask:
    """Let another window of the reader add to the first object of a_still.png; returns its stored mask."""
    with another_window(page) as other:
        enter(other, server)
        open_image(other, "a_still.png")
        other.locator("#objects .select").first.click()
        other.keyboard.press("b")
        drag(other, (600.0, 480.0), (700.0, 480.0))
    return masks(server, "a_still.png")[1]


def test_two_windows_on_one_image_never_overwrite_each_other(
    page: Any, server: Server, truth: Truth
) -> None:
    # A window that comes to the front reads what others have done, which here must come as a surprise.
    page.evaluate(
        "() => window.addEventListener('focus', (e) => e.stopImmediatePropagation(), true)"
    )
    open_image(page, "a_still.png")
    click(page, truth.point())
    stored = drawn_in_another_window(page, server)
    page.keyboard.press("b")
    drag(page, (100.0, 600.0), (200.0, 600.0))
    page.wait_for_function(
        "() => document.querySelector('#message-text').innerText.includes('changed in another tab')"
    )
    assert np.array_equal(masks(server, "a_still.png")[1], stored)
    page.wait_for_function("() => !window.ultrasam.session.objects.values().next().value.local")
    assert np.array_equal(shown(page)[0], stored)
    drag(page, (100.0, 600.0), (200.0, 600.0))
    assert masks(server, "a_still.png")[1][600, 150]


def test_a_window_that_comes_to_the_front_shows_what_another_has_drawn(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    click(page, truth.point())
    before = shown(page)[0]
    drawn = drawn_in_another_window(page, server)
    assert not np.array_equal(drawn, before)
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    for _ in range(100):
        if np.array_equal(shown(page)[0], drawn):
            return
        page.wait_for_timeout(100)
    raise AssertionError("the window still shows the mask of before")


def test_a_second_reader_is_compared_and_an_adjudicator_takes_one(
    page: Any, server: Server, truth: Truth
) -> None:
    first = page.evaluate("() => window.ultrasam.session.project.reader")
    open_image(page, "b_still.dcm")
    click(page, truth.point())
    label(page, "wall")
    mine = masks(server, "b_still.dcm")[1]
    page.goto("about:blank")  # lets the other reader have the image
    server.work_as("colleague")
    with another_window(page) as other:
        enter(other, server)
        open_image(other, "b_still.dcm")
        assert other.locator("#objects li").count() == 0
        click(other, truth.point())
        label(other, "wall")
        other.keyboard.press("b")
        drag(other, (480.0, 230.0), (620.0, 230.0))
        theirs = masks(server, "b_still.dcm")[1]
        other.click("#tab-readers")
        other.click("#compare")
        other.wait_for_selector("#agreement td")
        rows = other.locator("#agreement tr").all_inner_texts()
        (row,) = (each for each in rows if first in each and "colleague" in each)
        assert f"{dice(mine, theirs):.3f}" in row
        assert "mm" in row
        shown = other.evaluate("() => window.ultrasam.session.others.map(({ by }) => by)")
        assert first in shown
        other.locator("#reads > li", has_text=first).locator(".choices input").check()
        other.click("#adjudicate")
        other.wait_for_function("() => document.querySelector('#adjudicated').textContent")
        other.goto("about:blank")
    reads = {each["reader"]: each for each in server.ask("/v1/images/2/reads")["reads"]}
    (taken,) = reads["adjudication"]["objects"]
    assert np.array_equal(mask_from_json(**taken["mask"]["mask"], shape=SIZE), mine)
    (own,) = reads["colleague"]["objects"]
    assert np.array_equal(mask_from_json(**own["mask"]["mask"], shape=SIZE), theirs)


def test_an_image_that_another_reader_has_open_says_so_and_takes_no_strokes(
    page: Any, server: Server, truth: Truth
) -> None:
    first = page.evaluate("() => window.ultrasam.session.project.reader")
    open_image(page, "a_still.png")
    server.work_as("late")
    with another_window(page) as other:
        enter(other, server)
        open_image(other, "a_still.png")
        assert first in other.locator("#locked").inner_text()
        click(other, truth.point())
        assert first in other.locator("#message-text").inner_text()
        assert other.locator("#objects li").count() == 0
    assert masks(server, "a_still.png") == {}
