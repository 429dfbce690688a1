"""The page in a real Chromium: open, click, box, correct, undo, save; nothing leaves the machine."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.web.browser import chromium, loaded, on_screen, opened, served, settle
from tests.web.test_dicom import dataset
from ultrasam.images.masks import decode_rle
from ultrasam.inference.predictor import Predictor
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt
from ultrasam.web.export import SITE

pytestmark = pytest.mark.slow  # nano is exported, and Chromium compiles 14 MB of WebAssembly
CLICK, SECOND, BOX = (363.0, 230.0), (500.0, 560.0), (567.0, 53.0, 840.0, 407.0)
SAMPLE = SITE / "sample.png"


def dice(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.fixture(scope="module")
def truth() -> dict[str, npt.NDArray[np.bool_]]:
    """The structures of the sample picture, which is a phantom."""
    phantom = simulate(2018, size=(680, 840))
    return dict(zip(phantom.names, phantom.masks, strict=True))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    found = Predictor("nano", tta=False, device="cpu")
    found.set_image(SAMPLE)
    return found


def downloaded(page: Any, button: str, folder: Path) -> bytes:
    with page.expect_download() as waiting:
        page.click(button)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path.read_bytes()


def test_click_box_correct_undo_and_save(
    site: Path, tmp_path: Path, predictor: Predictor, truth: dict[str, npt.NDArray[np.bool_]]
) -> None:
    chromium()
    with served(site) as address, opened(address) as (page, requests):
        page.click("#sample")
        page.wait_for_function("() => window.ultrasam.pictures.length === 1")
        settle(page)

        # A click: the best of three; the others are offered from small to large.
        page.mouse.click(*on_screen(page, *CLICK))
        settle(page)
        mask = saved_mask(page, tmp_path)
        click = predictor.predict(Prompt(points=[CLICK]))
        assert dice(mask, click.masks[0, 0]) >= 0.999
        assert dice(mask, truth["artery"]) >= 0.8
        three = predictor.predict(Prompt(points=[CLICK]), multimask=True).masks[0]
        offered = page.locator("#candidates button").all_inner_texts()
        areas = sorted(int(candidate.sum()) for candidate in three)
        assert [text.split(" · ")[1] for text in offered] == [f"{area} px" for area in areas]

        # A corrective click feeds the mask back.
        page.mouse.click(*on_screen(page, *SECOND), button="right")
        settle(page)
        both = Prompt(points=[CLICK, SECOND], labels=[1, 0], mask=click.low_res_logits[0, 0])
        corrected = predictor.predict(both).masks[0, 0]
        assert dice(saved_mask(page, tmp_path), corrected) >= 0.999

        page.keyboard.press("Control+z")
        settle(page)
        assert np.array_equal(saved_mask(page, tmp_path), mask)
        page.keyboard.press("Enter")
        settle(page)

        # A box is a new object.
        start, end = on_screen(page, *BOX[:2]), on_screen(page, *BOX[2:])
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=3)
        page.mouse.up()
        settle(page)
        coco = json.loads(downloaded(page, "#save-coco", tmp_path))
        first, second = (decode_rle(entry["segmentation"]) for entry in coco["annotations"])
        assert np.array_equal(first, mask)
        expected = predictor.predict(Prompt(box=BOX)).masks[0, 0]
        assert dice(second, expected) >= 0.99  # the pointer stops on whole pixels of the screen
        assert dice(second, truth["gland"]) >= 0.8
        table = downloaded(page, "#save-areas", tmp_path).decode("utf-8-sig").splitlines()
        assert [row.split(",")[4] for row in table[1:]] == [str(first.sum()), str(second.sum())]
        overlay = cv2.imdecode(
            np.frombuffer(downloaded(page, "#save-overlay", tmp_path), np.uint8), cv2.IMREAD_COLOR
        )
        assert overlay.shape[:2] == mask.shape

        check_privacy(page, requests, address)


def saved_mask(page: Any, folder: Path) -> npt.NDArray[np.bool_]:
    file = np.frombuffer(downloaded(page, "#save-masks", folder), np.uint8)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_UNCHANGED) > 0)


def check_privacy(page: Any, requests: list[str], address: str) -> None:
    refused = page.evaluate(
        "async () => { try { await fetch('http://127.0.0.1:9/'); return false; } catch { return true; } }"
    )
    assert refused
    elsewhere = [
        url
        for url in requests
        if urlsplit(url).scheme in ("http", "https") and not url.startswith(address)
    ]
    assert elsewhere == []
    assert len([url for url in requests if url.startswith(address)]) > 20
    assert "Requests elsewhere so far: 0" in page.locator("#privacy-text").inner_text()


def test_it_works_without_a_network_and_with_threads(site: Path) -> None:
    chromium()
    with served(site) as address, opened(address) as (page, _):
        page.wait_for_function(
            "() => document.querySelector('#privacy-text').textContent.includes('without a network')"
        )
        page.context.set_offline(True)
        page.reload()
        loaded(page)
        page.click("#sample")
        page.wait_for_function("() => window.ultrasam.pictures.length === 1")
        settle(page)
        assert page.evaluate("() => self.crossOriginIsolated")


def test_what_cannot_be_read_is_told_beside_the_picture(site: Path, tmp_path: Path) -> None:
    chromium()
    bad = tmp_path / "notes.txt"
    bad.write_text("no picture")
    with served(site) as address, opened(address) as (page, _):
        page.set_input_files("#files", bad)
        message = page.locator("#message")
        message.wait_for(state="visible")
        assert message.inner_text().startswith("notes.txt cannot be read.")


def drop(page: Any, *paths: Path) -> None:
    """Drop files on the page, as from a file manager."""
    files = [{"name": p.name, "data": base64.b64encode(p.read_bytes()).decode()} for p in paths]
    page.evaluate(
        """(files) => {
          const dataTransfer = new DataTransfer();
          for (const { name, data } of files) {
            dataTransfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
          }
          for (const kind of ['dragover', 'drop']) {
            const event = new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true });
            document.querySelector('#stage').dispatchEvent(event);
          }
        }""",
        files,
    )


def test_png_jpeg_and_a_cine_are_dropped_and_a_file_of_another_kind_is_named(
    site: Path, tmp_path: Path
) -> None:
    chromium()
    pixels = cv2.imread(str(SAMPLE), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    png, jpeg, cine, clip = (tmp_path / f"a.{end}" for end in ("png", "jpg", "dcm", "mp4"))
    cv2.imwrite(str(png), pixels)
    cv2.imwrite(str(jpeg), pixels)
    frames = np.stack([pixels, np.roll(pixels, 8, axis=1), np.roll(pixels, 16, axis=1)])
    dataset(frames, FrameTime="40", PixelSpacing=["0.2", "0.1"]).save_as(cine)
    clip.write_bytes(b"\0\0\0\x20ftypisom")
    with served(site) as address, opened(address) as (page, _):
        drop(page, png, jpeg, clip, cine)
        page.wait_for_function("() => window.ultrasam.pictures.length === 3")
        settle(page)
        message = page.locator("#message-text").inner_text()
        assert message.startswith("a.mp4 cannot be read. It is a video")
        page.keyboard.press("Escape")
        assert page.locator("#message").is_hidden()

        page.keyboard.press("ArrowRight")
        settle(page)
        assert page.locator("#frame").inner_text() == "frame 1 (0–2)"
        page.mouse.click(*on_screen(page, *CLICK))
        settle(page)
        table = downloaded(page, "#save-areas", tmp_path).decode("utf-8-sig").splitlines()
        name, frame, *_, area, unit, count, rows, columns, _ = table[1].split(",")
        assert (name, frame, unit, rows, columns) == ("a.dcm", "1", "mm2", "0.2", "0.1")
        assert float(area) == pytest.approx(int(count) * 0.02)


def test_a_window_changes_what_is_shown_and_not_the_mask(site: Path, tmp_path: Path) -> None:
    chromium()
    gray = "() => [...window.ultrasam.canvas.bitmap.getContext('2d').getImageData(300, 200, 1, 1).data]"
    with served(site) as address, opened(address) as (page, _):
        page.click("#sample")
        page.wait_for_function("() => window.ultrasam.pictures.length === 1")
        settle(page)
        page.mouse.click(*on_screen(page, *CLICK))
        settle(page)
        before, mask = page.evaluate(gray), saved_mask(page, tmp_path)
        page.keyboard.press("w")
        assert page.locator("#window-open").get_attribute("aria-expanded") == "true"
        page.locator("#level").fill("40")
        page.locator("#width").fill("100")
        assert page.evaluate(gray)[0] == round((before[0] + 10) / 100 * 256)
        page.keyboard.press("Escape")
        assert page.locator("#window").is_hidden()
        page.keyboard.press("n")
        page.mouse.click(*on_screen(page, *CLICK))
        settle(page)
        coco = json.loads(downloaded(page, "#save-coco", tmp_path))
        masks = [decode_rle(entry["segmentation"]) for entry in coco["annotations"]]
        assert len(masks) == 2
        assert all(np.array_equal(each, mask) for each in masks)


def test_all_is_reached_by_keyboard_and_has_a_name(site: Path) -> None:
    chromium()
    with served(site) as address, opened(address) as (page, _):
        page.click("#sample")
        page.wait_for_function("() => window.ultrasam.pictures.length === 1")
        settle(page)
        page.keyboard.press("k")
        for _ in range(6):
            page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        settle(page)
        assert page.locator("#objects li").count() == 1
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+Enter")
        settle(page)
        assert page.locator("#prompts").inner_text() == "Clicks: 1 to add, 1 to remove."
        page.keyboard.press("Escape")  # hides the pointer, so that Enter accepts
        page.keyboard.press("Enter")
        settle(page)
        assert page.evaluate("() => window.ultrasam.pictures[0].objects[0].accepted")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, canvas[tabindex], [role]')]
              .filter((each) => !each.hidden && each.getAttribute('role') !== 'status')
              .filter((each) => !(each.ariaLabel || each.labels?.length || each.textContent.trim()))
              .map((each) => each.outerHTML)"""
        )
        assert nameless == []
        # From the start, Tab reaches each button of the header and of the panel, and the picture.
        page.evaluate("() => document.activeElement.blur()")
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("() => document.activeElement.id"))
        assert {"open", "undo", "window-open", "help", "canvas", "save-coco", "views"} <= reached


def test_a_graphics_card_that_cannot_be_used_leaves_the_work_to_the_processor(site: Path) -> None:
    chromium()
    # The page is told that there is a card, which the worker then does not find.
    card = (
        "const gpu = { requestAdapter: async () => ({}) };"
        "Object.defineProperty(navigator, 'gpu', { value: gpu });"
    )
    with served(site) as address, opened(address, first=card) as (page, _):
        page.click("#sample")
        page.wait_for_function("() => window.ultrasam.pictures.length === 1")
        settle(page)
        page.locator("#card").check()
        settle(page)
        said = page.locator("#message-text").inner_text()
        assert said.startswith("The graphics card is not used: it could not be started")
        assert not page.locator("#card").is_checked()
        page.mouse.click(*on_screen(page, *CLICK))
        settle(page)
        assert page.locator("#objects li").count() == 1


def test_without_a_graphics_card_none_is_offered(site: Path) -> None:
    chromium()
    none = "Object.defineProperty(navigator, 'gpu', { value: undefined });"
    with served(site) as address, opened(address, first=none) as (page, _):
        assert page.locator("#card").is_hidden()
