"""Stills in the annotator's page: clicks, boxes, brush, polygon, undo, labels, measures, export."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.page.folders import SIZE, SPACING_CM, Truth
from tests.annotate.page.served import (
    Server,
    click,
    dice,
    drag,
    label,
    masks,
    open_image,
    settle,
    shown,
)
from tests.web.browser import on_screen
from ultrasam.images.masks import BoolMask, decode_rle

pytestmark = pytest.mark.slow  # a server with nano, and a browser
BOX = (567.0, 53.0), (838.0, 407.0)


def test_a_still_is_labeled_and_nothing_is_lost_by_a_reload(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "b_still.dcm")
    click(page, truth.point())
    (mask,) = masks(server, "b_still.dcm").values()
    assert dice(mask, truth.still) >= 0.9
    assert np.array_equal(shown(page)[0], mask)
    assert "saved" in page.locator("#saved").inner_text()
    page.wait_for_selector("#saved[title='The mask on the screen is the one that is stored.']")

    # Its area is in the millimeters of the file.
    area = mask.sum() * (10 * SPACING_CM) ** 2
    stated = re.match(r"([\d.]+)( ± [\d.]+)? mm²", area_text(page, 1))
    assert stated is not None
    assert float(stated[1]) == pytest.approx(area, rel=0.01)

    # A label is made by typing it, and its digit labels the next object.
    label(page, "artery")
    page.keyboard.press("Enter")
    drag(page, *BOX)
    page.keyboard.press("1")
    settle(page)
    drawn = masks(server, "b_still.dcm")
    assert sorted(drawn) == [1, 2]
    assert np.array_equal(drawn[1], mask)

    # A brush adds, an eraser takes away, and undo says what it undoes.
    page.keyboard.press("b")
    drag(page, (600.0, 480.0), (760.0, 480.0))
    brushed = masks(server, "b_still.dcm")[2]
    assert (brushed & ~drawn[2])[475:485, 610:750].all()
    page.keyboard.press("e")
    drag(page, (680.0, 470.0), (680.0, 490.0))
    assert not masks(server, "b_still.dcm")[2][478:482, 678:682].any()
    assert page.locator("#undo").get_attribute("aria-label") == "Undo: Erase from artery"
    page.keyboard.press("Control+z")
    settle(page)
    assert np.array_equal(masks(server, "b_still.dcm")[2], brushed)
    assert np.array_equal(shown(page)[1], brushed)

    page.locator("#note").fill("<b>thickened</b> wall")
    page.locator("#flag").click()
    settle(page)
    before = shown(page)
    history = page.locator("#history li").all_inner_texts()
    page.mouse.move(*on_screen(page, 300, 300))
    page.mouse.wheel(0, -400)
    zoom = page.locator("#zoom").inner_text()
    place = page.evaluate("() => window.ultrasam.stage.place")
    with page.expect_response(lambda answer: answer.url.endswith("/view")):
        pass

    page.reload()
    page.evaluate("() => window.ultrasam.started")
    settle(page)
    assert page.evaluate("() => window.ultrasam.session.image.name") == "b_still.dcm"
    assert page.locator("#zoom").inner_text() == zoom
    assert page.evaluate("() => window.ultrasam.stage.place") == pytest.approx(place, abs=0.01)
    assert page.locator("[data-tool=eraser]").get_attribute("aria-checked") == "true"
    for now, then in zip(shown(page), before, strict=True):
        assert np.array_equal(now, then)
    assert page.locator("#history li").all_inner_texts() == history
    assert page.locator("#objects input").first.input_value() == "artery"
    assert page.locator("#note").input_value() == "<b>thickened</b> wall"
    assert page.locator("#flag").get_attribute("aria-pressed") == "true"
    page.keyboard.press(
        "Control+y"
    )  # what was undone can be redone still: note and flag are no masks
    settle(page)


def test_where_a_file_is_not_calibrated_pixels_are_shown_in_italics_with_the_reason(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    click(page, truth.point())
    (mask,) = masks(server, "a_still.png").values()
    area = page.locator("#objects i.area")
    assert area.inner_text() == f"{mask.sum()} px²"
    assert "not calibrated" in area.get_attribute("title")


def test_a_right_click_removes_and_the_masks_of_a_click_can_be_chosen(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    click(page, truth.point())
    assert page.locator("#candidates button").all_inner_texts() == ["small", "middle", "large"]
    pressed = page.locator("#candidates [aria-pressed=true]").inner_text()
    page.keyboard.press("Tab")
    settle(page)
    assert page.locator("#candidates [aria-pressed=true]").inner_text() != pressed
    first = masks(server, "a_still.png")[1]
    click(page, (500.0, 560.0), button="right")
    second = masks(server, "a_still.png")[1]
    assert not second[560, 500]
    assert page.locator("#prompts li").all_inner_texts()[-1].startswith("− removes at 500, 560")
    page.keyboard.press("Control+z")
    settle(page)
    assert np.array_equal(masks(server, "a_still.png")[1], first)


def test_resting_shows_what_a_click_would_do_and_the_click_does_it(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    page.mouse.move(*on_screen(page, *truth.point()))
    page.wait_for_function("() => window.ultrasam.stage.preview")
    assert masks(server, "a_still.png") == {}
    count = page.evaluate("() => window.ultrasam.stage.preview.crop.data.reduce((a, b) => a + b)")
    page.mouse.down()
    page.mouse.up()
    settle(page)
    assert masks(server, "a_still.png")[1].sum() == count


def test_a_polygon_is_drawn_and_edited_by_its_corners(page: Any, server: Server) -> None:
    open_image(page, "a_still.png")
    page.keyboard.press("p")
    for corner in ((100.0, 100.0), (300.0, 100.0), (300.0, 300.0), (100.0, 300.0)):
        page.mouse.click(*on_screen(page, *corner))
    page.keyboard.press("Enter")
    settle(page)
    drawn = masks(server, "a_still.png")[1]
    assert dice(drawn, square(100, 300)) >= 0.98
    drag(page, (300.0, 300.0), (400.0, 400.0))
    moved = masks(server, "a_still.png")[1]
    assert moved[370, 370]
    assert np.array_equal(shown(page)[0], moved)

    # A hole stays a hole when a corner of the outline is moved.
    page.keyboard.press("e")
    drag(page, (180.0, 200.0), (220.0, 200.0))
    page.keyboard.press("p")
    drag(page, (100.0, 100.0), (60.0, 60.0))
    pierced = masks(server, "a_still.png")[1]
    assert pierced[75, 75]
    assert not pierced[200, 200]


def square(low: int, high: int) -> BoolMask:
    mask = np.zeros(SIZE, bool)
    mask[low:high, low:high] = True
    return mask


def test_what_is_exported_is_what_was_drawn(
    page: Any, server: Server, truth: Truth, tmp_path: Path
) -> None:
    open_image(page, "b_still.dcm")
    click(page, truth.point())
    *_, mask = masks(server, "b_still.dcm").values()
    page.click("#tab-data")
    page.click("#export")
    with page.expect_download() as waiting:
        page.click("#export-result a")
    waiting.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        # One for each reader, of whom other tests may have left some.
        names = [each for each in archive.namelist() if each.endswith("annotations.json")]
        annotations = [a for name in names for a in json.loads(archive.read(name))["annotations"]]
    found = [decode_rle(each["segmentation"]) for each in annotations]
    assert any(np.array_equal(each, mask) for each in found)
    assert "Doe" not in (tmp_path / "export.zip").read_bytes().decode("latin-1")


def area_text(page: Any, number: int) -> str:
    return str(page.locator("#objects li").nth(number - 1).locator(".area").inner_text())
