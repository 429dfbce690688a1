"""Evaluations count what they leave out, find their images, go on without a model, and conclude."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.layouts.truth import disc, gray, picture, save
from tests.field.stores import folder_of, store_of
from ultrasam.datasets.annotated_image import Case, CaseImage, Instance, images_of
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.downstream.few_shot_data import open_few_shot_data
from ultrasam.downstream.images import open_images
from ultrasam.errors import DataError, EvaluationError
from ultrasam.evaluation.metrics.masks import METRICS
from ultrasam.evaluation.metrics.statistics import bootstrap_interval, bootstrap_means, interval
from ultrasam.evaluation.models import registry
from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report import protocols, reliability, subgroups, tables
from ultrasam.evaluation.report.conclusion import conclusion
from ultrasam.evaluation.report.first_screen import dice_plot
from ultrasam.evaluation.report.groups import dataset_groups
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.evaluation.report.summary import left_out, left_out_table
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import (
    EvaluationDataset,
    EvaluationItem,
    open_evaluation_datasets,
)
from ultrasam.reporting.tables import difference, with_interval
from ultrasam.store.store import Store

Run = Callable[..., int]
BOX = ("--prompt-type", "box")
NOT_THERE = "random:vit-b"


@pytest.fixture
def absent_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose name is known, and whose weights cannot be had."""

    def fail(spec: str, *_: object) -> None:
        raise EvaluationError(f"{spec} cannot be downloaded: no connection.")

    monkeypatch.setattr(registry, "_predictor", fail)


# The layouts of annotation tools


