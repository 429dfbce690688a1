"""Image classification: trains, is tested by subject, is saved, and refuses bad data in one sentence."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tests.datasets.layouts.truth import save
from ultrasam import load, load_model
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.class_files import label_of
from ultrasam.downstream.classification.model import (
    Classifier,
    Head,
    focal,
    save_classifier,
)
from ultrasam.downstream.classification.scores import NAMES, figures, gain, score
from ultrasam.downstream.classification.task import cross_validate, train_classifier
from ultrasam.downstream.images import check_classes, folds_of, open_class_images
from ultrasam.downstream.settings import ClassifierSettings, Mode
from ultrasam.errors import CheckpointError, DataError
from ultrasam.images.masks import inscribed_ellipse


def picture(seed: int, label: str) -> np.ndarray:  # type: ignore[type-arg]
    """Speckle with a bright or a dark spot."""
    return picture_and_spot(seed, label)[0]


def picture_and_spot(seed: int, label: str) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    frame = rng.rayleigh(50, (96, 128))
    x, y = rng.uniform(35, 90), rng.uniform(35, 60)
    spot = inscribed_ellipse((x - 22, y - 18, x + 22, y + 18), frame.shape)
    frame[spot] *= 2.2 if label == "bright" else 0.3
    return np.clip(frame, 0, 255).astype(np.uint8), spot


def image_of(
    pixels: np.ndarray,  # type: ignore[type-arg]
    name: str,
    label: str,
    subject: str,
) -> AnnotatedImage:
    return AnnotatedImage.in_memory(pixels, name=name, subject=subject, class_label=label)


def settings_of(**settings: object) -> ClassifierSettings:
    return ClassifierSettings.model_validate(settings)


def items_of(count: int, *, per_subject: int = 1) -> list[AnnotatedImage]:
    found = []
    for i in range(count):
        label = ("bright", "dark")[i // per_subject % 2]
        found.append(image_of(picture(i, label), f"i{i}", label, f"s{i // per_subject}"))
    return found


@pytest.mark.parametrize(
    "mode",
    ["linear", "attention",
     *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("full", "lora", "adapter"))],
)  # fmt: skip
def test_every_mode_learns_bright_from_dark(mode: Mode, tmp_path: Path) -> None:
    items = items_of(24)
    settings = settings_of(
        mode=mode,
        size=96,
        trainer={"max_steps": {"full": 25, "linear": 120}.get(mode, 60), "batch": 8},
        optimizer={"lr": 3e-3, "encoder_lr": 0.3},
    )
    model = load_backbone("nano")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    classifier = train_classifier(model, items, ("bright", "dark"), settings)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    fresh = items_of(40)[24:]
    expected = classifier.predict(item.gray for item in fresh)
    right = [
        ("bright", "dark")[int(i)] == item.class_label
        for i, item in zip(expected.argmax(1), fresh, strict=True)
    ]
    assert np.mean(right) >= 0.85
    changed = [
        k for k, v in classifier.encoder.state_dict().items()
        if f"image_encoder.{k}" in before and not torch.equal(v, before[f"image_encoder.{k}"])
    ]  # fmt: skip
    assert bool(changed) == (mode == "full")
    save_classifier(classifier, tmp_path / "saved", {"init": "nano"})
    assert "Classes: bright, dark." in (tmp_path / "saved" / "README.md").read_text()
    again = load(tmp_path / "saved").predict(item.gray for item in fresh)
    assert torch.allclose(expected, again, atol=1e-6)


def test_folds_keep_subjects_and_proportions_apart() -> None:
    items = items_of(60, per_subject=3)
    folds = folds_of(items, 4)
    tested = sorted(i for _, test in folds for i in test)
    assert tested == list(range(60))
    for train, test in folds:
        assert not {items[i].subject for i in train} & {items[i].subject for i in test}
        assert 0.25 <= np.mean([items[i].class_label == "dark" for i in test]) <= 0.75
    few = [*items, image_of(items[0].gray, "x", "rare", "s-rare")]
    with pytest.raises(DataError, match=r"Class 'rare' has too few subjects \(1\) for 4 folds"):
        folds_of(few, 4)


@pytest.mark.slow
def test_cross_validation_never_tests_on_training_subjects() -> None:
    """Labels that mean nothing can't be told on subjects that were left out."""
    items = [
        image_of(i.gray, i.name, ("a", "b")[n // 2 % 2], f"s{n // 2}")
        for n, i in enumerate(items_of(32))
    ]
    folds = folds_of(items, 4)
    # Long enough to learn every image by heart.
    settings = settings_of(size=64, trainer={"max_steps": 500, "batch": 16}, optimizer={"lr": 3e-2})
    found = cross_validate(load_backbone("random:nano"), items, ("a", "b"), folds, settings)
    assert np.isfinite(found).all()
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    truth = np.array([("a", "b").index(label_of(i)) for i in items])
    assert (found.argmax(1) == truth).mean() < 0.8
    known = train_classifier(load_backbone("random:nano"), items, ("a", "b"), settings)
    assert (known.predict(i.gray for i in items).argmax(1).numpy() == truth).mean() > 0.95


@given(st.integers(0, 2**32 - 1))
def test_metrics_equal_scikit_learns(seed: int) -> None:
    """Also where a class is not there, is never predicted, or shares its probabilities with others."""
    rng = np.random.default_rng(seed)
    classes, count = int(rng.integers(2, 6)), int(rng.integers(1, 60))
    truth = rng.integers(0, rng.integers(1, classes + 1), count)
    p = rng.dirichlet(np.full(classes, 0.5), count)
    if rng.random() < 0.5:
        p = np.maximum(p.round(1), 0.1)
        p /= p.sum(axis=1, keepdims=True)
    averaged = {
        "precision": metrics.precision_score,
        "recall": metrics.recall_score,
        "F1": metrics.f1_score,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class without an image
        expected = {
            "accuracy": metrics.accuracy_score(truth, p.argmax(1)),
            "balanced accuracy": metrics.balanced_accuracy_score(truth, p.argmax(1)),
            **{
                name: score_of(truth, p.argmax(1), labels=range(classes), average="macro", zero_division=0)
                for name, score_of in averaged.items()
            },
            "AUROC": np.mean([
                metrics.roc_auc_score(truth == label, p[:, label])
                for label in np.unique(truth) if not (truth == label).all()
            ]),
        }  # fmt: skip
    bins = np.minimum(p.max(1) * 10, 9).astype(int)
    right = p.argmax(1) == truth
    expected["calibration error"] = sum(
        abs(right[bins == b].mean() - p.max(1)[bins == b].mean()) * (bins == b).mean()
        for b in set(bins)
    )
    found = dict(zip(NAMES, figures(truth, p), strict=True))
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_intervals_hold_the_value_and_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    p = rng.dirichlet(np.ones(3), 90) + 0.6 * np.eye(3)[truth] * rng.random((90, 1))
    p /= p.sum(axis=1, keepdims=True)
    subjects = [str(i // 3) for i in range(90)]
    scored = score(truth, p, subjects)
    assert all(s.low <= s.value <= s.high for n, s in scored.items() if n != "calibration error")
    same = gain(truth, p, p, subjects)
    assert all(g.value == g.low == g.high == 0 for g in same.values())


def test_the_focal_loss_without_gamma_is_cross_entropy() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert float(focal(logits, labels, gamma=0).mean()) == pytest.approx(float(expected))
    assert focal(logits, labels, gamma=2).mean() < expected


@pytest.mark.slow
def test_the_command_writes_a_model_that_predict_takes(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for item in items_of(24):
        save(tmp_path / "in" / label_of(item) / f"{item.name}.png", item.gray)
    (tmp_path / "in" / "dark" / "broken.png").write_bytes(b"nothing")
    out = tmp_path / "out"
    asked = ["finetune", "classify", "--data", tmp_path / "in", "--folds", 3, "-o", out]
    assert (
        ultrasam(
            *asked, "--init", "nano", "--init", "random:nano", "trainer.max_steps=4", "size=64",
            "--json",
        )
        == 0
    )  # fmt: skip
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert (printed["model"], printed["report"]) == (str(out), [str(out / "report.html")])
    assert (printed["classes"], printed["images"]) == (["bright", "dark"], 24)
    assert list(printed["figures"]) == list(printed["confusion"]) == ["nano", "random:nano"]
    for init, found in printed["figures"].items():
        right = printed["confusion"][init][0][0] + printed["confusion"][init][1][1]
        assert found["accuracy"]["value"] == pytest.approx(right / 24)
        assert found["accuracy"]["low"] <= right / 24 <= found["accuracy"]["high"]
    assert "Left out: dark/broken.png" in captured.err
    report = (out / "report.md").read_text()
    assert "*nano – random:nano*" in report
    assert "24 images of 24 subjects (bright 12, dark 12)" in report
    assert (out / "report.html").read_text().count("<img") >= 3
    assert (
        ultrasam("predict", tmp_path / "in" / "bright", "--model", out, "-o", tmp_path / "p") == 0
    )
    with (tmp_path / "p" / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert all(float(r["bright"]) + float(r["dark"]) == pytest.approx(1, abs=1e-3) for r in rows)
    assert ultrasam("predict", tmp_path / "in", "--model", out, "--box", "1,2,3,4") == 1
    assert "it has no use for --box" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere does not exist"),
        (["--data", "one"], "at least two classes are needed"),
        (["--data", "in", "--class", "bright", "--class", "gray"], "No image has class 'gray'"),
        (["--data", "in", "--folds", "9"], "too few subjects (4) for 9 folds"),
        (["--data", "in", "stepz=3"], "stepz"),
        (["--data", "in", "--init", "random:giant"], "unknown size"),
        (["--data", "bad.csv"], "'path' and 'label' are required"),
        (["--data", "in", "--test-data", "in"], "is in both training and test data"),
        (
            ["--data", "in", "--test-data", "other"],
            "class 'strange', which does not occur in the training data",
        ),
    ],
)
def test_bad_data_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ultrasam: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    for item in items_of(8):
        save(tmp_path / "in" / label_of(item) / f"{item.name}.png", item.gray)
        other = "strange" if item.class_label == "dark" else "bright"
        save(tmp_path / "other" / other / f"o{item.name}.png", item.gray)
    save(tmp_path / "one" / "dark" / "a.png", picture(0, "dark"))
    (tmp_path / "one" / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "one" / "light").mkdir()
    (tmp_path / "one" / "light" / "b.png").write_bytes(b"nothing")
    (tmp_path / "bad.csv").write_text("file,class\n")
    monkeypatch.chdir(tmp_path)
    assert ultrasam("finetune", "classify", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.strip().count("\n") == 0


def test_a_table_gives_subjects_and_a_subject_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = ["path,label,subject"]
    for i, item in enumerate(items_of(6)):
        save(tmp_path / f"{item.name}.png", item.gray)
        rows.append(f"{item.name}.png,{item.class_label},p{i // 2}")
    (tmp_path / "all.csv").write_text("\n".join(rows))
    found = open_class_images([str(tmp_path / "all.csv")])
    assert [item.subject for item in found.images] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    with pytest.raises(DataError, match="Subject 'p1'"):
        check_classes(found.images[:3], found.images[3:])


def test_class_activation_maps_highlight_the_bright_spot() -> None:
    items = items_of(16)
    settings = settings_of(
        mode="linear", size=128, trainer={"max_steps": 160, "batch": 8}, optimizer={"lr": 1e-2}
    )
    classifier = train_classifier(load_backbone("nano"), items, ("bright", "dark"), settings)
    from ultrasam.downstream.classification.report import saliency

    gains = []
    for seed in range(99, 107):
        frame, spot = picture_and_spot(seed, "bright")
        shown = saliency(classifier, frame, 0)
        assert shown.shape == (240, 640, 3)
        assert np.ptp(shown[:, :320].astype(int), axis=2).max() == 0  # the picture itself is gray
        redness = shown[:, 320:, 0].astype(int) - shown[:, 320:, 2]
        inside = cv2.resize(spot.astype(np.uint8), (320, 240)) > 0
        gains.append(redness[inside].mean() - redness[~inside].mean())
        against = saliency(classifier, frame, 1)[:, 320:].astype(int)
        # What speaks for a class speaks against the other; overlays are drawn in whole gray levels.
        assert abs((against[..., 0] - against[..., 2])[inside].mean() + redness[inside].mean()) < 15
    assert np.mean(np.array(gains) > 20) >= 0.7


@pytest.mark.slow
def test_imagenet_weights_become_our_encoder(tmp_path: Path) -> None:
    """With one window, no relative positions and no class token, both are the same transformer."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    vit = ViTModel(ViTConfig(), add_pooling_layer=False).eval()
    vit.save_pretrained(tmp_path / "vit")
    encoder = load_model(f"imagenet:{tmp_path / 'vit'}", device="cpu").image_encoder.eval()
    tokens = torch.randn(1, 8, 8, 768)
    flat = tokens.flatten(1, 2)
    for block, theirs in zip(encoder.blocks, vit.layers, strict=True):
        with torch.inference_mode():
            out = theirs(flat)
            expected = out if isinstance(out, torch.Tensor) else out[0]
            window, block.window = block.window, 0
            small = [t.clone() for t in (block.attn.rel_pos_h, block.attn.rel_pos_w)]
            assert all(not bool(t.any()) for t in small)
            block.attn.relative_positions = False
            # transformers' LayerNorm has an eps of 1e-12, ours 1e-6.
            assert torch.allclose(block(tokens).flatten(1, 2), expected, atol=1e-3)
            block.window, block.attn.relative_positions = window, True
    ViTModel(ViTConfig(num_hidden_layers=2)).save_pretrained(tmp_path / "small")
    with pytest.raises(CheckpointError, match="not a ViT-B/16"):
        load_model(f"imagenet:{tmp_path / 'small'}", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("linear", 3_074),
        ("full", 89_670_912 - 787_456 + 3_074),
        # Rank 16 on every qkv; bottlenecks of a quarter's width, two a block.
        ("lora", 12 * 16 * (768 + 3 * 768) + 3_074),
        ("adapter", 12 * 2 * (2 * 768 * 192 + 192 + 768) + 3_074),
    ],
)
def test_parameter_counts_of_a_vit_b(mode: Mode, trained: int) -> None:
    from ultrasam.weights.adapters import count_parameters

    classifier = Classifier(load_backbone("random:vit-b"), Head(mode, ("a", "b"), 1024))
    assert count_parameters(classifier)[0] == trained
