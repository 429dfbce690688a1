"""The annotator's page in a real Chromium, on a folder with a PNG, a DICOM, a cine and a broken file."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed")

from tests.annotate.folders import SIZE, SPACING_CM, Truth, phantom_folder
from tests.annotate.served import Server, click, drag, enter, open_image, served, settle
from tests.web.browser import browser_page, chromium, on_screen, watched
from ultrasam.annotate.wire import mask_from_json
from ultrasam.images.masks import decode_rle

pytestmark = pytest.mark.slow  # a server with nano, and a browser
BoolMask = npt.NDArray[np.bool_]
BOX = (567.0, 53.0), (838.0, 407.0)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    chromium()
    return phantom_folder(tmp_path_factory.mktemp("annotated") / "scans")


@pytest.fixture(scope="module")
def running(truth: Truth) -> Iterator[Server]:
    with served(truth.folder) as found:
        yield found


@pytest.fixture
def server(running: Server, request: pytest.FixtureRequest) -> Server:
    """The server, asked by a reader of the test's own, who has drawn nothing."""
    running.work_as(request.node.name[:60])
    return running


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    with browser_page() as found:
        enter(found, server)
        yield found
        if not found.is_closed():
            found.goto("about:blank")  # lets others have the image


def masks(server: Server, name: str, frame: int = 0) -> dict[int, BoolMask]:
    """What is stored: the mask of each object of an image, by the object's number."""
    (image,) = (each for each in server.ask("/v1/images")["images"] if each["name"] == name)
    objects = server.ask(f"/v1/images/{image['id']}/objects?frame={frame}")["objects"]
    return {
        each["number"]: mask_from_json(each["mask"]["mask"]["box"], each["mask"]["mask"]["runs"], SIZE)
        for each in objects
        if each["mask"] is not None
    }


def shown(page: Any) -> list[BoolMask]:
    """What is on the screen: the masks of the frame."""
    crops = page.evaluate(
        "() => window.ultrasam.session.shown.map(({ crop: { x, y, width, height, data } }) =>"
        " ({ x, y, width, height, data: [...data] }))"
    )
    found = []
    for crop in crops:
        mask = np.zeros(SIZE, bool)
        rows, columns = slice(crop["y"], crop["y"] + crop["height"]), slice(crop["x"], crop["x"] + crop["width"])
        mask[rows, columns] = np.reshape(crop["data"], (crop["height"], crop["width"]))
        found.append(mask)
    return found


def dice(a: BoolMask, b: BoolMask) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def area_text(page: Any, number: int) -> str:
    return str(page.locator("#objects li").nth(number - 1).locator(".area").inner_text())


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
    page.keyboard.press("Control+y")  # what was undone can be redone still: note and flag are no masks
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
    (mask,) = masks(server, "b_still.dcm").values()
    page.click("#tab-data")
    page.click("#export")
    with page.expect_download() as waiting:
        page.click("#export-result a")
    waiting.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        print(archive.namelist())
        (name,) = (each for each in archive.namelist() if each.endswith("annotations.json"))
        coco = json.loads(archive.read(name))
    found = [decode_rle(each["segmentation"]) for each in coco["annotations"]]
    assert any(np.array_equal(each, mask) for each in found)
    assert "Doe" not in (tmp_path / "export.zip").read_bytes().decode("latin-1")


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
    assert np.array_equal(mask_from_json(*taken["mask"]["mask"].values(), SIZE), mine)
    (own,) = reads["colleague"]["objects"]
    assert np.array_equal(mask_from_json(*own["mask"]["mask"].values(), SIZE), theirs)


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


def label(page: Any, name: str) -> None:
    field = page.locator("#objects input").first
    field.fill(name)
    field.press("Enter")
    settle(page)
    page.locator("#canvas").focus()


@contextmanager
def another_window(page: Any) -> Iterator[Any]:
    """A page in the same browser that shares nothing with another one."""
    context = page.context.browser.new_context(viewport=page.viewport_size)
    context.set_default_timeout(300_000)
    try:
        yield watched(context.new_page())
    finally:
        context.close()


