"""Fine-tuning says whether it helped, checks where it writes before it begins, and trains nothing twice."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.commands import COMMANDS, options_of
from tests.datasets.layouts.truth import disc, gray, picture, save
from tests.field.stores import folder_of, store_of
from tests.field.test_full_disk import full_disk
from ultrasam.cli import finetuning_runs
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.classification import report
from ultrasam.downstream.classification.model import Classifier, Head, save_classifier
from ultrasam.downstream.classification.report import ClassificationReport
from ultrasam.downstream.classification.task import train_classifier
from ultrasam.downstream.images import open_datasets, open_images
from ultrasam.downstream.settings import ClassifierSettings
from ultrasam.errors import DataError, DiskFullError
from ultrasam.model.ultrasam import UltraSam
from ultrasam.store.store import Store

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "score", partial(report.score, n_resamples=20))


def report_of(answers: list[bool], *, subjects: int | None = None) -> ClassificationReport:
    """Two thirds of the images are of class a; ``answers`` says for which ones the model is right."""
    labels = ["b" if i % 3 == 2 else "a" for i in range(len(answers))]
    images = tuple(
        AnnotatedImage.in_memory(
            picture(i), name=str(i), subject=str(i % (subjects or 999)), class_label=label
        )
        for i, label in enumerate(labels)
    )
    predicted = [
        label if right else "ab"[label == "a"] for label, right in zip(labels, answers, strict=True)
    ]
    probabilities = np.array([[0.9, 0.1] if name == "a" else [0.1, 0.9] for name in predicted])
    return ClassificationReport(("a", "b"), images, {"nano": probabilities}, "5 folds.")


def test_a_classifier_is_compared_with_always_the_same_answer() -> None:
    good = report_of([True] * 30).conclusion()
    assert good == (
        "nano: accuracy 1.000 [1.000, 1.000] on 30 images that it was not trained on; always answering 'a' "
        "would give 0.667."
    )
    guess = report_of([i % 3 != 2 for i in range(30)])
    assert guess.conclusion().endswith("0.667. The model may be no better than that.")
    assert guess.conclusion() in guess.markdown().replace("\\", "")
    one = report_of([True] * 3, subjects=1).conclusion()
    assert one.startswith("nano: accuracy 1.000 on 3 images")


def class_folders(root: Path, count: int, *, start: int = 0) -> Path:
    for i in range(count):
        save(root / ("bright", "dark")[i % 2] / f"{start + i}.png", picture(start + i))
    return root


def test_a_model_tested_on_other_data_is_trained_once_and_says_how_good_it_is(
    tiny: UltraSam, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trained = []

    def train(
        model: UltraSam, images: list[AnnotatedImage], names: list[str], *_: Any, **__: Any
    ) -> Classifier:
        trained.append(len(images))
        return Classifier(model, Head("linear", tuple(names), 128)).eval()

    monkeypatch.setattr(finetuning_runs, "train_classifier", train)
    monkeypatch.setattr(finetuning_runs, "load_backbone", lambda name, seed: deepcopy(tiny))
    data = class_folders(tmp_path / "in", 6)
    test = class_folders(tmp_path / "other", 4, start=6)
    (test / "dark" / "cut.png").write_bytes(b"nothing")
    out = tmp_path / "out"
    assert ultrasam("finetune", "classify", "--data", data, "--test-data", test, "-o", out) == 0
    captured = capsys.readouterr()
    assert trained == [6]
    last = captured.out.strip().splitlines()[-1]
    assert last.startswith("nano: accuracy 0.")
    assert (
        "on 4 images that it was not trained on; always answering 'bright' would give 0.5" in last
    )
    assert "Left out: dark/cut.png" in captured.err


@pytest.mark.parametrize("folds", [None, 2])
def test_the_data_s_own_test_split_is_tested_unless_folds_are_asked_for(
    folds: int | None, tiny: UltraSam, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def train(
        model: UltraSam, images: list[AnnotatedImage], names: list[str], *_: Any, **__: Any
    ) -> Classifier:
        assert folds or all(image.split == "train" for image in images)
        return Classifier(model, Head("linear", tuple(names), 128)).eval()

    monkeypatch.setattr(finetuning_runs, "train_classifier", train)
    monkeypatch.setattr(
        finetuning_runs, "cross_validate",
        lambda _model, images, names, *_, **__: np.full((len(images), len(names)), 1 / len(names)),
    )  # fmt: skip
    monkeypatch.setattr(finetuning_runs, "load_backbone", lambda name, seed: deepcopy(tiny))
    class_folders(tmp_path / "in" / "train", 6)
    class_folders(tmp_path / "in" / "test", 4, start=6)
    options = ["--folds", folds] if folds else []
    asked = ("finetune", "classify", "--data", tmp_path / "in", *options, "-o", tmp_path / "out")
    assert ultrasam(*asked) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert f"on {10 if folds else 4} images" in last


def test_a_run_with_validation_says_what_it_changed(
    tiny: UltraSam, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [
        AnnotatedImage.in_memory(picture(i), name=str(i), subject=str(i), class_label="ab"[i % 2])
        for i in range(6)
    ]
    settings = ClassifierSettings.model_validate(
        {"trainer": {"max_steps": 2, "batch": 2}, "validation": {"every": 1, "fraction": 0.3}}
    )
    caplog.set_level(logging.INFO)
    # A classifier takes its model apart, which other tests share.
    train_classifier(deepcopy(tiny), images, ("a", "b"), settings, folder=tmp_path / "run")
    (told,) = [message for message in caplog.messages if "before training" in message]
    assert re.match(
        r"accuracy on 2 validation images: \d\.\d{3} before training, \d\.\d{3} after", told
    )


# Where it writes


REST = {
    "predict": ["{image}", "--box", "1,1,9,9"],
    "track": ["{image}", "--box", "1,1,9,9"],
    "measure": ["{image}", "--box", "1,1,9,9"],
    "deidentify": ["{image}"],
    "annotate": ["{raw}", "--no-browser", "--port", "0"],
    "embed": ["{image}"],
    "export": ["nano", "--to", "onnx"],
    "evaluate": ["ellipse", "--data", "{raw}"],
    "evaluate few-shot": ["nano", "--data", "{raw}"],
    "train": ["nano", "data.sources=[]"],
    "finetune promptable": ["--data", "{raw}"],
    "finetune classify": ["--data", "{classes}"],
    "finetune regions": ["--data", "{raw}"],
    "finetune instances": ["--data", "{raw}"],
    "finetune suite": ["downstream/paper", "--data", "{raw}"],
    "data build": ["{raw}"],
    "data import": ["{raw}", "--format", "masks", "--name", "x"],
    "data stats": ["{store}"],
    "data show": ["{store}"],
    "data export": ["{store}", "--format", "coco"],
    "dicomweb retrieve": ["http://127.0.0.1:1/dicom-web/studies/1.2"],
    "data fetch": ["busi"],
}
FILES = ("embed", "data show")  # these write a file, the others a folder


def test_every_command_that_writes_is_among_these() -> None:
    writes = {name for name, command in COMMANDS.items() if "--out" in options_of(command)}
    assert writes == set(REST)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("places")
    raw = folder_of(base / "raw", 4)
    return {
        "raw": raw, "image": raw / "images" / "000.png",
        "classes": class_folders(base / "classes", 4), "store": store_of(base / "s"),
    }  # fmt: skip


@pytest.mark.parametrize("command", REST)
@pytest.mark.parametrize("below", [False, True])
def test_an_output_that_cannot_be_written_is_refused_before_work_begins(
    command: str, below: bool, places: dict[str, Path], tmp_path: Path, ultrasam: Run,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = [word.format(**places) for word in REST[command]]
    file = tmp_path / "file"
    file.write_text("mine")
    (tmp_path / "folder").mkdir()
    out = file / "x" if below else tmp_path / "folder" if command in FILES else file
    for forbidden in ("ultrasam.weights.load.load_model", "ultrasam.store.build.build_store"):
        monkeypatch.setattr(forbidden, lambda *_, **__: pytest.fail("work began"))
    before = [sorted(folder.rglob("*")) for folder in (tmp_path, places["raw"].parent)]
    capsys.readouterr()
    assert ultrasam(*command.split(), *arguments, "-o", out) == 1
    error = capsys.readouterr().err
    assert "choose another -o" in error or "is a folder; give a file's name as -o" in error, error
    assert len(error.strip().splitlines()) == 1
    assert [sorted(folder.rglob("*")) for folder in (tmp_path, places["raw"].parent)] == before
    assert file.read_text() == "mine"


def test_a_model_that_does_not_fit_on_the_disk_leaves_nothing_half_written(
    tiny: UltraSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch)
    classifier = Classifier(copy.deepcopy(tiny), Head("linear", ("a", "b"), 128))
    with pytest.raises(DiskFullError, match=r"classifier\.safetensors \(.* MB are needed"):
        save_classifier(classifier, tmp_path / "out", {})
    assert [path for path in (tmp_path / "out").iterdir() if path.is_file()] == []


# What it reads


def test_objects_that_are_too_small_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(5):
        save(tmp_path / "mine" / "images" / f"{i}.png", picture(i))
        # One object is too small, and one image has none.
        mask = disc(30, 30, 2) if i == 0 else disc(30, 30, 9) if i < 4 else np.zeros((64, 80), bool)
        save(tmp_path / "mine" / "masks" / f"{i}.png", gray(mask))
    train, test, classes = finetuning_runs._targets([str(tmp_path / "mine")], [], [], 0.4)
    assert (len(train) + len(test), len(classes)) == (3, 1)
    assert caplog.messages[-1] == (
        "Left out: 1 of 4 objects, which are smaller than 64 pixels or of other classes, and 2 of 5 images, "
        "which have no object."
    )


def test_a_store_is_opened_without_reading_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path)
    monkeypatch.setattr(Store, "pixels", lambda *_, **__: pytest.fail("pixels were read"))
    monkeypatch.setattr(Store, "mask", lambda *_, **__: pytest.fail("a mask was read"))
    assert {name: len(images) for name, images in open_datasets([str(store)]).items()} == {
        "mine": 6
    }
    assert open_datasets([str(store)], datasets=["other"]) == {}
    assert len(open_images([str(store)], datasets=["mine"])) == 6


def test_data_of_no_annotation_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "mine" / "images" / "a.png", picture(1))
    with pytest.raises(DataError, match="mine"):
        open_datasets([str(tmp_path / "mine")])
