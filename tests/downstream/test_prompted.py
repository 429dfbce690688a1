"""Prompted classification: two classes in every image, told apart by the prompt alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, randomised
from tests.downstream.spots import pair, save_pairs
from ultrasam import load
from ultrasam.downstream.annotated import Annotated
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.prompted import (
    PromptedClassifier,
    PromptedPredictor,
    Settings,
    accuracy,
    fit,
    load_region_classifier,
    save_prompted,
)
from ultrasam.errors import CheckpointError, DataError
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.prompts import Prompt
from ultrasam.weights.formats import earlier_key


@pytest.mark.slow
def test_a_prompt_tells_which_of_two_classes_is_meant(tmp_path: Path) -> None:
    classifier = fit(
        load_backbone("nano"), [pair(i) for i in range(40)], Settings(steps=60, batch=4, lr=5e-4)
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


def test_a_sam_design_is_classified_as_it_was_trained() -> None:
    """Masks may come from a prepared image on a CPU; the class comes from the plain decoder."""
    classifier = PromptedClassifier(randomised(TINY), ("a", "b"))
    predictor = PromptedPredictor(classifier)
    predictor.set_image(pair(0).pixels)
    boxes = [(20, 20, 60, 60), (60, 10, 110, 80)]
    said = predictor.classes_of([Prompt(box=box) for box in boxes])
    assert np.abs(said[0] - said[1]).max() > 1e-3

    model = classifier.model
    view = model.preprocessor.view(*pair(0).pixels.shape)
    pixels = torch.from_numpy(model.preprocessor.image(pair(0).pixels, view))
    corners = view.boxes_to_model(np.array(boxes, dtype=np.float64)).reshape(2, 2, 2)
    prompts = PromptTensors(torch.from_numpy(corners).float(), torch.tensor([[2, 3]]).expand(2, 2))
    image, features = classifier.encode(pixels[None])
    output = model.decode(image, prompts)
    logits = classifier(output, features.expand(2, -1))
    expected = logits.softmax(dim=1).detach().numpy()
    assert np.allclose(said, expected, atol=1e-4)


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    save_prompted(PromptedClassifier(load_backbone("nano"), ("a", "b")), tmp_path, {})
    weights = tmp_path / "prompted.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=folder.name):
            load_region_classifier(folder)


def test_a_folder_of_an_earlier_version_is_opened(tmp_path: Path) -> None:
    """Its tensors had other names, and its preprocessing was a sentence."""
    classifier = PromptedClassifier(load_backbone("nano"), ("a", "b"))
    save_prompted(classifier, tmp_path, {})
    weights, about = tmp_path / "prompted.safetensors", tmp_path / "prompted.json"
    state = {earlier_key(name): tensor for name, tensor in load_file(weights).items()}
    assert any("fine_stride4" in name for name in state)
    save_file(state, weights)
    entry = json.loads(about.read_text())
    entry["preprocessing"] = "grey or RGB, longest side to size, normalised, zero-padded"
    entry["config"] |= {"zoom": 1.6, "mirror": True, "pixel_mean": [1, 2, 3], "name": "nano"}
    about.write_text(json.dumps(entry))
    again = load_region_classifier(tmp_path, "cpu")
    assert again.classifier.model.preprocessor.mean == (1, 2, 3)
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(again.classifier.state_dict()[name], tensor)


def test_one_class_is_refused() -> None:
    image = pair(0)
    alone = Annotated(image.pixels, image.masks[:1], ("bright",))
    with pytest.raises(DataError, match=r"have 1 class \(bright\); two are needed"):
        fit(load_backbone("nano"), [alone], Settings(steps=1))


@pytest.mark.slow
def test_the_command_and_what_predict_says(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    save_pairs(tmp_path / "in", 10)

    out = tmp_path / "model"
    asked = ["finetune", "prompted", "--data", tmp_path / "in", "--held-out", 0.3, "-o", out]
    assert ultrasam(*asked, "steps=3", "batch=2") == 0
    assert "of the classes right" in capsys.readouterr().out
    image = tmp_path / "in" / "images" / "0.png"
    assert (
        ultrasam("predict", image, "--box", "15,20,55,70", "--model", out, "-o", tmp_path / "p")
        == 0
    )
    (entry,) = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert entry["class"] in ("bright", "dark")
    assert sum(entry["class_probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert ultrasam("predict", image, "--box", "15,20,55,70", "--classify") == 1
    assert "'nano' tells no classes" in capsys.readouterr().err
    assert ultrasam("finetune", "prompted", "--data", tmp_path / "in", "--classes", "bright") == 1
    assert "two are needed" in capsys.readouterr().err
