"""What goes wrong around the annotator's page: closed tabs, a server that is gone, names, broken files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.page.folders import Truth, phantom_folder
from tests.annotate.page.served import (
    Held,
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


IMAGE, OBJECTS = re.compile(r"/v1/images/\d+$"), "**/v1/images/*/objects?*"


@pytest.mark.parametrize("asked", ["image", "front"])
@pytest.mark.parametrize("drawn", ["while it waits", "just before"])
def test_late_answers_take_nothing_from_what_is_drawn(
    page: Any, server: Server, truth: Truth, asked: str, drawn: str
) -> None:
    open_image(page, "a_still.png")
    strokes = Held(page, "**/strokes")
    if drawn == "just before":
        page.mouse.click(*on_screen(page, *truth.point()))
        page.wait_for_timeout(300)  # the stroke is on its way: the next answers do not know of it
    held = [Held(page, IMAGE), Held(page, OBJECTS)]
    if asked == "image":
        page.click("#image-rows button:has-text('a_still.png')")  # it is open already
    else:
        page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    page.wait_for_timeout(300)
    if drawn == "while it waits":
        page.mouse.click(*on_screen(page, *truth.point()))
    strokes.wait()
    strokes.release()
    page.evaluate("() => window.ultrasam.queue.settled")
    stored = masks(server, "a_still.png")[1]
    for each in held:
        each.release()
    page.keyboard.press("b")
    drag(page, (600.0, 480.0), (700.0, 480.0))  # goes to the object that is open
    found = masks(server, "a_still.png")
    assert list(found) == [1]
    assert (found[1] & ~stored).any()
    assert np.array_equal(shown(page)[0], found[1])


def test_what_comes_late_of_another_image_or_frame_is_not_shown(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "c_cine.dcm")
    click(page, truth.point(0))
    cine = page.evaluate("() => window.ultrasam.session.image.id")
    held = Held(page, OBJECTS)
    page.keyboard.press("ArrowRight")
    held.wait()
    # Something has changed while the next frame is coming, which has no mask.
    page.evaluate("() => { window.ultrasam.session.refresh(); }")
    page.wait_for_timeout(300)
    held.release()
    settle(page)
    assert page.evaluate("() => window.ultrasam.session.frame") == 1
    assert shown(page) == []

    held = Held(page, OBJECTS)
    page.click("#image-rows button:has-text('a_still.png')")
    held.wait()
    page.evaluate("() => { window.ultrasam.session.refresh(); }")
    page.mouse.click(*on_screen(page, *truth.point(1)))  # on the picture that is still there
    page.evaluate("() => window.ultrasam.queue.settled")
    held.release()
    settle(page)
    page.wait_for_function("() => window.ultrasam.session.image.name === 'a_still.png'")
    settle(page)
    assert shown(page) == []
    assert masks(server, "a_still.png") == {}
    assert list(masks(server, "c_cine.dcm", frame=1)) != []
    assert page.evaluate("() => window.ultrasam.session.image.id") != cine


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
    # What was open stays, with its place in the list.
    name = page.evaluate("() => window.ultrasam.session.image.name")
    assert name != "d_broken.dcm"
    current = page.locator("#image-rows [aria-current=true]").inner_text()
    assert name in current
