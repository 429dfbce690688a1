"""The page's predictor, in the page's own runtime under Node, gives Python's masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.web.node import call, image, node
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.web.export import SITE

BRIDGE = """
import fs from 'node:fs';
import * as ort from '{site}/vendor/onnxruntime-web/ort.wasm.bundle.min.mjs';
import {{ openNetwork }} from '{site}/segmentation/network.js';
import {{ Predictor }} from '{site}/segmentation/predictor.js';
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = fs.readFileSync('{site}/vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm');
const read = (name) => fs.readFileSync(`{site}/model/${{name}}`);
const graphs = {{ encoder: read('encoder.onnx'), decoder: read('decoder.onnx') }};
const network = await openNetwork(ort, JSON.parse(read('model.json')), graphs);
let predictor;
let last;
export const open = async (image, allViews) => {{
  predictor = new Predictor(network, {{ allViews }});
  await predictor.setImage(image);
}};
export const predict = async (prompt, multimask, again) => {{
  const results = await predictor.predict({{ ...prompt, mask: again ? last[0].lowRes : null }}, multimask);
  last = results;
  return results.map((r) => ({{ mask: Uint8Array.from(r.logits, (v) => Number(v > 0)), iou: r.iou,
    stability: r.stability }}));
}};
"""
CLICK, SECOND, BOX = (363.0, 230.0), (500.0, 560.0), (567.0, 53.0, 840.0, 407.0)


def point(place: tuple[float, float], label: int) -> dict[str, Any]:
    return {"x": place[0], "y": place[1], "label": label}


@pytest.mark.parametrize(
    "all_views",
    [
        pytest.param(False, id="one-view", marks=pytest.mark.slow),
        pytest.param(True, id="all-views"),
    ],
)
def test_masks_are_those_of_python(
    small_site: Path, small_nano: UltraSam, tmp_path: Path, all_views: bool
) -> None:
    node()
    bridge = tmp_path / "bridge.mjs"
    bridge.write_text(BRIDGE.format(site=small_site.as_posix()))
    pixels = cv2.imread(str(SITE / "sample.png"), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    one = {"points": [point(CLICK, 1)], "box": None}
    two = {"points": [point(CLICK, 1), point(SECOND, 0)], "box": None}
    _, three, box, best, corrected = call(
        tmp_path, str(bridge), ("open", [image(pixels), all_views]), ("predict", [one, True, False]),
        ("predict", [{"points": [], "box": list(BOX)}, None, False]),
        ("predict", [one, None, False]), ("predict", [two, None, True]),
    )  # fmt: skip
    predictor = Predictor(small_nano, tta=all_views)
    predictor.set_image(pixels)
    click = predictor.predict(Prompt(points=[CLICK]))
    low_res = click.low_res_logits[0, 0]
    for ours, theirs in (
        (three, predictor.predict(Prompt(points=[CLICK]), multimask=True)),
        (box, predictor.predict(Prompt(box=BOX))),
        (best, click),
        (corrected, predictor.predict(Prompt([CLICK, SECOND], [1, 0], mask=low_res))),
    ):
        assert len(ours) == theirs.masks.shape[1]
        for i, result in enumerate(ours):
            expected = theirs.masks[0, i]
            found = result["mask"].reshape(expected.shape).astype(bool)
            assert 2 * (found & expected).sum() >= 0.999 * (found.sum() + expected.sum())
            assert result["iou"] == pytest.approx(theirs.predicted_iou[0, i], abs=1e-3)
            assert result["stability"] == pytest.approx(theirs.stability_score[0, i], abs=1e-3)
        assert np.all(np.diff([result["iou"] for result in ours]) <= 0)


@pytest.mark.slow  # another export
def test_weights_in_float16_give_the_masks_of_float32(
    small_site: Path, half_site: Path, tmp_path: Path
) -> None:
    node()
    pixels = cv2.imread(str(SITE / "sample.png"), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    prompts = [{"points": [point(CLICK, 1)], "box": None}, {"points": [], "box": list(BOX)}]
    results = []
    for name, site in (("whole", small_site), ("half", half_site)):
        bridge = tmp_path / f"{name}.mjs"
        bridge.write_text(BRIDGE.format(site=site.as_posix()))
        asked = [("predict", [prompt, None, False]) for prompt in prompts]
        results.append(call(tmp_path, str(bridge), ("open", [image(pixels), False]), *asked)[1:])
    assert (half_site / "model" / "encoder.onnx").stat().st_size < (
        small_site / "model" / "encoder.onnx"
    ).stat().st_size
    for (whole,), (half,) in zip(*results, strict=True):
        both = (whole["mask"] & half["mask"]).sum()
        assert 2 * both >= 0.99 * (int(whole["mask"].sum()) + int(half["mask"].sum()))
        assert half["iou"] == pytest.approx(whole["iou"], abs=0.01)
