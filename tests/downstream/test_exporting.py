"""Fine-tuned models exported to ONNX: they equal PyTorch's, and every way in opens them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import SMALL_NANO, TINY, randomized
from ultrasam import load, load_model
from ultrasam.downstream.classification.exported import ExportedClassifier
from ultrasam.downstream.classification.model import Classifier, Head, save_classifier
from ultrasam.downstream.instances.exported import ExportedInstanceSegmenter
from ultrasam.downstream.instances.model import (
    HeadConfig,
    InstanceSegmenter,
    save_instance_segmenter,
)
from ultrasam.downstream.regions.exported import ExportedRegionPredictor
from ultrasam.downstream.regions.model import (
    RegionClassifier,
    RegionPredictor,
    save_region_classifier,
)
from ultrasam.errors import CheckpointError, ConfigError
from ultrasam.prompts import Prompt
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.runtimes.verification import compare
from ultrasam.weights.adaptation import Adaptation
from ultrasam.weights.adapter_files import save_adaptation
from ultrasam.weights.adapters import adapt
from ultrasam.weights.files import write_checkpoint

FRAME = np.random.default_rng(0).integers(0, 256, (90, 120)).astype(np.uint8)


@pytest.mark.slow
def test_an_exported_classifier_equals_pytorchs_and_predict_takes_it(
    ultrasam: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Classifier(randomized(TINY), Head("attention", ("benign", "malignant"), 96)).eval()
    save_classifier(model, tmp_path / "saved", {})
    assert ultrasam("export", tmp_path / "saved", "-o", tmp_path / "onnx") == 0
    assert "Equals PyTorch: logits within" in capsys.readouterr().out
    opened = load(tmp_path / "onnx")
    assert isinstance(opened, ExportedClassifier)
    assert opened.classes == ("benign", "malignant")
    frames = [FRAME, np.stack([FRAME[::-1, :60]] * 3, axis=2)]
    expected = model.predict(frames).numpy()
    assert np.abs(opened.predict(frames) - expected).max() < 1e-5
    assert np.ptp(expected[:, 0]) > 0  # the images differ
    assert (tmp_path / "onnx" / "README.md").read_text().startswith("# Image classifier")
    Image.fromarray(FRAME).save(tmp_path / "a.png")
    predict = ("predict", tmp_path / "a.png", "--model", tmp_path / "onnx", "-o", tmp_path / "out")
    assert ultrasam(*predict) == 0
    (row,) = csv.DictReader((tmp_path / "out" / "classes.csv").open())
    assert abs(float(row["benign"]) - expected[0, 0]) < 1e-4

    with pytest.raises(CheckpointError, match="is fine-tuned for another task"):
        load_model(tmp_path / "onnx")
    with pytest.raises(ConfigError, match="does not run in torch"):
        load(tmp_path / "onnx", runtime="torch")
    about = json.loads((tmp_path / "onnx" / "model.json").read_text())
    del about["classes"]
    (tmp_path / "onnx" / "model.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path / "onnx")


@pytest.mark.slow
def test_an_exported_region_classifier_equals_pytorchs(
    ultrasam: Callable[..., int], tmp_path: Path
) -> None:
    classifier = RegionClassifier(randomized(SMALL_NANO), ("head", "abdomen", "femur")).eval()
    save_region_classifier(classifier, tmp_path / "saved", {})
    assert ultrasam("export", tmp_path / "saved", "-o", tmp_path / "onnx") == 0
    ours, theirs = load(tmp_path / "onnx"), RegionPredictor(classifier)
    assert isinstance(ours, ExportedRegionPredictor)
    prompts = [
        Prompt(points=[(60, 40)]),
        Prompt(box=(20, 20, 80, 60)),
        Prompt(points=[(60, 40), (5, 5)], labels=[1, 0]),
    ]
    for predictor in (ours, theirs):
        predictor.set_image(FRAME)
    expected = theirs.classify(prompts)
    assert np.abs(ours.classify(prompts) - expected).max() < 1e-5
    assert np.ptp(expected, axis=0).max() > 1e-4  # the prompts differ
    masks, others = ours.predict(prompts).masks, theirs.predict(prompts).masks
    assert masks.any()
    assert (masks != others).mean() < 1e-3
    assert ours.classify([]).shape == (0, 3)


@pytest.mark.slow
def test_an_exported_instance_segmenter_equals_pytorchs_and_predict_takes_it(
    ultrasam: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    head = HeadConfig(
        classes=("cyst", "nodule"),
        size=96,
        width=32,
        queries=7,
        layers=2,
        pixel_layers=1,
        points=64,
    )
    model = InstanceSegmenter(randomized(replace(TINY, depth=4)), head).eval()
    save_instance_segmenter(model, tmp_path / "saved", {})
    assert ultrasam("export", tmp_path / "saved", "-o", tmp_path / "onnx") == 0
    assert "masks' logits within" in capsys.readouterr().out
    opened = load(tmp_path / "onnx")
    assert isinstance(opened, ExportedInstanceSegmenter)
    assert opened.classes == ("cyst", "nodule")
    for frame in (FRAME, np.stack([FRAME[::-1, :60]] * 3, axis=2)):
        (ours, labels), (theirs, expected) = opened.predict(frame), model.predict(frame)
        assert len(theirs.scores)
        assert np.abs(ours.scores - theirs.scores).max() < 1e-5
        assert np.array_equal(ours.labels, theirs.labels)
        assert (ours.masks != theirs.masks).mean() < 1e-3
        assert (labels != expected).mean() < 1e-3
        assert np.array_equal(opened.find(frame).scores, ours.scores)
        assert np.array_equal(opened.label_map(frame), labels)
    Image.fromarray(FRAME).save(tmp_path / "a.png")
    predict = ("predict", tmp_path / "a.png", "--model", tmp_path / "onnx", "--min-score", 0.01)
    assert ultrasam(*predict, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "a_labels.png").is_file()
    assert ultrasam("export", tmp_path / "onnx", "-o", tmp_path / "again") == 1
    assert "is exported already" in capsys.readouterr().err

    about = json.loads((tmp_path / "onnx" / "model.json").read_text())
    del about["classes"]
    (tmp_path / "onnx" / "model.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path / "onnx")


@pytest.mark.slow
def test_low_rank_updates_are_merged_into_what_is_exported(
    ultrasam: Callable[..., int], tmp_path: Path
) -> None:
    base = randomized(SMALL_NANO)
    write_checkpoint(base, tmp_path / "base.safetensors")
    model = load_model(tmp_path / "base.safetensors")
    adaptation = Adaptation("lora", decoder=False)
    adapt(model, adaptation)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1)
    file = tmp_path / "adaptation.safetensors"
    save_adaptation(model.eval(), adaptation, file, init=str(tmp_path / "base.safetensors"))
    assert ultrasam("export", file, "-o", tmp_path / "onnx") == 0
    exported = load(tmp_path / "onnx")
    assert all(case.within for case in compare(exported, TorchBackend(model)))
    pixels = np.random.default_rng(0).normal(size=(1, 3, 128, 128)).astype(np.float32)
    before = TorchBackend(base).encode(pixels)[0].image.image.numpy()
    assert np.abs(exported.encode(pixels)[0]["image"] - before).max() > 0.01


def test_what_cannot_be_exported_is_told(
    ultrasam: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "instances.json").write_text("{}")
    assert ultrasam("export", tmp_path, "--to", "openvino", "-o", tmp_path / "out") == 1
    assert "such models are exported to onnx, in float32, only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
