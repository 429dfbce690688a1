"""Region classification: two classes in every image, told apart by the prompt alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, randomized
from tests.downstream.spots import pair, save_pairs
from ultrasam import load
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.regions.model import (
    RegionClassifier,
    RegionPredictor,
    load_region_classifier,
    save_region_classifier,
)
from ultrasam.downstream.regions.task import accuracy, train_region_classifier
from ultrasam.downstream.settings import RegionSettings
from ultrasam.downstream.targets import InstanceTarget
from ultrasam.errors import CheckpointError, DataError
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.prompts import Prompt
from ultrasam.settings import parse_overrides
from ultrasam.weights.formats import earlier_key


def settings_of(*overrides: str) -> RegionSettings:
    return RegionSettings.model_validate(parse_overrides(overrides))


@pytest.mark.slow
def test_a_prompt_tells_which_of_two_classes_is_meant(tmp_path: Path) -> None:
    settings = settings_of("trainer.max_steps=60", "trainer.batch=4", "optimizer.lr=5e-4")
    classifier = train_region_classifier(
        load_backbone("nano"), [pair(i) for i in range(40)], settings
    )
    fresh = [pair(i) for i in range(100, 115)]
    # Each image holds both classes: without the prompt, one half is right.
    assert accuracy(classifier, fresh, "box") >= 0.9
    assert accuracy(classifier, fresh, "point") >= 0.8
    predictor = RegionPredictor(classifier)
    predictor.set_image(fresh[0].pixels)
    prompts = [Prompt(box=(20, 20, 60, 60)), Prompt(points=[(90, 48)])]
    expected = predictor.classify(prompts)
    assert np.allclose(expected.sum(axis=1), 1)
    assert predictor.predict(prompts).masks.shape == (2, 1, 96, 128)
    save_region_classifier(classifier, tmp_path / "saved", {})
    again = load(tmp_path / "saved")
    assert isinstance(again, RegionPredictor)
    again.set_image(fresh[0].pixels)
    assert np.allclose(again.classify(prompts), expected, atol=1e-6)


def test_a_sam_design_is_classified_as_it_was_trained() -> None:
    """Masks may come from a prepared image on a CPU; the class comes from the plain decoder."""
    classifier = RegionClassifier(randomized(TINY), ("a", "b"))
    predictor = RegionPredictor(classifier)
    predictor.set_image(pair(0).pixels)
    boxes = [(20, 20, 60, 60), (60, 10, 110, 80)]
    probabilities = predictor.classify([Prompt(box=box) for box in boxes])
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-3

    model = classifier.model
    view = model.preprocessor.view(*pair(0).pixels.shape)
    pixels = torch.from_numpy(model.preprocessor.image(pair(0).pixels, view))
    corners = view.boxes_to_model(np.array(boxes, dtype=np.float64)).reshape(2, 2, 2)
    prompts = PromptTensors(torch.from_numpy(corners).float(), torch.tensor([[2, 3]]).expand(2, 2))
    image, features = classifier.encode(pixels[None])
    output = model.decode(image, prompts)
    logits = classifier(output, features.expand(2, -1))
    expected = logits.softmax(dim=1).detach().numpy()
    assert np.allclose(probabilities, expected, atol=1e-4)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    save_region_classifier(RegionClassifier(load_backbone("nano"), ("a", "b")), tmp_path, {})
    weights = tmp_path / "regions.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=folder.name):
            load_region_classifier(folder)


def test_a_folder_of_an_earlier_version_is_opened(tmp_path: Path) -> None:
    """Its tensors had other names, and its preprocessing was a sentence."""
    classifier = RegionClassifier(load_backbone("nano"), ("a", "b"))
    save_region_classifier(classifier, tmp_path, {})
    weights, about = tmp_path / "regions.safetensors", tmp_path / "regions.json"
    state = {earlier_key(name): tensor for name, tensor in load_file(weights).items()}
    assert any("fine_stride4" in name for name in state)
    save_file(state, weights)
    entry = json.loads(about.read_text())
    entry["preprocessing"] = "gray or RGB, longest side to size, normalized, zero-padded"
    entry["config"] |= {"zoom": 1.6, "mirror": True, "pixel_mean": [1, 2, 3], "name": "nano"}
    about.write_text(json.dumps(entry))
    weights.rename(tmp_path / "prompted.safetensors")
    about.rename(tmp_path / "prompted.json")
    assert isinstance(load(tmp_path), RegionPredictor)
    again = load_region_classifier(tmp_path, "cpu")
    assert again.classifier.model.preprocessor.mean == (1, 2, 3)
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(again.classifier.state_dict()[name], tensor)


def test_one_class_is_refused() -> None:
    image = pair(0)
    alone = InstanceTarget.of(image.pixels, image.masks[:1], ("bright",))
    with pytest.raises(DataError, match=r"at least two classes; the objects have only bright\."):
        train_region_classifier(load_backbone("nano"), [alone], settings_of("trainer.max_steps=1"))


@pytest.mark.usefixtures("undrawn")
def test_the_command_and_what_predict_says(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    save_pairs(tmp_path / "in", 10)

    out = tmp_path / "model"
    asked = ["finetune", "regions", "--data", tmp_path / "in", "--test-fraction", 0.3, "-o", out]
    assert ultrasam(*asked, "trainer.max_steps=3", "trainer.batch=2", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["model"], printed["classes"]) == (str(out), ["bright", "dark"])
    count = sum(printed["objects"].values())
    for kind in ("box", "point"):
        found = printed["accuracy"][kind]
        assert round(found["value"] * count) == pytest.approx(found["value"] * count)
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    image = tmp_path / "in" / "images" / "0.png"
    assert (
        ultrasam("predict", image, "--box", "15,20,55,70", "--model", out, "-o", tmp_path / "p")
        == 0
    )
    (entry,) = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert entry["class"] in ("bright", "dark")
    assert sum(entry["class_probabilities"].values()) == pytest.approx(1, abs=1e-3)
    asked = ["predict", image, "--box", "15,20,55,70", "--model", out, "--refine"]
    assert ultrasam(*asked) == 1
    assert "is a region classifier; it has no use for --refine" in capsys.readouterr().err
    assert ultrasam(*asked[:-1], "--candidates") == 1
    assert "is a region classifier; it has no use for --candidates" in capsys.readouterr().err
    assert (
        ultrasam(
            "finetune",
            "regions",
            "--data",
            tmp_path / "in",
            "--class",
            "bright",
            "-o",
            tmp_path / "one",
        )
        == 1
    )
    assert "at least two classes" in capsys.readouterr().err
