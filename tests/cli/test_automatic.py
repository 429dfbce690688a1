"""`ultrasam predict --automatic`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inference.test_automatic import Shapes
from ultrasam.images.masks import decode_rle

Run = Callable[..., int]


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    network = Shapes()
    # The class stays, because a predictor is known by it.
    monkeypatch.setattr("ultrasam.inference.predictor.Predictor", lambda *_, **__: network)
    monkeypatch.setattr(Shapes, "__init__", lambda *_, **__: None)
    path = tmp_path / "scan.png"
    Image.fromarray(np.full((80, 100), 90, np.uint8)).save(path)
    return path


def test_all_regions_of_a_file_are_written(ultrasam: Run, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ultrasam("predict", picture, "--automatic", "-o", out) == 0
    entries = json.loads((out / "predictions.json").read_text())
    assert len(entries) == 3
    for number, entry in enumerate(entries):
        assert entry["mask"] == f"scan_mask_{number}.png"
        stored = np.asarray(Image.open(out / entry["mask"])) > 0
        assert np.array_equal(stored, decode_rle(entry["segmentation"]))
    assert sorted(entry["inside"] >= 0 for entry in entries) == [False, False, True]
    assert (out / "scan_overlay.png").is_file()


def test_prompts_beside_automatic_masks_are_refused(
    ultrasam: Run, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("predict", picture, "--automatic", "--box", "1,1,9,9", "-o", tmp_path) == 1
    assert "--automatic takes no prompts" in capsys.readouterr().err
