"""The annotator's panels beside the picture: suggestions, earlier prompts, import and training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.annotate.page.folders import SEED, Truth
from tests.annotate.page.served import (
    Server,
    click,
    dice,
    enter,
    masks,
    open_image,
    served,
    settle,
)
from tests.web.browser import browser_page, chromium
from ultrasam.phantom.acquisition import simulate

pytestmark = pytest.mark.slow  # a server with nano, and a browser


def test_suggestions_are_drafts_that_enter_accepts_one_by_one(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    page.click("#suggest")
    page.wait_for_function(
        "() => window.ultrasam.session.shown.length > 1 && !document.querySelector('#suggest').disabled"
    )
    found = masks(server, "a_still.png")
    assert max(dice(mask, truth.still) for mask in found.values()) >= 0.8
    assert page.evaluate(_STATES) == ["draft"] * len(found)
    page.locator("#objects .select").first.click()
    page.locator("#canvas").focus()
    for _ in found:
        page.keyboard.press("Enter")
        settle(page)
    assert page.evaluate(_STATES) == ["accepted"] * len(found)


def test_prompts_of_the_image_before_are_used_again(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "a_still.png")
    page.click("#reuse")
    page.wait_for_function(
        "() => document.querySelector('#message-text').innerText.includes('first image in the list')"
    )
    click(page, truth.point())
    open_image(page, "b_still.dcm")  # shows the same
    page.click("#reuse")
    page.wait_for_function("() => window.ultrasam.session.shown.length === 1")
    (mask,) = masks(server, "b_still.dcm").values()
    assert dice(mask, truth.still) >= 0.85
    assert page.evaluate(_STATES) == ["draft"]


def test_masks_of_other_tools_are_imported_as_drafts(
    page: Any, server: Server, truth: Truth, tmp_path: Path
) -> None:
    contours, _ = cv2.findContours(
        truth.still.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    annotation = {
        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
        "segmentation": [contours[0].ravel().tolist()],
    }  # fmt: skip
    coco = {
        "images": [{"id": 1, "file_name": "a_still.png", "width": 840, "height": 680}],
        "categories": [{"id": 1, "name": "artery"}],
        "annotations": [annotation],
    }
    (truth.folder / "labels").mkdir()
    (truth.folder / "labels" / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "again.json").write_text(json.dumps(coco))
    open_image(page, "a_still.png")
    page.click("#tab-data")
    page.fill("#import-path", "labels/none.json")
    page.click("#import")
    page.wait_for_function(
        "() => document.querySelector('#message-text').innerText.includes('none.json')"
    )
    page.fill("#import-path", "labels/coco.json")
    page.click("#import")
    page.wait_for_function("() => window.ultrasam.session.shown.length === 1")
    (mask,) = masks(server, "a_still.png").values()
    assert dice(mask, truth.still) >= 0.97
    assert page.evaluate(_STATES) == ["draft"]
    assert "1 mask" in page.locator("#import-result").inner_text()
    page.set_input_files("#upload-file", tmp_path / "again.json")
    page.wait_for_function("() => window.ultrasam.session.shown.length === 2")
    assert all(np.array_equal(again, mask) for again in masks(server, "a_still.png").values())


def test_training_keeps_the_better_model_and_shows_its_curve(tmp_path: Path) -> None:
    chromium()
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(10):
        phantom = simulate(SEED + number, size=(160, 200))
        cv2.imwrite(str(folder / f"{number}.png"), phantom.pixels)
    with served(folder) as server, browser_page() as page:
        server.work_as("anna")
        enter(page, server)
        page.click("#tab-data")
        page.click("#train")
        page.wait_for_function(
            "() => document.querySelector('#train-result').innerText.includes('nothing to export')"
        )
        for image in server.ask("/v1/images")["images"]:
            brush = {
                "kind": "brush", "mode": "add", "path": [[80, 60], [110, 90]], "radius": 20,
                "key": f"stroke-{image['id']}", "frame": 0,
            }  # fmt: skip
            server.ask(f"/v1/images/{image['id']}/strokes", brush)
        page.route("**/v1/train", lambda route: route.continue_(post_data=json.dumps({"steps": 2})))
        page.click("#train")
        page.wait_for_function(
            "() => document.querySelector('#train-result').innerText.includes('held-out')"
        )
        told = page.locator("#train-result").inner_text()
        before, after = (float(text) for text in re.findall(r"0\.\d+", told))
        assert ("is in use now" in told) == (after > before), told
        assert page.locator("#curve").is_hidden()  # so short a training has logged nothing
        page.evaluate(_TRAINED)
        assert page.locator("#curve").is_visible()
        label = page.locator("#curve").get_attribute("aria-label")
        assert label == "val_dice from 0.500 to 0.750"
        assert page.locator("#train-result").inner_text() == "As it was told."


_TRAINED = """() => {
  const job = { id: 1000, kind: 'train', state: 'running', done: 0, total: 0, image: null, sentence: '' };
  const curve = [{ step: 0, val_dice: 0.5 }, { step: 5, loss: 2 }, { step: 10, val_dice: 0.75 }];
  window.ultrasam.jobs.update(job);
  window.ultrasam.jobs.update({ ...job, state: 'done', sentence: 'As it was told.', result: { curve } });
}"""
_STATES = "() => window.ultrasam.session.shown.map(({ mask }) => mask.state)"
