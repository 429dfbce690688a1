"""What the page saves and reads equals Python's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.web.node import attempt, call
from ultrasam.images import rle
from ultrasam.images.masks import bounding_box
from ultrasam.images.pixels import GrayScale


def blob(shape: tuple[int, int], seed: int) -> npt.NDArray[np.bool_]:
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 4) > 0.05)


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_those_of_coco(tmp_path: Path, seed: int) -> None:
    mask = blob((57, 83), seed)
    mask[0, 0] = seed % 2 == 0
    given = [mask.astype(np.uint8).ravel(), 83, 57]
    (text,) = call(tmp_path, "saving/rle.js", ("encodeRle", given))
    assert text == rle.encode(mask)


def test_the_coco_file_holds_masks_boxes_areas_and_labels(tmp_path: Path) -> None:
    masks = [blob((57, 83), seed) for seed in (1, 2)]
    objects = [
        {"label": label, "mask": mask.astype(np.uint8).ravel(), "iou": 0.87654}
        for label, mask in zip(("cyst", "rib"), masks, strict=True)
    ]
    pictures = [
        {"name": "a.png", "width": 83, "height": 57, "frame": 0, "frames": 1, "objects": objects}
    ]
    about = {"model": "nano", "version": "1"}
    (found,) = call(tmp_path, "saving/coco.js", ("cocoOf", [pictures, about]))
    assert [c["name"] for c in found["categories"]] == ["cyst", "rib"]
    assert found["images"] == [{"id": 1, "file_name": "a.png", "width": 83, "height": 57}]
    for entry, mask in zip(found["annotations"], masks, strict=True):
        assert np.array_equal(rle.decode(entry["segmentation"]["counts"], (57, 83)), mask)
        x0, y0, x1, y1 = bounding_box(mask)
        assert entry["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert entry["area"] == mask.sum()
        assert entry["score"] == 0.8765
    assert json.dumps(found)


def test_a_saved_mask_is_the_mask(tmp_path: Path) -> None:
    mask = blob((57, 83), 3).astype(np.uint8) * 255
    (file,) = call(tmp_path, "saving/png.js", ("grayPng", [mask.ravel(), 83, 57]))
    assert np.array_equal(cv2.imdecode(file, cv2.IMREAD_UNCHANGED), mask)


def test_areas_are_square_millimeters_only_where_the_file_is_calibrated(tmp_path: Path) -> None:
    mask = np.zeros(100, np.uint8)
    mask[:40] = 1
    calibrated, bare = call(
        tmp_path, "saving/areas.js", ("areaOf", [mask, [0.5, 0.25]]), ("areaOf", [mask, None])
    )
    assert calibrated == {"value": 5.0, "unit": "mm²", "why": None}
    assert (bare["value"], bare["unit"]) == (40, "px")
    assert "how large a pixel is" in bare["why"]


def test_the_table_of_areas_quotes_labels_and_disarms_formulas(tmp_path: Path) -> None:
    objects = [{"label": '=HYPERLINK("x"),2', "mask": np.ones(6, np.uint8), "iou": 1}]
    picture = {"name": "b,c.png", "frame": 0, "spacing": None, "objects": objects}
    (text,) = call(tmp_path, "saving/areas.js", ("areasTable", [[picture]]))
    assert text.splitlines()[1] == '"b,c.png",0,1,"\'=HYPERLINK(""x""),2",6,px,6,,,1.0000'


WIDE: list[tuple[str, npt.NDArray[Any]]] = [
    ("10 bits", np.random.default_rng(0).integers(0, 1000, 5000).astype(np.uint16)),
    ("12 bits, an outlier", np.append(np.arange(4000), 65535).astype(np.uint16)),
    ("16 bits", np.random.default_rng(2).integers(0, 65536, 5000).astype(np.uint16)),
    ("signed", np.random.default_rng(3).normal(0, 1, 5000).cumsum().astype(np.int16)),
    ("8 bits", np.random.default_rng(4).integers(0, 90, 5000).astype(np.uint8)),
]  # fmt: skip


@pytest.mark.parametrize("values", [v for _, v in WIDE], ids=[name for name, _ in WIDE])
def test_the_gray_scale_is_the_same(tmp_path: Path, values: npt.NDArray[Any]) -> None:
    theirs = GrayScale.of(values)
    scale, shown = call(
        tmp_path, "reading/gray_scale.js", ("grayScale", [[values]]),
        ("applyScale", [values, {"black": theirs.black, "white": theirs.white}]),
    )  # fmt: skip
    assert scale == {"black": theirs.black, "white": theirs.white}
    assert np.array_equal(shown, theirs(values))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_16_bits_keeps_its_bits(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(5).integers(0, 65536, (31, 43, channels)).astype(np.uint16)
    file = cv2.imencode(".png", values[..., ::-1])[1]
    (found,) = call(tmp_path, "reading/deep_png.js", ("deepPng", [file.ravel()]))
    assert (found["width"], found["height"], found["channels"]) == (43, 31, channels)
    assert np.array_equal(found["values"], values.ravel())


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(6).integers(0, 65536, (31, 43)).astype(np.uint16)
    file = cv2.imencode(".png", values)[1].ravel()
    (answer,) = attempt(tmp_path, "reading/deep_png.js", ("deepPng", [file[: len(file) // 2]]))
    assert answer["$error"].endswith("copy or export it again.")
