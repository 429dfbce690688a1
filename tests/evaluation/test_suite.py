"""Suites: what each entry is evaluated with, and the suites that ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.evaluation.test_evaluate import folder_of
from ultrasam.errors import DataError, EvaluationError
from ultrasam.evaluation.models.registry import check_model_name
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.suite import load_suite
from ultrasam.training.shipped import recipe_path, shipped_recipes

SHIPPED = [name for name in shipped_recipes() if name.startswith("evaluation/")]


def written(path: Path, **changes: Any) -> Path:
    content = {
        "title": "Mine",
        "prompts": ["box", "random", "interior"],
        "entries": [
            {"title": "ellipse", "model": "ellipse"},
            {"title": "walker", "model": "random-walker", "prompts": ["interior"], "limit": 1},
        ],
    }
    path.write_text(yaml.safe_dump(content | changes))
    return path


def records(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *images = map(json.loads, file.read_text().splitlines())
    return header, images


@pytest.mark.usefixtures("undrawn")
def test_an_entry_may_have_fewer_prompts_and_images_and_the_report_says_so(
    tmp_path: Path, ultrasam: Callable[..., int]
) -> None:
    mine = folder_of(tmp_path / "mine", 4)
    suite = written(
        tmp_path / "suite.yaml", seed=7, repeats=2, limit=3,
        entries=[
            {"title": "disc", "model": "disc"},
            {"title": "walker", "model": "random-walker", "prompts": ["interior"], "limit": 1},
        ],
    )  # fmt: skip
    out = tmp_path / "out"
    assert ultrasam("evaluate", suite, "--data", mine, "-o", out) == 0
    header, images = records(out / "disc.jsonl")
    assert header["settings"]["prompts"] == ["random", "interior"]
    assert (header["settings"]["seed"], header["settings"]["repeats"]) == (7, 2)
    assert len(images) == 3
    found = next(image["objects"][0]["predictions"] for image in images if image["objects"])
    assert {kind: len(each) for kind, each in found.items()} == {"random": 2, "interior": 1}
    header, images = records(out / "walker.jsonl")
    assert header["settings"]["prompts"] == ["interior"]
    assert len(images) == 1
    report = (out / "report.md").read_text()
    assert "walker: at most 1 image per data set and only the prompts interior." in report
    # What the command line says counts.
    other = tmp_path / "other"
    options = ["--seed", 0, "--repeats", 1, "--limit", 2]
    assert ultrasam("evaluate", suite, "--data", mine, "-o", other, *options) == 0
    header, images = records(other / "disc.jsonl")
    assert (header["settings"]["seed"], header["settings"]["repeats"]) == (0, 1)
    assert len(images) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeats": 0}, "repeats"),
        ({"limit": 0}, "limit"),
        ({"seed": -1}, "seed"),
        ({"prompts": []}, "has no prompt types"),
        ({"prompts": ["box", "boxes"]}, "Unknown prompt type 'boxes'"),
        ({"prompts": ["box"]}, "'walker' has prompt type 'interior', which the suite lacks"),
        ({"entries": []}, "has no entries"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_wrong_suite_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        load_suite(written(tmp_path / "suite.yaml", **changes))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            ["evaluation/smok"],
            "Unknown suite 'evaluation/smok'; give a file, or one of evaluation/full,",
        ),
        (
            ["smoke.yaml"],
            "Unknown suite 'smoke.yaml'; give a file",
        ),  # 'smoke' is a recipe of training
        (
            ["evaluation/smoke", "ellipse"],
            "evaluation/smoke is a suite, which takes no further MODEL",
        ),
        (["ellipse", "mine.yaml"], "mine.yaml is a suite, which takes no further MODEL"),
    ],
)
def test_a_wrong_name_of_a_suite_is_refused_in_one_sentence(
    models: list[str], message: str, ultrasam: Callable[..., int], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    mine = folder_of(tmp_path / "mine", 1)
    assert ultrasam("evaluate", *models, "--data", mine) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_is_valid_and_says_how_it_is_run(name: str) -> None:
    suite = load_suite(recipe_path(name))
    for entry in suite.entries:
        if not entry.model.startswith("runs/") and entry.model != "samus":
            check_model_name(entry.model)
        assert suite.prompts_of(entry)
    comment = recipe_path(name).read_text().split("title:")[0]
    assert f"ultrasam evaluate {name} " in comment or "make leaderboard" in comment


def test_the_full_suite_has_both_protocols_curves_of_twenty_clicks_and_all_baselines() -> None:
    suite = load_suite(recipe_path("evaluation/full"))
    kinds = [PromptKind.parse(name) for name in suite.prompts]
    assert {kind.protocol for kind in kinds} == {"exact", "human"}
    assert {"box", "interior", "point", "box+interior", "box+point", "interior20", "box+clicks5",
            "box-noisy", "box-scaled85", "box-scaled95", "box-scaled105", "box-scaled115",
            "box-shifted5", "box-shifted10", "box-shifted15", "random", "point-noise5",
            "point-noise50", "offcenter", "human"} <= set(suite.prompts)  # fmt: skip
    models = {entry.model for entry in suite.entries}
    assert {
        "nano",
        "nano+no-tta",
        "ellipse",
        "filled-box",
        "grabcut",
        "disc",
        "random-walker",
    } <= models
    assert any(model.startswith("random:") for model in models)


def test_the_leaderboard_has_prompts_of_both_protocols_and_two_floors() -> None:
    suite = load_suite(recipe_path("evaluation/leaderboard"))
    assert {PromptKind.parse(name).protocol for name in suite.prompts} == {"exact", "human"}
    models = [entry.model for entry in suite.entries]
    assert "transformers-random:sam-vit-b" in models
    assert any(model.startswith("random:vit-b") for model in models)


def test_sources_are_published_data_sets_by_any_of_their_names(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path / "suite.yaml", sources={"mine": "Dataset_BUSI_with_GT"}))
    assert suite.sources == {"mine": "busi"}
    with pytest.raises(DataError, match=r"Unknown data set 'buzi'\. Did you mean busi\?"):
        load_suite(written(tmp_path / "suite.yaml", sources={"mine": "buzi"}))


@pytest.mark.slow
def test_the_smoke_suite_runs_on_real_images(
    shared_data: Path, tmp_path: Path, ultrasam: Callable[..., int]
) -> None:
    assert (
        ultrasam("evaluate", "evaluation/smoke", "--data", shared_data / "dev", "-o", tmp_path) == 0
    )
    suite = load_suite(recipe_path("evaluation/smoke"))
    for name in ("nano", "ellipse", "disc"):
        _, images = records(tmp_path / f"{name}.jsonl")
        assert len(images) == 9 * (suite.limit or 0)
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.usefixtures("undrawn")
def test_a_stated_source_puts_a_data_set_among_those_seen(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 3)
    out = tmp_path / "out"
    command = ["evaluate", "nano+no-tta", "--data", mine, "--prompt-type", "box", "-o", out]
    assert ultrasam(*command) == 0
    text = (out / "report.md").read_text()
    assert "Unknown whether seen: mine." in text
    assert "mine is not in the catalog, and may come from a data set that a model has seen." in text
    assert "--source mine=ID" in text
    for source, label in (("mine=busi", "seen by nano"), ("mine=camus", "unseen")):
        assert ultrasam(*command, "--source", source) == 0
        text = (out / "report.md").read_text()
        assert "If you know the source" not in text
        assert f"{label[0].upper()}{label[1:]}" in text
    for source, sentence in (
        ("mine", "--source takes NAME=ID, such as mine=busi; 'mine' is not of that form."),
        ("yours=busi", "--source: no data set is named 'yours'; there are mine."),
        ("mine=buzi", "Unknown data set 'buzi'. Did you mean busi?"),
    ):
        capsys.readouterr()
        assert ultrasam(*command, "--source", source) == 1
        assert sentence in capsys.readouterr().err
    assert ultrasam(*command, "--source", "mine=busi", "--source", "mine=ddti") == 1
    assert "--source: mine has two sources, busi and ddti; give it one." in capsys.readouterr().err
