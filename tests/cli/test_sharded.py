"""Sharded runs as a user meets them: options that fit, going on, and one sentence for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.cluster.jobs import images, results, small_model
from ultrasam.cluster.job import read_job

Run = Callable[..., int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def predict(ultrasam: Run, model: Path, tmp_path: Path) -> Run:
    def run(*more: object, box: str | None = "6,5,30,24", folder: Path | None = None) -> int:
        prompt = [] if box is None else ["--box", box]
        return ultrasam(
            "predict",
            folder or tmp_path / "in",
            *prompt,
            "--model",
            model,
            "--device",
            "cpu",
            *more,
        )

    return run


def test_shards_hold_what_predict_writes_for_each_file(predict: Run, tmp_path: Path) -> None:
    images(tmp_path / "in", 5, bad=(3,))
    assert predict("-o", tmp_path / "plain") == 1
    assert predict("-o", tmp_path / "out", "--workers", 0, "--shard-size", 2, "--format", "coco",
                   "--format", "png") == 1  # fmt: skip
    plain, whole = (
        json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("plain", "out")
    )
    assert len(plain) == 4
    for ours, theirs in zip(whole, plain, strict=True):
        assert (tmp_path / "out" / ours["mask"]).is_file()
        for entry in (ours, theirs):
            del entry["created"], entry["mask"]
        assert ours == theirs
    overlays = sorted((tmp_path / "out" / "shards").rglob("*_overlay.png"))
    for path in overlays:
        assert path.read_bytes() == (tmp_path / "plain" / path.name).read_bytes()
    assert len(overlays) == 4


def test_it_goes_on_only_if_asked_and_begins_anew_only_if_asked(
    predict: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images(tmp_path / "in", 4)
    out, shards = tmp_path / "out", ("--workers", 0, "--shard-size", 2, "--format", "coco")
    assert predict("-o", out, *shards, "--resume") == 1
    assert "holds no sharded run" in capsys.readouterr().err
    assert predict("-o", out, *shards) == 0
    before = results(out)
    assert predict("-o", out, *shards) == 1
    assert "--resume" in capsys.readouterr().err
    assert predict("-o", out, *shards, "--resume", box="6,5,31,24") == 1
    assert "other prompts" in capsys.readouterr().err
    (out / "shards" / "000001" / "results.parquet").unlink()
    assert predict("-o", out, "--format", "coco", "--resume") == 0  # in shards of the same size
    assert "Shard 1 has changed" in capsys.readouterr().err
    assert predict("-o", out, *shards, "--resume", "--overwrite") == 1
    assert "leave one of them out" in capsys.readouterr().err
    assert results(out) == before
    assert predict("-o", out, *shards, "--overwrite", box="6,5,31,24") == 0
    assert results(out) != before
    assert predict("-o", out, "--overwrite") == 1
    assert "holds a sharded run" in capsys.readouterr().err


def test_of_two_runs_that_plan_at_once_only_the_first_is_done(
    predict: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images(tmp_path / "in", 2)
    out, share = tmp_path / "out", ("--shard-size", 1, "--shards", "0/2")
    assert predict("-o", out, *share) == 0
    before = results(out)
    monkeypatch.setattr("ultrasam.cluster.run.earlier_run", lambda _: None)  # it looked too early
    assert predict("-o", out, *share, box="6,5,31,24") == 1
    assert "other prompts" in capsys.readouterr().err
    assert results(out) == before


def test_a_model_that_cannot_be_opened_leaves_nothing(
    ultrasam: Run, model: Path, tmp_path: Path
) -> None:
    images(tmp_path / "in", 1)
    (tmp_path / "bad.pt").write_text("no weights")
    given = (
        "predict",
        tmp_path / "in",
        "--box",
        "6,5,30,24",
        "--workers",
        0,
        "-o",
        tmp_path / "out",
    )
    assert ultrasam(*given, "--model", tmp_path / "bad.pt") == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert ultrasam(*given, "--model", model, "--device", "cpu") == 0


def test_an_array_of_jobs_needs_no_word_to_go_on(predict: Run, tmp_path: Path) -> None:
    images(tmp_path / "in", 5)
    for share in ("1/2", "0/2", "1/2"):
        assert predict("-o", tmp_path / "out", "--shard-size", 1, "--shards", share) == 0
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "0", "--candidates"], "--candidates is not for sharded runs"),
        (["--workers", "0", "--engine", "local", "--address", "auto"], "add --engine ray"),
        (["--shards", "3/2"], "is no share of the shards"),
        (["--shards", "0/2", "--overwrite"], "would remove each other's results"),
        (["--workers", "0", "--format", "nothing"], "is not one of"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: list[str], told: str, predict: Run, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images(tmp_path / "in", 1)
    assert predict("-o", tmp_path / "out", *options) > 0
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "job.json").exists()


def test_prompts_of_a_file_and_automatic_work_the_same_way(
    predict: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = images(tmp_path / "in", 3, scale=4)
    file = tmp_path / "prompts.json"
    boxes = [{"box": [6, 5, 30, 24]}, {"box": [24, 20, 90, 99]}]
    file.write_text(json.dumps({"000.png": boxes[:1], "001.png": boxes}))
    assert predict("-o", tmp_path / "a", "--prompts", file, "--workers", 0, box=None) == 1
    rows = pl.read_parquet(tmp_path / "a" / "shards" / "*" / "results.parquet")
    assert rows["object"].to_list() == [0, 0, 1, None]
    assert "has no prompts for 002.png" in rows["error"][3]
    for path in paths[1:]:
        path.unlink()
    assert predict("-o", tmp_path / "b", "--automatic", "--workers", 0, box=None) == 0
    rows = pl.read_parquet(tmp_path / "b" / "shards" / "*" / "results.parquet")
    assert rows["path"].unique().to_list() == [str(paths[0])]
    assert read_job(tmp_path / "b").task == "automatic"


def test_features_go_to_a_folder_of_shards(ultrasam: Run, model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 3)
    given = ("embed", tmp_path / "in", "--model", model, "--device", "cpu")
    assert ultrasam(*given, "-o", tmp_path / "plain.parquet") == 0
    assert ultrasam(*given, "-o", tmp_path / "out", "--workers", 0, "--shard-size", 2) == 0
    plain = pl.read_parquet(tmp_path / "plain.parquet")
    rows = pl.read_parquet(tmp_path / "out" / "shards" / "*" / "results.parquet")
    assert rows["path"].equals(plain["path"])
    for ours, theirs in zip(rows["features"], plain["features"], strict=True):
        assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), abs=1e-5)
