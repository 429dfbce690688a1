"""Measuring in shards: the same numbers as one file after the other, and a bad file costs no other."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cluster.jobs import images, small_model
from ultrasam.cluster.rows import MEASUREMENTS, rows_of_measurements, write_rows
from ultrasam.measure.calibration import Calibration
from ultrasam.measure.files import FileMeasured, Result
from ultrasam.measure.measuring import Measured
from ultrasam.measure.quantities import Measurement

BOX = "6,5,30,24"


def written(out: Path) -> list[dict[str, str]]:
    with (out / "measurements.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_shards_hold_the_numbers_of_a_run_without_them(
    ultrasam: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    images(folder, 5, bad=(3,))
    common = (
        "--model", small_model(tmp_path), "--no-tta", "--device", "cpu", "--box", BOX, "--kind", "lesion",
        "--pixel-size", "0.2,0.1",
    )  # fmt: skip
    alone, shards = tmp_path / "alone", tmp_path / "shards"
    assert ultrasam("measure", folder, *common, "-o", alone) == 1
    capsys.readouterr()
    sharded = (*common, "--shard-size", 2)
    assert ultrasam("measure", folder, *sharded, "--workers", 0, "-o", shards) == 1
    told = capsys.readouterr()
    assert "003.png" in told.err
    assert str(shards / "measurements.csv") in told.out
    expected = written(alone)
    assert {row["image"] for row in expected} == {
        str(folder / f"{n:03d}.png") for n in (0, 1, 2, 4)
    }
    assert {row["unit"] for row in expected} >= {"mm", "mm²"}
    unlike = {"created": "", "prompts": ""}
    assert [{**row, **unlike} for row in written(shards)] == [{**row, **unlike} for row in expected]
    failed = pl.read_parquet(shards / "shards" / "*" / "results.parquet").drop_nulls("error")
    assert failed["path"].to_list() == [str(folder / "003.png")]

    # A run that is there goes on, and only with the same question.
    assert ultrasam("measure", folder, *sharded, "--resume", "-o", shards) == 1
    capsys.readouterr()
    assert ultrasam("measure", folder, *sharded, "--resume", "--pixel-size", 1, "-o", shards) == 1
    assert "pixel_size: 0.2, 0.1, now 1.0, 1.0" in capsys.readouterr().err


def test_files_in_an_archive_are_measured(ultrasam: Any, tmp_path: Path) -> None:
    (path,) = images(tmp_path / "scans", 1)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.write(path, "a/b.png")
    out = tmp_path / "out"
    given = ("--model", small_model(tmp_path), "--device", "cpu", "--box", BOX, "--workers", 0)
    assert ultrasam("measure", tmp_path / "scans.zip", *given, "-o", out) == 0
    assert {row["image"] for row in written(out)} == {str(tmp_path / "scans.zip" / "a" / "b.png")}


def test_a_beat_has_its_two_frames_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    in_mm = Calibration((0.2, 0.1), True, "of the file")
    numbers = Measured((Measurement("ejection fraction", 61.5, "%"),), ("touches the left edge",))
    beat = Result(
        (Path("a.dcm"),) * 2, (3, 9), "beat 1", "ejection-fraction", (in_mm, in_mm), numbers, (99.0, 297.0)
    )  # fmt: skip
    in_pixels = Calibration((1.0, 1.0), False, "the file states no pixel spacing")
    volume = Result((Path("a.dcm"),), (3,), "0", "ventricle", (in_pixels,), numbers)
    found = FileMeasured(
        Path("a.dcm"), [beat, volume], ["Frame 4 failed."], ["Frame 5 has no mask."]
    )
    file = tmp_path / "a.parquet"
    write_rows(file, list(rows_of_measurements(found, {"model": "nano"})), MEASUREMENTS, str)
    note, error, first, second = pl.read_parquet(file).rows(named=True)
    assert (note["note"], note["value"]) == ("Frame 5 has no mask.", None)
    assert (error["error"], error["frame"]) == ("Frame 4 failed.", None)
    assert (first["frame"], first["frames"], first["times_ms"]) == (3, [3, 9], [99.0, 297.0])
    assert (first["row_spacing"], first["column_spacing"]) == (0.2, 0.1)
    assert (first["value"], first["unit"], first["note"]) == (61.5, "%", "touches the left edge")
    assert (second["row_spacing"], second["times_ms"]) == (None, [None])
    assert second["calibration"] == "the file states no pixel spacing"
    assert {row["model"] for row in (note, error, first, second)} == {"nano"}


def test_an_entry_that_is_no_prompt_is_told_and_the_status_says_so(
    ultrasam: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = images(tmp_path / "scans", 1)
    prompts = tmp_path / "prompts.json"
    prompts.write_text('{"*": [{"box": [6, 5, 30, 24]}, {"box": [5, 6]}]}')
    given = ("--model", small_model(tmp_path), "--device", "cpu", "--prompts", prompts)
    for more in ((), ("--workers", 0)):
        out = tmp_path / f"out{len(more)}"
        assert ultrasam("measure", path, *given, *more, "-o", out) == 1
        assert "prompt 1" in capsys.readouterr().err
        assert {row["object"] for row in written(out)} == {"0"}


def test_a_new_run_removes_what_another_command_has_collected(
    ultrasam: Any, tmp_path: Path
) -> None:
    (path,) = images(tmp_path / "scans", 1)
    given = (
        path,
        "--model",
        small_model(tmp_path),
        "--device",
        "cpu",
        "--box",
        BOX,
        "--workers",
        0,
    )
    out = tmp_path / "out"
    assert ultrasam("measure", *given, "-o", out) == 0
    assert ultrasam("predict", *given, "--format", "coco", "--overwrite", "-o", out) == 0
    assert not (out / "measurements.csv").exists()
    assert (out / "predictions.json").exists()


def test_what_shards_do_not_measure_is_refused(
    ultrasam: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = images(tmp_path / "scans", 1)
    out = tmp_path / "out"
    sharded = ("--workers", 0, "-o", out)
    assert ultrasam("measure", path, "--box", BOX, "--kind", "prostate", *sharded) == 1
    assert "prostate needs several images" in capsys.readouterr().err
    assert ultrasam("measure", path, "--mask", path, *sharded) == 1
    assert "--mask is not for sharded runs" in capsys.readouterr().err
    assert ultrasam("measure", path, "--box", BOX, "--json", *sharded) == 1
    assert "--json is not for sharded runs" in capsys.readouterr().err
    assert not out.exists()
