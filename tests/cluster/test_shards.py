"""The shard function: a row for everything, committed once, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pycocotools import mask as coco_mask

from tests.cluster.jobs import BOX, images, leftovers, planned, results, small_model
from tests.crashes import killed_at
from ultrasam import Predictor
from ultrasam.cluster.inputs import find_sources
from ultrasam.cluster.job import Job, read_job
from ultrasam.cluster.manifest import read_shard, write_plan
from ultrasam.cluster.rows import MASKS
from ultrasam.cluster.run import Share, check_same, remove_run, run_shards
from ultrasam.cluster.shards import DONE, ShardRunner, read_done, shard_folder
from ultrasam.cluster.tasks import OpenTask
from ultrasam.errors import ConfigError, DataError, UltraSamError
from ultrasam.images.masks import decode_rle
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.prompts import Prompt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


def table(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "shards" / "*" / "results.parquet")


def test_rows_hold_the_masks_of_the_predictor_with_their_sizes(model: Path, tmp_path: Path) -> None:
    paths = images(tmp_path / "in", 5)
    planned(tmp_path / "out", tmp_path / "in", model, shard_size=2)
    outcome = run_shards(tmp_path / "out")
    assert [one.files for one in outcome.done] == [2, 2, 1]
    rows = table(tmp_path / "out")
    assert rows["path"].to_list() == [str(path) for path in paths]
    assert rows["error"].null_count() == 5
    predictor = Predictor(str(model), tta=False, device="cpu")
    assert BOX.prompt is not None
    for path, row in zip(paths, rows.iter_rows(named=True), strict=True):
        predictor.set_image(path)
        found = predictor.predict(BOX.prompt)
        rle = {"size": [row["height"], row["width"]], "counts": row["rle"]}
        assert np.array_equal(decode_rle(rle), found.masks[0, 0])  # type: ignore[arg-type]
        assert row["area"] == coco_mask.area(rle)
        assert row["unit"] == "px"
        assert row["bbox"] == coco_mask.toBbox(rle).tolist()
        assert row["predicted_iou"] == pytest.approx(float(found.predicted_iou[0, 0]), abs=5e-5)


def test_what_fails_is_a_row_that_says_why(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 4, bad=(1,))
    job = Job(
        task="prompts", model=str(model), inputs=(str(tmp_path / "in"),), prompts=(), tta=False
    )
    sources = find_sources(job.inputs)
    a, b, c, d = (source.path for source in sources)
    outside = PromptEntry(1, Prompt(box=(100, 100, 120, 120)))
    assigned = AssignedPrompts({a: [BOX], b: [BOX], c: [BOX, outside]}, {d: f"No prompts for {d}."})
    write_plan(tmp_path / "out", job, sources, assigned)
    outcome = run_shards(tmp_path / "out")
    rows = table(tmp_path / "out")
    failed = rows.filter(pl.col("error").is_not_null())
    assert failed["path"].to_list() == [str(b), str(c), str(d)]
    assert str(b) in failed["error"][0]
    assert "prompt 1" in failed["error"][1]
    assert failed["error"][2] == f"No prompts for {d}."
    assert failed["rle"].null_count() == 3
    assert rows.filter(pl.col("rle").is_not_null())["path"].to_list() == [str(a), str(c)]
    assert outcome.done[0].failed == 3


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_read_in_place_and_give_what_their_files_give(
    model: Path, tmp_path: Path, kind: str
) -> None:
    images(tmp_path / "in" / "a", 3, bad=(2,))
    archive = Path(shutil.make_archive(str(tmp_path / "scans"), kind, tmp_path / "in"))
    for name, source in (("folder", tmp_path / "in"), ("archive", archive)):
        planned(tmp_path / name, source, model)
        run_shards(tmp_path / name)
    plain, packed = table(tmp_path / "folder"), table(tmp_path / "archive")
    assert packed["path"].to_list() == [str(archive / "a" / f"{n:03d}.png") for n in range(3)]
    same = [name for name in plain.columns if name not in ("path", "error", "note")]
    assert packed.select(same).equals(plain.select(same))
    (error,) = packed["error"].drop_nulls().to_list()
    assert error == plain["error"].drop_nulls()[0].replace(str(tmp_path / "in"), str(archive))


def test_archives_in_a_folder_are_found_beside_its_images(tmp_path: Path) -> None:
    images(tmp_path / "loose", 2)
    shutil.make_archive(str(tmp_path / "in" / "packed"), "zip", tmp_path / "loose")
    assert len(find_sources([str(tmp_path / "in")])) == 2
    images(tmp_path / "in" / "more", 3)
    assert len(find_sources([str(tmp_path / "in")])) == 5


def test_an_archive_without_random_access_is_refused(tmp_path: Path) -> None:
    images(tmp_path / "in", 1)
    archive = shutil.make_archive(str(tmp_path / "scans"), "gztar", tmp_path / "in")
    with pytest.raises(UltraSamError, match=r"unpack it, or pack it as \.zip or \.tar"):
        find_sources([archive])


def _stub(runner: ShardRunner) -> ShardRunner:
    """Rows that need no model: the names of the files."""

    def rows(
        shard: Any, folder: Path, opened: Any, overlap: bool, alive: Any
    ) -> Iterator[list[Any]]:
        for source in shard.sources:
            (folder / f"{source.path.stem}.txt").write_text(source.path.name)
            yield [{"path": source.path.name}]

    runner._task = OpenTask(MASKS, rows)
    return runner


def test_a_kill_at_any_change_to_the_folder_costs_nothing_and_doubles_nothing(
    model: Path, tmp_path: Path
) -> None:
    images(tmp_path / "in", 4)
    job = planned(tmp_path / "whole", tmp_path / "in", model, shard_size=2)
    with killed_at(tmp_path / "whole") as changes:
        for shard in range(job.num_shards):
            _stub(ShardRunner(tmp_path / "whole")).run(shard)
    expected = results(tmp_path / "whole")
    assert len(expected) == 6
    assert changes.count > 20
    for last in range(1, changes.count + 1):
        out = tmp_path / f"killed{last}"
        planned(out, tmp_path / "in", model, shard_size=2)
        with killed_at(out, last):
            for shard in range(job.num_shards):
                _stub(ShardRunner(out)).run(shard)
        # What is there counts, so it must be whole, before anything is repeated.
        for shard in range(job.num_shards):
            done = read_done(out, shard)
            assert done is None or len(done.hashes) == 3
        for shard in range(job.num_shards):
            _stub(ShardRunner(out)).run(shard)
        assert results(out) == expected, last


def test_a_kill_while_planning_leaves_a_plan_or_none(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 3)
    with killed_at(tmp_path) as changes:
        planned(tmp_path / "whole", tmp_path / "in", model)
    for last in range(1, changes.count + 1):
        out = tmp_path / f"killed{last}"
        with killed_at(tmp_path, last):
            planned(out, tmp_path / "in", model)
        if (out / "job.json").exists():
            assert len(read_shard(out, read_job(out), 0).sources) == 3
        job = planned(out, tmp_path / "in", model)
        assert len(read_shard(out, job, 0).sources) == 3


def two_images(model: Path, tmp_path: Path) -> Path:
    """The folder of a planned job of two images."""
    images(tmp_path / "in", 2)
    planned(tmp_path / "out", tmp_path / "in", model)
    return tmp_path / "out"


def test_the_slower_of_two_workers_on_one_shard_commits_nothing(
    model: Path, tmp_path: Path
) -> None:
    out = two_images(model, tmp_path)
    slow, fast = _stub(ShardRunner(out)), _stub(ShardRunner(out))
    plain = slow._task.rows

    def overtaken(*given: Any) -> Iterator[list[Any]]:
        yield from plain(*given)
        fast.run(0)

    slow._task = OpenTask(MASKS, overtaken)
    first = fast.out / "shards"
    assert slow.run(0) == read_done(out, 0)
    assert [path.name for path in first.iterdir()] == ["000000"]


def test_a_worker_whose_folder_another_run_has_tidied_away_finds_the_shard_done(
    model: Path, tmp_path: Path
) -> None:
    out = two_images(model, tmp_path)
    slow = _stub(ShardRunner(out))
    plain = slow._task.rows

    def overtaken(*given: Any) -> Iterator[list[Any]]:
        yield from plain(*given)
        run_shards(out)  # of another process: all is done, so it removes what is left over

    slow._task = OpenTask(MASKS, overtaken)
    assert slow.run(0) == read_done(out, 0)
    assert leftovers(out) == []


@pytest.mark.parametrize("mark", ["torn", '{"shard": 1}'])
def test_a_shard_whose_mark_is_damaged_is_done_again(
    model: Path, tmp_path: Path, mark: str
) -> None:
    images(tmp_path / "in", 2)
    out = tmp_path / "out"
    planned(out, tmp_path / "in", model, shard_size=1)
    run_shards(out)
    expected = results(out)
    (shard_folder(out, 1) / DONE).write_text(mark)
    told: list[int] = []
    run_shards(out, on_damaged=told.append)
    assert told == [1]
    assert results(out) == expected


def test_a_shard_whose_files_have_changed_is_done_again(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 4)
    out = tmp_path / "out"
    planned(out, tmp_path / "in", model, shard_size=2)
    run_shards(out)
    expected = results(out)
    (shard_folder(out, 1) / "results.parquet").write_bytes(b"PAR1 torn")
    told: list[int] = []
    run_shards(out, on_damaged=told.append)
    assert told == [1]
    assert results(out) == expected


def test_shares_do_all_shards_once_and_nothing_is_left_behind(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 5)
    planned(tmp_path / "whole", tmp_path / "in", model, shard_size=1, formats=("coco",))
    whole = run_shards(tmp_path / "whole")
    out = tmp_path / "out"
    planned(out, tmp_path / "in", model, shard_size=1, formats=("coco",))
    (out / "shards" / ".000001.aa.part").mkdir(parents=True)
    parts = [run_shards(out, share=Share.parse(f"{index}/2")) for index in (1, 0)]
    assert [[one.shard for one in part.done] for part in parts] == [[1, 3], [0, 2, 4]]
    assert [part.left for part in parts] == [3, 0]
    assert parts[0].table is None
    assert results(out) == results(tmp_path / "whole")
    assert leftovers(out) == []
    assert whole.table is not None
    assert parts[1].table is not None
    entries = [json.loads(path.read_text()) for path in (whole.table, parts[1].table)]
    for one in (*entries[0], *entries[1]):
        del one["created"]
    assert entries[0] == entries[1]
    assert [one["image_id"] for one in entries[0]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "1/0"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no share"):
        Share.parse(text)


def test_a_run_goes_on_only_with_what_it_was_asked_for(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 1)
    job = planned(tmp_path / "out", tmp_path / "in", model)
    found = read_job(tmp_path / "out")
    assert found == job
    check_same(tmp_path / "out", found, replace(job, created="later"))
    for change, told in (
        ({"model": "vit-b"}, "model: .*, now vit-b"),
        ({"prompts_hash": "0"}, "other prompts"),
        ({"formats": ("png",)}, "formats: , now png"),
    ):
        with pytest.raises(ConfigError, match=told):
            check_same(tmp_path / "out", found, replace(job, **change))  # type: ignore[arg-type]


def test_several_processes_that_plan_go_on_with_the_plan_of_the_first(
    model: Path, tmp_path: Path
) -> None:
    images(tmp_path / "in", 2)
    first = planned(tmp_path / "out", tmp_path / "in", model)
    images(tmp_path / "in", 3)
    second = planned(tmp_path / "out", tmp_path / "in", model)
    assert second == first
    assert [path.name for path in (tmp_path / "out").glob("manifest*")] == [first.manifest]


def test_prompts_of_single_files_come_back_from_the_manifest(tmp_path: Path, model: Path) -> None:
    images(tmp_path / "in", 3)
    job = Job(
        task="prompts", model=str(model), inputs=(str(tmp_path / "in"),), prompts=(), tta=False
    )
    sources = find_sources(job.inputs)
    clicks = Prompt(points=[(1 / 3, 2.5), (7, 8)], labels=[1, 0])
    own = [PromptEntry(3, clicks, category="cyst")]
    assigned = AssignedPrompts({s.path: own for s in sources[:2]}, {sources[2].path: "none"})
    read = read_shard(tmp_path / "out", write_plan(tmp_path / "out", job, sources, assigned), 0)
    assert read.sources == tuple(sources)
    assert read.prompts is not None
    assert read.prompts.missing == {sources[2].path: "none"}
    (entry,) = read.prompts.entries[sources[0].path]
    assert (entry.number, entry.category) == (3, "cyst")
    assert entry.prompt is not None
    assert entry.prompt.points.tolist() == clicks.points.tolist()
    assert entry.prompt.labels.tolist() == [1, 0]


def test_a_run_that_is_removed_half_leaves_no_shard_to_another_job(
    model: Path, tmp_path: Path
) -> None:
    images(tmp_path / "in", 2)
    planned(tmp_path / "whole", tmp_path / "in", model, shard_size=1)
    run_shards(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "counted")
    with killed_at(tmp_path / "counted") as changes:
        remove_run(tmp_path / "counted")
    assert not list((tmp_path / "counted").rglob("*.*"))
    for last in range(1, changes.count + 1):
        out = tmp_path / f"killed{last}"
        shutil.copytree(tmp_path / "whole", out)
        with killed_at(out, last):
            remove_run(out)
        assert (out / "job.json").exists() or not list(out.rglob("done.json"))


def test_a_folder_in_the_place_of_a_shard_is_told(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 1)
    planned(tmp_path / "out", tmp_path / "in", model)
    blocking = shard_folder(tmp_path / "out", 0)
    blocking.mkdir(parents=True)
    (blocking / "something").write_text("else")
    with pytest.raises(DataError, match="is no complete shard"):
        _stub(ShardRunner(tmp_path / "out")).run(0)
    assert not (blocking / DONE).exists()


def test_features_are_rows_too(model: Path, tmp_path: Path) -> None:
    from ultrasam.downstream.features import Embedder
    from ultrasam.weights.load import load_model

    paths = images(tmp_path / "in", 3, bad=(1,))
    planned(tmp_path / "out", tmp_path / "in", model, task="features")
    run_shards(tmp_path / "out")
    rows = table(tmp_path / "out")
    assert rows["error"].is_not_null().to_list() == [False, True, False]
    embedder = Embedder(load_model(str(model), device="cpu"))
    for path, row in zip(paths, rows.iter_rows(named=True), strict=True):
        if row["error"] is None:
            (expected,) = embedder.images([path])
            assert np.allclose(row["features"], expected, atol=1e-6)


def test_further_formats_lie_beside_the_table(model: Path, tmp_path: Path) -> None:
    images(tmp_path / "in", 2)
    planned(tmp_path / "out", tmp_path / "in", model, formats=("png", "csv"), shard_size=1)
    run_shards(tmp_path / "out")
    assert sorted(results(tmp_path / "out")) == [
        f"shards/00000{n}/{name}"
        for n in range(2)
        for name in (
            f"00{n}_mask_0.png", f"00{n}_masks.csv", f"00{n}_overlay.png", "results.parquet",
        )
    ]  # fmt: skip
