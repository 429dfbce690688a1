"""What goes wrong around the annotator's page: closed tabs, a server that is gone, names, broken files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.page.folders import Truth, phantom_folder
from tests.annotate.page.served import (
    Server,
    click,
    drag,
    enter,
    label,
    masks,
    open_image,
    served,
    settle,
    shown,
)
from tests.web.browser import browser_page, chromium, on_screen

pytestmark = pytest.mark.slow  # a server with nano, and a browser


def test_a_tab_closed_in_mid_stroke_loses_that_stroke_only(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    click(page, truth.point())
    page.keyboard.press("b")
    drag(page, (600.0, 480.0), (700.0, 480.0))
    stored = masks(server, "a_still.png")[1]
    drag(page, (100.0, 600.0), (200.0, 600.0), release=False)
    page.close()
    assert np.array_equal(masks(server, "a_still.png")[1], stored)


@pytest.mark.parametrize("asked", ["image", "frame"])
def test_late_answers_take_nothing_from_what_is_drawn(
    page: Any, server: Server, truth: Truth, asked: str
) -> None:
    open_image(page, "a_still.png")
    held: list[tuple[Any, Any]] = []
    drawn = False

    def hold(route: Any) -> None:
        if drawn:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/v1/images/1", hold)
    page.route("**/v1/images/1/objects?*", hold)
    if asked == "image":
        page.click("#image-rows button:has-text('a_still.png')")  # it is open already
    else:
        page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    page.wait_for_timeout(500)
    assert held
    page.mouse.click(*on_screen(page, *truth.point()))
    page.evaluate("() => window.ultrasam.queue.settled")
    stored, drawn = masks(server, "a_still.png")[1], True
    for route, answer in held:
        route.fulfill(response=answer)
    page.keyboard.press("b")
    drag(page, (600.0, 480.0), (700.0, 480.0))  # goes to the object that is open
    found = masks(server, "a_still.png")
    assert list(found) == [1]
    assert (found[1] & ~stored).any()
    assert np.array_equal(shown(page)[0], found[1])


def test_strokes_wait_for_a_server_that_is_gone_and_arrive_once(tmp_path: Path) -> None:
    chromium()
    truth = phantom_folder(tmp_path / "scans", frames=2)
    with served(truth.folder) as server, browser_page() as page:
        enter(page, server)
        click(page, truth.point())
        strokes_wait(page, server)


def strokes_wait(page: Any, server: Server) -> None:
    stored = masks(server, "a_still.png")[1]
    server.kill()
    page.keyboard.press("b")
    for y in (560.0, 620.0):
        page.mouse.move(*on_screen(page, 100.0, y))
        page.mouse.down()
        page.mouse.move(*on_screen(page, 200.0, y), steps=3)
        page.mouse.up()
    page.wait_for_function("() => document.querySelector('#saved').className === 'problem'")
    assert page.locator("#saved").inner_text() == "2 not saved yet"
    assert shown(page)[0][620, 150]  # what was drawn is on the screen meanwhile

    # The page is left without an answer, and opened again when the server is back.
    page.on("dialog", lambda dialog: dialog.accept())
    server.start()
    page.reload()
    page.evaluate("() => window.ultrasam.started")
    settle(page)
    mask = masks(server, "a_still.png")[1]
    assert mask[560, 150]
    assert mask[620, 150]
    assert (mask & stored).sum() == stored.sum()
    names = page.locator("#history li").all_inner_texts()
    assert names.count("Brush on object 1") == 2


def test_names_are_shown_as_they_are_written(tmp_path: Path) -> None:
    chromium()
    folder = tmp_path / "scans"
    phantom_folder(folder, frames=2)
    hostile = "<img src=x onerror=alert(1)>.png"
    (folder / "a_still.png").rename(folder / hostile)
    with served(folder) as server, browser_page() as page:
        page.on("dialog", lambda _: pytest.fail("a name has become a script"))
        enter(page, server)
        open_image(page, hostile)
        click(page, (363.0, 230.0))
        label(page, "<script>alert(2)</script>")
        assert page.locator(f"#image-rows button[title='{hostile}']").count() == 1
        assert page.locator("#objects input").first.input_value() == "<script>alert(2)</script>"
        assert page.locator("#history").inner_text().endswith("as <script>alert(2)</script>")


def test_a_file_that_cannot_be_read_says_why_beside_it(page: Any) -> None:
    button = page.locator("#image-rows button:has-text('d_broken.dcm')")
    button.click()
    page.wait_for_function("() => !document.querySelector('#message').hidden")
    assert "d_broken.dcm" in page.locator("#message-text").inner_text()
    assert "cannot be read" in button.inner_text()
