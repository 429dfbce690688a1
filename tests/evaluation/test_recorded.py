"""What an evaluation records of a model beside its masks: its three candidates, and its predicted IoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.datasets.layouts.truth import gray, save
from ultrasam.evaluation.metrics.masks import iou
from ultrasam.evaluation.models.baselines import EllipseInBox
from ultrasam.evaluation.models.registry import EvaluationModel, open_evaluation_model
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.choice import choice_table
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.images.masks import decode_rle, deepest_point
from ultrasam.inference.predictor import Predictor
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prediction, Prompt


def folder_of(path: Path, count: int) -> Path:
    for i in range(count):
        phantom = simulate(100 + i, size=(120, 160))
        save(path / "images" / f"p{i:02}.png", phantom.pixels)
        save(path / "masks" / f"p{i:02}.png", gray(phantom.masks[0]))
    return path


def evaluated(tmp_path: Path, model: EvaluationModel, *prompts: str, images: int) -> Results:
    datasets = open_evaluation_datasets([str(folder_of(tmp_path / "mine", images))])
    file = tmp_path / "model.jsonl"
    run_evaluation(model, datasets, file, settings=EvaluationSettings(prompts))
    return read_results(file)


def test_the_best_of_a_models_three_masks_is_recorded(tmp_path: Path) -> None:
    model = open_evaluation_model("nano+no-tta", device="cpu")
    results = evaluated(tmp_path, model, "box", "interior", "random", images=2)
    assert not results.errors
    predictor = Predictor("nano+no-tta", device="cpu")
    for record in results.images:
        predictor.set_image(simulate(100 + int(record["image"][-2:]), size=(120, 160)).pixels)
        (entry,) = record["objects"]
        truth = decode_rle({"size": record["size"], "counts": entry["truth"]})
        offered = predictor.predict(Prompt(points=[deepest_point(truth)]), multimask=True)
        best = max(iou(mask, truth) for mask in offered.masks[0])
        (click,) = entry["predictions"]["interior"]
        assert click["best_iou"] == round(best, 5)
        assert click["iou"] <= click["best_iou"]
        assert entry["predictions"]["box"][0]["best_iou"] is not None
        assert entry["predictions"]["random"][0]["best_iou"] is None
    table = choice_table([results])
    assert table is not None
    assert [row[0] for row in table.rows] == ["box", "interior"]


def test_candidates_are_in_no_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "ultrasam.evaluation.runner.time", SimpleNamespace(perf_counter=lambda: clock.now)
    )

    class Offering(EllipseInBox):
        def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
            clock.now += 3
            return super().predict(prompts)

        def candidates(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
            clock.now += 100
            return super().predict(prompts)

    results = evaluated(
        tmp_path, EvaluationModel("m", Offering(), frozenset({"box"})), "box", images=1
    )
    assert clock.now == 103
    assert results.table["best_iou"].to_list() == results.table["iou"].to_list()
    assert results.seconds() == (0, 3, 0)


def test_a_predicted_iou_that_is_no_number_is_an_error_of_that_image(tmp_path: Path) -> None:
    class Unsure(EllipseInBox):
        def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
            found = super().predict(prompts)
            return replace(found, predicted_iou=np.full_like(found.predicted_iou, np.nan))

    model = EvaluationModel("unsure", Unsure(), frozenset({"box"}))
    results = evaluated(tmp_path, model, "box", images=2)
    assert [record["error"] for record in results.errors] == [
        "The model's predicted IoU is not a number"
    ] * 2
