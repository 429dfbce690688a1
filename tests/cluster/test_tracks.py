"""Tracking in shards: the same masks as one cine after the other, and a bad file costs no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.cluster.jobs import differences, small_model
from ultrasam.cluster import tracks
from ultrasam.cluster.alive import AlivePredictor
from ultrasam.errors import DiskFullError
from ultrasam.images.masks import decode_rle
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.inference.tracking.track import Track, track
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


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Let one cine fail as it is followed."""

    def fails(scan: Scan, *args: Any, **how: Any) -> Track:
        if scan.source is not None and scan.source.name == name:
            raise error
        return track(scan, *args, **how)

    monkeypatch.setattr(tracks, "track", fails)


def followed(ultrasam: Any, tmp_path: Path, folder: Path) -> Path:
    """The folder of a run in shards, in which something fails."""
    given = ("--model", small_model(tmp_path), "--no-tta", "--box", ",".join(map(str, BOX)))
    out = tmp_path / "out"
    assert ultrasam("track", folder, *given, "--device", "cpu", "--workers", 0, "-o", out) == 1
    return out


def test_whatever_goes_wrong_in_one_cine_is_a_row(
    ultrasam: Any, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "1.nrrd", RuntimeError("out of memory"))
    out = followed(ultrasam, tmp_path, folder)
    table = rows_of(out)
    failed = dict(table.drop_nulls("error").select("path", "error").iter_rows())
    assert {Path(path).name for path in failed} == {"1.nrrd", "3.nrrd"}
    assert failed[str(folder / "1.nrrd")].endswith("1.nrrd: RuntimeError: out of memory")
    assert table.filter(pl.col("path").str.ends_with("2.nrrd"))["rle"].count() > 0


def test_a_full_disk_ends_the_run_and_counts_for_nothing(
    ultrasam: Any, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "1.nrrd", DiskFullError("The disk is full."))
    out = followed(ultrasam, tmp_path, folder)
    assert not list(out.glob("shards/*"))


def test_a_worker_tells_that_it_lives_at_each_key_frame(tmp_path: Path, folder: Path) -> None:
    network = AlivePredictor(small_model(tmp_path), tta=False, device="cpu")
    signs: list[int] = []
    network.alive = lambda: signs.append(1)
    track(read_scan(folder / "0.nrrd"), {0: [Prompt(box=BOX)], 3: [Prompt(box=BOX)]}, model=network)
    assert len(signs) >= 2


def test_what_shards_do_not_write_is_refused(
    ultrasam: Any, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = ",".join(map(str, BOX))
    given = ("--workers", 0, "-o", tmp_path / "out", "--box", box)
    assert ultrasam("track", folder, *given, "--video", "mp4") == 1
    assert "--video is not for sharded runs" in capsys.readouterr().err
    assert ultrasam("track", folder, "--box", box, "-o", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
