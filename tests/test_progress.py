"""Long operations report progress through one callback, up to the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import MAKERS
from ultrasam.cli.progress import progress_bar
from ultrasam.datasets.discover import find_datasets
from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.store import Store
from ultrasam.store.validate import validate_store


class Seen:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.info: list[dict[str, object]] = []

    def __call__(self, done: int, total: int, /, **info: object) -> None:
        self.steps.append((done, total))
        self.info.append(info)

    def check(self, total: int) -> None:
        assert self.steps[-1] == (total, total)
        assert self.steps == sorted(self.steps)
        assert {step[1] for step in self.steps} == {total}


def test_a_build_a_check_and_an_evaluation_tell_each_step(tmp_path: Path) -> None:
    truths = MAKERS["busi"](tmp_path / "raw" / "busi")
    build_seen, check_seen, evaluation_seen = Seen(), Seen(), Seen()
    sources = find_datasets([str(tmp_path / "raw")])
    build_store(sources, tmp_path / "store", settings=BuildSettings(), on_progress=build_seen)
    build_seen.check(len(truths))
    assert build_seen.info[-1] == {"dataset": "busi", "images": len(truths)}
    store = Store.open(tmp_path / "store")
    assert not list(validate_store(store, on_progress=check_seen))
    check_seen.check(len(truths))
    run_evaluation(
        open_evaluation_model("ellipse", device="cpu"),
        open_evaluation_datasets([str(tmp_path / "store")], split="all"),
        tmp_path / "ellipse.jsonl",
        settings=EvaluationSettings(("box",)),
        on_progress=evaluation_seen,
    )
    evaluation_seen.check(len(truths))


def test_bars_are_not_drawn_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("reading") as on_progress:
        on_progress(1, 2, dataset="busi", images=1200, loss=0.25)
    assert capsys.readouterr() == ("", "")
