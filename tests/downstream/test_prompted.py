"""Prompted classification: two classes in every image, told apart by the prompt alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.downstream.spots import pair, save_pairs
from ultrasam import load
from ultrasam.cli import main
from ultrasam.data.phantom import simulate
from ultrasam.downstream.annotated import Annotated
from ultrasam.downstream.initial import initial_model
from ultrasam.downstream.prompted import (
    PromptedClassifier,
    PromptedPredictor,
    Settings,
    accuracy,
    fit,
    load_prompted,
    save_prompted,
)
from ultrasam.errors import CheckpointError, DataError
from ultrasam.prompts import Prompt


@pytest.mark.slow
def test_a_prompt_tells_which_of_two_classes_is_meant(tmp_path: Path) -> None:
    classifier = fit(
        initial_model("nano"), [pair(i) for i in range(40)], Settings(steps=60, batch=4, lr=5e-4)
    )
    fresh = [pair(i) for i in range(100, 115)]
    # Each image holds both classes: without the prompt, one half is right.
    assert accuracy(classifier, fresh, "box") >= 0.9
    assert accuracy(classifier, fresh, "point") >= 0.8
    predictor = PromptedPredictor(classifier)
    predictor.set_image(fresh[0].pixels)
    prompts = [Prompt(box=(20, 20, 60, 60)), Prompt(points=[(90, 48)])]
    expected = predictor.classes_of(prompts)
    assert np.allclose(expected.sum(axis=1), 1)
    assert predictor.predict(prompts).masks.shape == (2, 1, 96, 128)
    save_prompted(classifier, tmp_path / "saved", {})
    again = load(tmp_path / "saved")
    assert isinstance(again, PromptedPredictor)
    again.set_image(fresh[0].pixels)
    assert np.allclose(again.classes_of(prompts), expected, atol=1e-6)


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    save_prompted(PromptedClassifier(initial_model("nano"), ("a", "b")), tmp_path, {})
    weights = tmp_path / "prompted.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=folder.name):
            load_prompted(folder)


def test_one_class_is_refused() -> None:
    image = pair(0)
    alone = Annotated(image.pixels, image.masks[:1], ("bright",))
    with pytest.raises(DataError, match=r"have 1 class \(bright\); two are needed"):
        fit(initial_model("nano"), [alone], Settings(steps=1))


@pytest.mark.slow
def test_the_command_and_what_predict_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pairs(tmp_path / "in", 10)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["ultrasam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main.run()
        return int(stop.value.code or 0)

    out = tmp_path / "model"
    asked = ["finetune", "prompted", "--data", tmp_path / "in", "--held-out", 0.3, "-o", out]
    assert run(*asked, "steps=3", "batch=2") == 0
    assert "of the classes right" in capsys.readouterr().out
    image = tmp_path / "in" / "images" / "0.png"
    assert run("predict", image, "--box", "15,20,55,70", "--model", out, "-o", tmp_path / "p") == 0
    (entry,) = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert entry["class"] in ("bright", "dark")
    assert sum(entry["class_probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert run("finetune", "prompted", "--data", tmp_path / "in", "--classes", "bright") == 1
    assert "two are needed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_vit_b_takes_two_steps_at_paper_size() -> None:
    """All parameters train, the head's besides (arXiv 2411.16222, downstream)."""
    model = initial_model("scratch:base")
    before = sum(p.numel() for p in model.parameters())
    classifier = PromptedClassifier(model, ("a", "b"))
    after = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    assert after - before == (256 + 256 + 768) * 2 + 2
    phantom = simulate(4, size=(96, 128))
    image = Annotated(
        phantom.pixels, phantom.masks, tuple("ab"[i % 2] for i in range(len(phantom.masks)))
    )
    if len(set(image.labels)) < 2:
        image = pair(0)
    losses: list[float] = []
    fit(model, [image], Settings(steps=2, batch=1), say=lambda _, loss: losses.append(loss))
    assert len(losses) == 2
    assert all(map(np.isfinite, losses))
    assert not any(bool(torch.isnan(p).any()) for p in model.parameters())
