"""Exports of stores open in other tools, complete."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.datasets.layouts.truth import gray, picture, save
from tests.field.stores import store_of
from ultrasam.datasets.custom import image_mask_folder
from ultrasam.store.build import build_store
from ultrasam.store.export import export_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.splits import SplitFractions
from ultrasam.store.store import Store


@pytest.mark.parametrize("where", ["beside", "elsewhere", "moved"])
def test_a_yolo_export_opens_from_any_folder(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ultralytics takes a relative path from the current folder, none as the folder of the file."""
    folder = tmp_path / "out"
    counts = export_store(Store.open(store_of(tmp_path, 12, fractions=(0.3, 0.3))), folder, "yolo")
    if where == "moved":
        folder = folder.rename(tmp_path / "other")
    monkeypatch.chdir(folder if where == "beside" else tmp_path)
    found = yaml.safe_load((folder / "data.yaml").read_text())
    root = Path(found.get("path") or folder)  # check_det_dataset of ultralytics 8
    assert all(counts.values())
    for split, count in counts.items():
        assert len(list((root / found[split]).resolve().iterdir())) == count
    assert found["names"] == {0: "mine"}


def test_a_yolo_export_names_no_folder_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export_store(Store.open(store_of(tmp_path, fractions=(0, 0))), tmp_path / "out", "yolo")
    found = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert found["train"] == "images/train"
    assert "val" not in found
    assert "No image is in split val, which YOLO needs" in caplog.text


@pytest.mark.parametrize("pixels", [[(5, 5)], [(5, 5), (6, 5), (7, 5)], [(5, 5), (6, 6), (7, 7)]])
def test_a_yolo_export_loses_no_object_of_a_pixel_or_a_line(
    pixels: list[tuple[int, int]], tmp_path: Path
) -> None:
    mask = np.zeros((64, 80), bool)
    for x, y in pixels:
        mask[y, x] = True
    save(tmp_path / "raw" / "images" / "a.png", picture(0))
    save(tmp_path / "raw" / "masks" / "a.png", gray(mask))
    settings = BuildSettings(split_fractions=SplitFractions(0, 0))
    build_store([(image_mask_folder("m"), tmp_path / "raw")], tmp_path / "s", settings=settings)
    export_store(Store.open(tmp_path / "s"), tmp_path / "out", "yolo")
    (file,) = (tmp_path / "out" / "labels" / "train").iterdir()
    (line,) = file.read_text().splitlines()
    corners = np.array(line.split()[1:], float).reshape(-1, 2) * (80, 64)
    area = cv2.contourArea(corners.astype(np.float32))
    assert len(pixels) <= round(area) <= 2 * len(pixels) - 1
    inside = [
        cv2.pointPolygonTest(corners.astype(np.float32), (x + 0.5, y + 0.5), False)
        for x, y in pixels
    ]
    assert min(inside) >= 0