def coco(file: Path, folder: Path, names: list[str], *, prefix: str = "") -> None:
    """Write images to a folder, and a COCO file that lists them, each with a square of 20 x 20."""
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    content = {
        "categories": [{"id": 1, "name": "lesion"}],
        "images": [
            {"id": i, "file_name": prefix + name, "width": 80, "height": 64}
            for i, name in enumerate(names, 1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": [square]}
            for i in range(1, len(names) + 1)
        ],
    }
    for i, name in enumerate(names):
        save(folder / name, picture(i + len(folder.as_posix())))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("annotations", ["annotations", "Annotations", "json"])
@pytest.mark.parametrize("by", ["folder", "file"])
def test_annotations_beside_a_folder_of_images(annotations: str, by: str, tmp_path: Path) -> None:
    task = tmp_path / "task_1"
    file = task / annotations / "instances_default.json"
    coco(file, task / "images", ["frame_000000.png", "frame_000001.png"])
    (data,) = open_evaluation_datasets([str(task if by == "folder" else file)])
    assert data.name == ("task_1" if by == "folder" else "instances_default")
    assert [item.key[-12:] for item in data.items] == ["frame_000000", "frame_000001"]
    (image,) = data.items[0].read()
    assert not isinstance(image, Skip)
    assert abs(image.areas[0] - 400) <= 41  # the tools differ in the pixels on the edge


@pytest.mark.usefixtures("undrawn")
def test_cvats_layout_is_evaluated(tmp_path: Path, ultrasam: Run) -> None:
    file = tmp_path / "task_1" / "annotations" / "instances_default.json"
    coco(file, tmp_path / "task_1" / "images", ["a.png", "b.png"])
    for number, path in enumerate((file, file.parents[1])):
        out = tmp_path / str(number)
        assert ultrasam("evaluate", "filled-box", "--data", path, *BOX, "-o", out) == 0
        table = read_results(out / "filled-box.jsonl").table
        assert len(table) == 2
        assert table["dice"].min() > 0.9


def test_folders_of_splits_are_one_data_set(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        folder = tmp_path / "export" / split
        coco(folder / "_annotations.coco.json", folder, [f"{split}_{i}.png" for i in range(2)])
    (data,) = open_evaluation_datasets([str(tmp_path / "export")])
    assert (data.name, len(data.items)) == ("export", 6)


def test_a_folder_of_annotations_alone_is_no_data_set_among_others(tmp_path: Path) -> None:
    for task in ("task_1", "task_2"):
        folder = tmp_path / "all" / task
        coco(folder / "annotations" / "instances_default.json", folder / "images", ["a.png"])
    found = open_evaluation_datasets([str(tmp_path / "all")])
    assert [(data.name, len(data.items)) for data in found] == [("task_1", 1), ("task_2", 1)]


# A second evaluation in one folder


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("first", [("--split", "train"), ("--split", "all"), ("--split", "val")])
def test_a_report_has_the_images_of_its_own_run_only(
    first: tuple[str, str], tmp_path: Path, ultrasam: Run
) -> None:
    store, out = store_of(tmp_path, 10, fractions=(0.2, 0.3)), tmp_path / "out"
    run = ("evaluate", "filled-box", "--data", store, *BOX, "-o")
    assert ultrasam(*run, out, *first) == 0
    assert ultrasam(*run, out, "--split", "test") == 0
    assert ultrasam(*run, tmp_path / "alone", "--split", "test") == 0
    mixed, alone = ((folder / "report.md").read_text() for folder in (out, tmp_path / "alone"))
    assert mixed.split("## Run time")[0] == alone.split("## Run time")[0]


@pytest.mark.usefixtures("undrawn")
def test_a_smaller_limit_is_not_reported_with_earlier_images(tmp_path: Path, ultrasam: Run) -> None:
    folder, out = folder_of(tmp_path / "my", 6), tmp_path / "out"
    for limit, count in ((4, 4), (2, 2), (6, 6)):
        run = ("evaluate", "filled-box", "--data", folder, *BOX, "-o", out, "--limit", limit)
        assert ultrasam(*run) == 0
        report = (out / "report.md").read_text()
        assert f"{count} objects in {count} images of at most {count} subjects" in report


@pytest.mark.usefixtures("undrawn")
def test_two_data_sets_of_one_name_do_not_share_results(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = folder_of(tmp_path / "here" / "my", 3), folder_of(tmp_path / "there" / "my", 3)
    run = ("evaluate", "filled-box", *BOX, "-o", tmp_path / "out", "--data")
    assert ultrasam(*run, here) == 0
    capsys.readouterr()
    assert ultrasam(*run, there) == 1
    told = f"contains results of my in {here}, not in {there}; choose another --out."
    assert told in capsys.readouterr().err
    assert ultrasam(*run, here) == 0


# What is left out


@pytest.mark.usefixtures("undrawn")
def test_images_of_other_splits_are_counted(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_of(tmp_path, 10, fractions=(0.2, 0.3))
    test, train, val = (len(Store.open(store).select(splits=[s])) for s in ("test", "train", "val"))
    told = (
        f"mine: {test} of 10 images are evaluated, those in test; left out are {train} in train, "
        f"{val} in val."
    )
    assert ultrasam("evaluate", "filled-box", "--data", store, *BOX, "-o", tmp_path / "out") == 0
    assert told in capsys.readouterr().err
    report = (tmp_path / "out" / "report.md").read_text()
    assert told in report[: report.index("## Exact")]
    assert len(read_results(tmp_path / "out" / "filled-box.jsonl").images) == test
    out = tmp_path / "all"
    assert (
        ultrasam("evaluate", "filled-box", "--data", store, *BOX, "--split", "all", "-o", out) == 0
    )
    assert capsys.readouterr().err == ""
    assert "Not in these means" not in (out / "report.md").read_text()


def test_a_limit_is_counted(tmp_path: Path) -> None:
    (data,) = open_evaluation_datasets([str(folder_of(tmp_path / "mine", 5))], limit=2)
    assert data.not_chosen == (
        "mine: 2 of 5 items are evaluated, evenly spaced; the limit leaves out the others.",
    )


@pytest.mark.parametrize("with_store", [False, True])
def test_a_split_of_what_has_none_is_refused(
    with_store: bool, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = folder_of(tmp_path / "folder")
    data = ["--data", store_of(tmp_path)] * with_store + ["--data", raw]
    out = tmp_path / "out"
    assert ultrasam("evaluate", "ellipse", *data, "--split", "test", *BOX, "-o", out) == 1
    assert "--split applies to stores, and" in (error := capsys.readouterr().err)
    assert f"{raw} is not a store" in error
    assert not out.exists()


def test_images_and_annotations_that_a_reader_leaves_out_are_counted(tmp_path: Path) -> None:
    def read() -> Iterator[CaseImage | Skip]:
        yield CaseImage(picture(1), (Instance("x", disc(30, 30, 12)),))
        yield Skip("a.png", "annotation has no area", what="annotation")
        yield Skip("notes.txt", "no image", what="file")

    def other() -> Iterator[CaseImage | Skip]:
        yield Skip("b.png", "mask and image differ in shape")

    entry = FileEntry("a.png", ("a.png",), 1, 1)
    cases = [Case("d", "a", (entry,), read), Case("d", "b", (entry,), other)]
    items = tuple(
        EvaluationItem("d", case.key, lambda case=case: images_of(case)) for case in cases
    )
    listed = (
        Skip("c.png", "no mask"), Skip("d.png", "no mask"), Skip("e.txt", "no image", what="file"),
        Skip("f.png", "empty file", damage=True),
    )  # fmt: skip
    data = [EvaluationDataset("d", items, listed)]
    file = tmp_path / "ellipse.jsonl"
    for _ in range(2):  # resumed, nothing is counted twice
        run_evaluation(
            open_evaluation_model("ellipse"), data, file, settings=EvaluationSettings(("box",))
        )
    results = read_results(file)
    assert len(results.table) == 1
    assert [record["image"] for record in results.errors] == ["f.png"]
    assert len(results.images) == 6  # a, its annotation, b, c, d, f
    assert left_out([results], ()) == [
        "ellipse: 1 image could not be read or segmented.",
        "3 images left out by the data set's reader (reasons below).",
        "1 annotation left out by the data set's reader (reasons below).",
    ]
    table = left_out_table([results])
    assert table is not None
    assert table.rows[0] == ("d", "2 images", "no mask", "c.png")
    assert {row[1:3] for row in table.rows[1:]} == {
        ("1 image", "mask and image differ in shape"), ("1 annotation", "annotation has no area"),
    }  # fmt: skip


def test_images_without_a_mask_are_counted(tmp_path: Path, ultrasam: Run) -> None:
    raw = folder_of(tmp_path / "mine", 3)
    for i in range(2):
        save(raw / "images" / f"extra{i}.png", picture(90 + i))
    out = tmp_path / "out"
    assert ultrasam("evaluate", "ellipse", "--data", raw, *BOX, "-o", out) == 0
    assert "2 images left out by the data set's reader" in (out / "report.md").read_text()


# One subject


def test_one_subject_has_no_interval(tmp_path: Path, ultrasam: Run) -> None:
    assert all(np.isnan(bootstrap_interval([0.8, 0.9], ["a", "a"])))
    assert with_interval(0.881, np.nan, np.nan) == "0.881"
    assert difference(0.5, np.nan, np.nan) == "+0.500"
    raw, out = folder_of(tmp_path / "mine", 1), tmp_path / "out"
    assert ultrasam("evaluate", "ellipse", "filled-box", "--data", raw, *BOX, "-o", out) == 0
    text = (out / "report.md").read_text()
    assert "2 models on 1 object in 1 image of 1 subject from 1 data set" in text
    assert "over filled-box; with one subject, nobody can tell whether that is by chance" in text
    assert "nan" not in text
    cells = [line for line in text.splitlines() if line.startswith("| mine | 1 |")]
    assert cells
    assert not any("[" in line for line in cells)
    assert "| ellipse – filled-box | box | 1 | 1 | +0." in text
    assert "95 % interval | p |" not in text  # columns without a value


# The mean of data sets


def results_of(scores: dict[str, list[float]]) -> Results:
    prediction = {
        **dict.fromkeys(METRICS, 0.5), "ious": [0.5], "predicted_iou": 0.5, "mask": "", "best_iou": None,
    }  # fmt: skip
    images = tuple(
        {
            "dataset": name, "image": str(i), "subject": str(i), "size": [64, 80], "spacing": None,
            "objects": [
                {"structure": "x", "area": 99, "thickness": 9.0, "length": 11.0, "truth": "",
                 "click_outside": False, "predictions": {"box": [prediction | {"dice": score}]}}
            ],
        }
        for name, values in scores.items() for i, score in enumerate(values)
    )  # fmt: skip
    return Results("m", {"prompts": ["box"]}, images)


def test_data_sets_of_equal_size_are_resampled_independently() -> None:
    """With one seed for all, sets whose scores rise together had an interval of sqrt(2) times the width."""
    scores = [i / 19 for i in range(20)]
    table = tables.dataset_table([results_of({"a": scores, "b": scores})], "box", "dice")
    (cell,) = [row[2] for row in table.rows if "mean over data sets" in row[0]]
    low, high = (float(v) for v in cell.split("[")[1].rstrip("]").split(","))
    names = [str(i) for i in range(20)]
    right = [bootstrap_means(scores, names, seed=seed) for seed in (101, 202)]
    right_low, right_high = interval(np.mean(right, axis=0))
    assert (high - low) / (right_high - right_low) == pytest.approx(1, abs=0.1)
    assert not np.isnan(low)


# Choosing data sets


def test_a_data_set_of_one_s_own_is_chosen_by_its_name(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        folder_of(tmp_path / "my" / name, 2)
    for chosen in ("alpha", "beta"):
        (data,) = open_evaluation_datasets([str(tmp_path / "my")], only=[chosen])
        assert data.name == chosen
        (image, *_) = open_images([str(tmp_path / "my")], datasets=[chosen])
        assert image.dataset == chosen
    (data,) = open_evaluation_datasets([str(tmp_path / "my" / "beta")], only=["beta"])
    assert len(data.items) == 2


def test_a_data_set_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        folder_of(tmp_path / "my" / name, 2)
    for absent in ("busi", "alpah"):
        with pytest.raises(
            DataError, match=rf"^{absent} not found in .*; there are alpha, beta\.$"
        ):
            open_evaluation_datasets([str(tmp_path / "my")], only=[absent])
        with pytest.raises(
            DataError, match=rf"^{absent} not found in .*; there are alpha, beta\.$"
        ):
            open_few_shot_data([str(tmp_path / "my")], datasets=["alpha", absent])


# A model that cannot be opened


def test_a_model_that_cannot_be_opened_does_not_stop_the_others(
    absent_model: None, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = folder_of(tmp_path / "mine", 3), tmp_path / "out"
    asked = ("evaluate", "ellipse", NOT_THERE, "filled-box", "--data", raw, *BOX, "-o", out)
    assert ultrasam(*asked) == 1
    error = capsys.readouterr().err
    assert f"Left out: {NOT_THERE}: {NOT_THERE} cannot be downloaded: no connection." in error
    text = (out / "report.md").read_text()
    assert f"- {NOT_THERE}: {NOT_THERE} cannot be downloaded" in text[: text.index("## Exact")]
    assert (out / "ellipse.jsonl").exists()
    assert (out / "filled-box.jsonl").exists()
    assert not (out / "random_vit-b.jsonl").exists()


def test_a_model_without_use_for_the_prompts_does_not_stop_the_others(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = folder_of(tmp_path / "mine", 3), tmp_path / "out"
    assert ultrasam("evaluate", "disc", "ellipse", "--data", raw, *BOX, "-o", out) == 1
    assert "Left out: disc: disc accepts only point prompts" in capsys.readouterr().err
    assert len(read_results(out / "ellipse.jsonl").table) == 3


def test_the_only_model_that_cannot_be_opened_is_one_sentence(
    absent_model: None, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = folder_of(tmp_path / "mine", 1)
    assert ultrasam("evaluate", NOT_THERE, "--data", raw, *BOX, "-o", tmp_path / "out") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"ultrasam: {NOT_THERE} cannot be downloaded: no connection."


# The report


def test_the_report_concludes_first_and_repeats_nothing(tmp_path: Path, ultrasam: Run) -> None:
    raw, out = folder_of(tmp_path / "mine", 6), tmp_path / "out"
    assert ultrasam("evaluate", "filled-box", "ellipse", "--data", raw, *BOX, "-o", out) == 0
    text = (out / "report.md").read_text()
    first = "\n".join(text.splitlines()[:8])
    assert "2 models on 6 objects in 6 images of at most 6 subjects from 1 data set" in first
    assert "Exact prompts.** Box: **ellipse**, Dice 0.9" in first
    assert ", +0." in first
    assert "over filled-box." in first
    assert text.index("```sh") > text.index("## Run time")
    assert "Dice per structure" not in text  # one structure: the row of the data set
    assert "mean over" not in text  # one data set
    assert sum(line.startswith("| mine | 6 | 0.") for line in text.splitlines()) == 1


def test_models_are_ranked_on_what_all_of_them_have() -> None:
    """A model that was evaluated on an easy data set only is not the best for that."""
    whole = results_of({"easy": [0.9, 0.9], "hard": [0.3, 0.3]})
    easy = replace(results_of({"easy": [0.8, 0.8]}), name="n")
    (text,) = conclusion([whole, easy])
    assert text.endswith(
        "Box: **m**, Dice on what all models have (easy) 0.900, +0.100 [+0.100, +0.100] over n; with 2 "
        "subjects, nobody can tell whether that is by chance."
    )
    other = replace(results_of({"other": [0.8, 0.8]}), name="n")
    (text,) = conclusion([whole, other])
    assert text.endswith("Box: the models have no data set in common, so none is the best.")


def test_structures_are_shown_where_a_data_set_has_several(tmp_path: Path, ultrasam: Run) -> None:
    for name in ("a", "b"):
        for i in range(2):
            save(tmp_path / "mine" / "images" / f"{i}.png", picture(i))
            mask = disc(20 if name == "a" else 55, 30, 9)
            save(tmp_path / "mine" / "masks" / name / f"{i}.png", gray(mask))
    out = tmp_path / "out"
    assert ultrasam("evaluate", "ellipse", "--data", tmp_path / "mine", *BOX, "-o", out) == 0
    assert "### Dice per structure, box" in (out / "report.md").read_text()


def test_a_model_has_one_color_in_all_plots() -> None:
    two = [results_of({"a": [0.5, 0.6] * 20}), results_of({"a": [0.4, 0.7] * 20})]
    two = [Results(name, r.settings, r.images) for name, r in zip("mn", two, strict=True)]
    (group,) = dataset_groups(two)
    plots = (
        protocols.dataset_plot(two, "box"),
        subgroups.size_plot(two, "box", group),
        reliability.reliability_plot(two, "box", group),
        dice_plot(two),
    )
    for plot in plots:
        assert plot is not None
        drawn = set(re.findall(r"var\(--(series-\d)\)", plot.html()))
        assert drawn == {"series-0", "series-1"}
