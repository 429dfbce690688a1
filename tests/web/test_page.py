"""The page in a real Chromium: open, click, box, correct, undo, save; nothing leaves the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.web.browser import chromium, loaded, on_screen, opened, served, settle
from ultrasam.images.masks import decode_rle
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prompt
from ultrasam.web.export import SITE

pytestmark = pytest.mark.slow  # nano is exported, and Chromium compiles 14 MB of WebAssembly
CLICK, SECOND, BOX = (250.0, 212.0), (300.0, 400.0), (139.0, 244.0, 417.0, 460.0)
SAMPLE = SITE / "sample.png"


def dice(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


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


def test_click_box_correct_undo_and_save(site: Path, tmp_path: Path, predictor: Predictor) -> None:
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