def test_two_windows_on_one_image_never_overwrite_each_other(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    click(page, truth.point())
    with another_window(page) as other:
        enter(other, server)
        open_image(other, "a_still.png")
        other.locator("#objects .select").first.click()
        other.keyboard.press("b")
        drag(other, (600.0, 480.0), (700.0, 480.0))
        stored = masks(server, "a_still.png")[1]
        page.keyboard.press("b")
        drag(page, (100.0, 600.0), (200.0, 600.0))
        assert np.array_equal(masks(server, "a_still.png")[1], stored)
        assert "changed in another tab" in page.locator("#message-text").inner_text()
        page.wait_for_function("() => !window.ultrasam.session.objects.values().next().value.local")
        assert np.array_equal(shown(page)[0], stored)
        drag(page, (100.0, 600.0), (200.0, 600.0))
        assert masks(server, "a_still.png")[1][600, 150]


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


def test_a_cine_is_propagated_corrected_and_accepted(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "c_cine.dcm")
    assert page.locator("#rate").inner_text() == "25.0 frames/s"
    click(page, truth.point(0))
    propagate(page)
    last = len(truth.cine) - 1
    page.keyboard.press("End")
    page.wait_for_function(f"() => window.ultrasam.session.frame === {last}")
    settle(page)
    (mask,) = masks(server, "c_cine.dcm", last).values()
    assert dice(mask, truth.cine[last]) >= 0.85
    facts = page.locator("#objects .facts").first
    assert facts.inner_text().startswith("propagated, not accepted")
    assert "artery" not in page.locator("#strip").get_attribute("aria-valuetext")
    assert "object 1 propagated" in page.locator("#strip").get_attribute("aria-valuetext")

    # A correction by hand is a key, and makes what lies after the first one stale.
    page.keyboard.press("b")
    drag(page, (480.0, 230.0), (620.0, 230.0))
    corrected = masks(server, "c_cine.dcm", last)[1]
    assert corrected[230, 600]
    page.wait_for_function(
        "() => window.ultrasam.session.objects.values().next().value.frames[5]?.shown === 'stale'"
    )
    propagate(page)
    assert np.array_equal(masks(server, "c_cine.dcm", last)[1], corrected)
    before = masks(server, "c_cine.dcm", last - 1)[1]
    assert before[230, 600]

    # Enter accepts the mask of a frame; undo takes the whole propagation back at once.
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => window.ultrasam.session.frame === {last - 1}")
    settle(page)
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("#objects .facts").first.inner_text().startswith("propagated, accepted")
    assert np.array_equal(masks(server, "c_cine.dcm", last - 1)[1], before)
    page.keyboard.press("Control+z")
    settle(page)
    page.keyboard.press("Control+z")
    settle(page)
    page.wait_for_function("() => document.querySelector('#redo').title.includes('Propagat')")
    assert not masks(server, "c_cine.dcm", last - 1)[1][230, 600]
    assert np.array_equal(masks(server, "c_cine.dcm", last)[1], corrected)


def test_a_cine_plays_with_its_masks_and_stops_where_it_is(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "c_cine.dcm")
    click(page, truth.point(0))
    page.keyboard.press("r")
    page.wait_for_function(f"() => window.ultrasam.player.statistics.shown > {len(truth.cine)}")
    page.wait_for_function("() => window.ultrasam.stage.playing?.objects.length === 1")
    page.keyboard.press("r")
    page.wait_for_function("() => !window.ultrasam.player.playing")
    settle(page)
    frame = page.evaluate("() => window.ultrasam.player.frame")
    assert page.evaluate("() => window.ultrasam.session.frame") == frame
    assert page.locator("#frame").inner_text() == f"frame {frame} of 0–{len(truth.cine) - 1}"


def propagate(page: Any) -> None:
    """Propagate both ways, and wait until what it made is shown."""
    before = page.evaluate("() => window.ultrasam.jobs.jobs.size")
    page.keyboard.press("g")
    page.wait_for_function(
        f"() => window.ultrasam.jobs.jobs.size > {before} && !window.ultrasam.jobs.open.length"
    )
    settle(page)


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


def test_all_can_be_done_with_the_keyboard(page: Any, server: Server, truth: Truth) -> None:
    open_image(page, "a_still.png")
    page.locator("#canvas").focus()
    page.keyboard.press("k")
    x, y = truth.point()
    for key, steps in (("ArrowLeft", SIZE[1] / 2 - x), ("ArrowUp", SIZE[0] / 2 - y)):
        scale = page.evaluate("() => window.ultrasam.stage.scale")
        for _ in range(round(steps * scale / 16)):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    settle(page)
    assert dice(masks(server, "a_still.png")[1], truth.still) >= 0.85
    page.wait_for_function("() => document.querySelector('#told').textContent.includes('saved')")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()

    reached = set()
    for _ in range(80):
        page.keyboard.press("Escape")  # or Tab would go through the masks of the click
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
    assert {"tab-objects", "suggest", "done", "nothing", "note", "fold", "undo", "filter-text"} <= reached
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, canvas, [role]')]
          .filter((each) => each.checkVisibility())
          .filter((each) => !each.textContent.trim() && !each.labels?.length && !each.placeholder
            && !each.getAttribute('aria-label') && !each.title && !each.getAttribute('aria-labelledby'))
          .map((each) => each.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []


def test_a_key_can_be_changed_and_one_that_is_taken_is_refused(page: Any, server: Server) -> None:
    page.click("#tab-settings")
    row = page.locator("#shortcuts li", has_text="Brush").first.locator("button")
    row.click()
    page.keyboard.press("e")
    assert "E is the key of “Eraser”" in page.locator("#message-text").inner_text()
    row.click()
    page.keyboard.press("q")
    page.wait_for_function("() => document.querySelector('#shortcuts').innerText.includes('Q')")
    page.reload()
    page.evaluate("() => window.ultrasam.started")
    page.locator("#canvas").focus()
    page.keyboard.press("q")
    assert page.locator("[data-tool=brush]").get_attribute("aria-checked") == "true"
    settings = server.ask("/v1/project")["settings"]
    server.ask("/v1/settings", {"shortcuts": {}}, "PATCH")
    assert settings["shortcuts"] == {"brush": "Q"}


@pytest.mark.parametrize(("scheme", "size"), [("dark", (1280, 800)), ("light", (1024, 700))])
def test_text_is_readable_and_targets_are_large(
    server: Server, truth: Truth, scheme: str, size: tuple[int, int]
) -> None:
    with browser_page(scheme=scheme, size=size) as page:
        enter(page, server)
        open_image(page, "c_cine.dcm")
        click(page, truth.point(0))
        page.keyboard.press("Control+z")
        settle(page)
        page.keyboard.press("Control+y")
        settle(page)
        for tab in ("objects", "readers", "data", "settings"):
            page.click(f"#tab-{tab}")
            assert page.evaluate(_LOW_CONTRAST) == []
            assert page.evaluate(_SMALL_TARGETS) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        outside = page.evaluate(
            """() => [...document.querySelectorAll('header > *, footer > *')].filter((each) => each.checkVisibility())
              .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.id)"""
        )
        assert outside == []


# WCAG's relative luminance and contrast: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
_LOW_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility()
    && !each.closest(':disabled') && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((each) => {
    const [a, b] = [parse(getComputedStyle(each).color), behind(each)].map(luminance).sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), each.outerHTML.slice(0, 90)];
  }).filter(([ratio]) => ratio < 4.5);
}"""
_SMALL_TARGETS = """() => [...document.querySelectorAll('button, select, input:not([type=checkbox])')]
  .filter((each) => each.checkVisibility())
  .map((each) => [each.getBoundingClientRect(), each.outerHTML.slice(0, 80)])
  .filter(([{ width, height }]) => width < 31.5 || height < 31.5).map(([, html]) => html)"""
