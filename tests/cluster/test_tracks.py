"""Tracking in shards: the same masks as one cine after the other, and a bad file costs no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.cluster.jobs import differences, small_model
from ultrasam.images.masks import decode_rle
from ultrasam.images.reading import read_scan
from ultrasam.inference.tracking.track import track
from ultrasam.prompts import Prompt

sitk = pytest.importorskip("SimpleITK", reason="the extra volumes is not installed")
FRAMES = 5
BOX = [10.0, 8.0, 30.0, 26.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three volumes in which a bright square moves, and a torn one."""
    place = tmp_path / "cines"
    place.mkdir()
    speckle = np.random.default_rng(0).integers(0, 90, (40, 56))
    for number in range(3):
        voxels = np.repeat(speckle[None], FRAMES, 0).astype(np.uint8)
        for frame in range(FRAMES):
            left = 12 + (number + 1) * frame
            voxels[frame, 10:24, left : left + 16] = 220
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(place / f"{number}.nrrd"))
    (place / "3.nrrd").write_bytes((place / "0.nrrd").read_bytes()[:300])
    return place


def rows_of(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "shards" / "*" / "results.parquet").sort("path", "frame", "object")


def masks_of(table: pl.DataFrame) -> dict[tuple[int, int], np.ndarray]:
    return {
        (row["frame"], row["object"]): decode_rle(
            {"size": [row["height"], row["width"]], "counts": row["rle"]}
        )
        for row in table.drop_nulls("rle").iter_rows(named=True)
    }


def test_shards_hold_what_single_tracks_do(
    ultrasam: Any, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_model(tmp_path)
    entries = {
        "*": [{"box": BOX, "object": 0}],
        "1.nrrd": [
            {"box": BOX, "object": 0, "category": "cyst"},
            {"box": [20, 8, 44, 26], "object": 0, "frame": 3, "category": "cyst"},
        ],
        "2.nrrd": [
            {"box": BOX, "object": 0, "frame": 0}, {"object": 0, "frame": 3, "gone": True},
        ],
    }  # fmt: skip
    (tmp_path / "prompts.json").write_text(json.dumps(entries))
    common = (
        "--model",
        model,
        "--no-tta",
        "--device",
        "cpu",
        "--prompts",
        tmp_path / "prompts.json",
    )
    out = tmp_path / "out"
    assert ultrasam("track", folder, *common, "--shard-size", 2, "--workers", 0, "-o", out) == 1
    assert "3.nrrd" in capsys.readouterr().err
    table = rows_of(out)
    expected = {
        "0": {0: [Prompt(box=BOX)]},
        "1": {0: [Prompt(box=BOX)], 3: [Prompt(box=[20, 8, 44, 26])]},
    }
    for name, prompts in expected.items():
        found = masks_of(table.filter(pl.col("path").str.ends_with(f"{name}.nrrd")))
        alone = track(read_scan(folder / f"{name}.nrrd"), prompts, model=f"{model}+no-tta")
        assert {frame for frame, _ in found} == set(alone.frames())
        for frame in alone.frames():
            assert np.array_equal(found[frame, 0], alone.mask(frame))
    cyst = table.filter(pl.col("path").str.ends_with("1.nrrd")).drop_nulls("rle")
    assert set(cyst["class"]) == {"cyst"}
    assert json.loads(cyst["details"][0])["origin"] == "key"
    assert cyst["area"].min() > 0
    gone = masks_of(table.filter(pl.col("path").str.ends_with("2.nrrd")))
    assert gone
    assert max(frame for frame, _ in gone) < 3
    (error,) = table.filter(pl.col("path").str.ends_with("3.nrrd"))["error"]
    assert error

    # Two processes give the same bytes, and a run that is there goes on without anything to do.
    both = tmp_path / "both"
    assert ultrasam("track", folder, *common, "--shard-size", 2, "--workers", 2, "-o", both) == 1
    assert differences(both, out) == []
    assert ultrasam("track", folder, *common, "--shard-size", 2, "--resume", "-o", both) == 1


def test_what_shards_do_not_write_is_refused(
    ultrasam: Any, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = ",".join(map(str, BOX))
    given = ("--workers", 0, "-o", tmp_path / "out", "--box", box)
    assert ultrasam("track", folder, *given, "--video", "mp4") == 1
    assert "--video is not for sharded runs" in capsys.readouterr().err
    assert ultrasam("track", folder, "--box", box, "-o", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
