"""Instance segmentation: trains, is tested, is saved, and refuses bad data in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.datasets.layouts.truth import save
from tests.downstream.spots import pair, save_pairs
from ultrasam import load
from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.downstream.backbone import Backbone, load_backbone
from ultrasam.downstream.instances.detections import Detections
from ultrasam.downstream.instances.metrics import dice_of_maps, evaluate_instances, unions
from ultrasam.downstream.instances.model import (
    HeadConfig,
    InstanceSegmenter,
    load_instance_segmenter,
    save_instance_segmenter,
    start_head,
)
from ultrasam.downstream.instances.pyramid import Pyramid
from ultrasam.downstream.instances.task import new_segmenter, train_instance_segmenter
from ultrasam.downstream.settings import InstanceSettings
from ultrasam.downstream.targets import InstanceTarget, instance_targets, train_test_split
from ultrasam.errors import CheckpointError
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam

SMALL = InstanceSettings.model_validate(
    {
        "size": 64, "width": 64, "queries": 10, "layers": 2, "pixel_layers": 1, "points": 512,
        "optimizer": {"lr": 1e-3, "warmup_steps": 10},
        "trainer": {"max_steps": 90, "batch": 4},
    }
)  # fmt: skip


@pytest.mark.slow
def test_it_learns_to_find_and_name_two_kinds_of_objects(tmp_path: Path) -> None:
    model = load_backbone("nano")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    segmenter = train_instance_segmenter(
        model, [pair(i) for i in range(40)], ("bright", "dark"), SMALL
    )
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    fresh = [pair(i) for i in range(100, 112)]
    metrics = evaluate_instances(segmenter, fresh)
    assert metrics.dice.shape == (12, 2)
    assert metrics.per_image().mean() >= 0.75
    assert metrics.precision.ap50 >= 0.75
    found = segmenter.find(fresh[0].pixels)
    assert found.masks.shape[1:] == fresh[0].pixels.shape
    assert (np.diff(found.scores) <= 0).all()
    assert len(found.above(0.5).masks) <= len(found.masks)
    save_instance_segmenter(segmenter, tmp_path / "saved", {"init": "nano"})
    again = load_instance_segmenter(tmp_path / "saved")
    assert np.array_equal(again.find(fresh[0].pixels).masks, found.masks)
    assert np.array_equal(again.label_map(fresh[0].pixels), segmenter.label_map(fresh[0].pixels))


@pytest.mark.parametrize(
    ("init", "kind", "channels", "strides"),
    [
        ("random:nano", "simple", (48, 96, 192, 192), (4, 8, 16, 32)),
        ("random:nano", "flat", (192,) * 4, (16,) * 4),
        ("random:resnet50", "simple", (256, 512, 1024, 2048), (4, 8, 16, 32)),
    ],
)
def test_a_pyramids_maps_have_its_channels_and_strides(
    init: str, kind: str, channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    pyramid = Pyramid(load_backbone(init), kind).eval()  # type: ignore[arg-type]
    assert (tuple(pyramid.channels), tuple(pyramid.strides)) == (channels, strides)
    with torch.inference_mode():
        maps = pyramid(torch.randn(2, 3, 96, 96))
    assert [m.shape for m in maps] == [
        (2, c, 96 // s, 96 // s) for c, s in zip(channels, strides, strict=True)
    ]


def test_a_vit_bs_blocks_are_the_papers() -> None:
    with torch.device("meta"):
        assert Pyramid(UltraSam(CONFIGS["vit-b"]), "flat").blocks == [2, 5, 8, 11]


@pytest.mark.parametrize("init", ["random:nano", "random:resnet50"])
def test_an_image_without_objects_and_a_gradient_everywhere(init: str) -> None:
    model: Backbone = load_backbone(init)
    segmenter = new_segmenter(model, ("a",), SMALL)
    segmenter.train()
    masks = torch.zeros(1, 64, 64)
    masks[:, 10:40, 20:50] = 1
    loss = segmenter(
        torch.randn(2, 3, 64, 64),
        [masks, torch.zeros(0, 64, 64)],
        [torch.zeros(1, dtype=torch.long), torch.zeros(0, dtype=torch.long)],
    )
    loss.backward()
    still = [n for n, p in segmenter.named_parameters() if p.grad is None or not bool(p.grad.any())]
    # Levels are told apart by sampling offsets whose weights start at zero.
    assert still == ["net.model.pixel_level_module.decoder.level_embed"]
    assert all(bool(p.isfinite().all()) for p in segmenter.parameters())


def test_dice_counts_missed_and_spurious_classes() -> None:
    truth = np.zeros((3, 4, 4), bool)
    truth[0, :2] = True
    truth[1, 2] = True
    predicted = np.zeros((4, 4), np.uint8)
    predicted[:1] = 1
    predicted[3, 3] = 3
    assert dice_of_maps(predicted, truth).tolist() == [pytest.approx(2 / 3), 0, 0]
    assert np.isnan(dice_of_maps(np.zeros((4, 4), np.uint8), truth * False)).all()
    image = pair(0)
    twice = InstanceTarget.of(image.pixels, image.masks, ("a", "a"))
    assert np.array_equal(unions(twice, ["a"])[0], image.masks.any(axis=0))


def test_perfect_masks_get_perfect_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [pair(i) for i in range(3)]
    segmenter = new_segmenter(load_backbone("random:nano"), ("bright", "dark"), SMALL)
    known = {image.pixels.tobytes(): image for image in images}

    def predict(_self: InstanceSegmenter, frame: np.ndarray) -> tuple[Detections, np.ndarray]:  # type: ignore[type-arg]
        masks = known[frame.tobytes()].masks
        found = Detections(masks, np.array([0, 1]), np.array([0.9, 0.8]))
        return found, (masks[0] + 2 * masks[1]).astype(np.uint8)

    monkeypatch.setattr(InstanceSegmenter, "predict", predict)
    metrics = evaluate_instances(segmenter, images)
    assert metrics.precision.ap == pytest.approx(1)
    assert (metrics.dice == 1).all()


def test_the_head_starts_from_another_mask2former_as_far_as_shapes_agree(tmp_path: Path) -> None:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    swin = {"model_type": "swin", "depths": [1, 1, 1, 1], "embed_dim": 8, "num_heads": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3", "stage4"]}  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, num_queries=10, feature_size=64, mask_feature_size=64, hidden_dim=64,
        encoder_layers=1, decoder_layers=3, encoder_feedforward_dim=256, dim_feedforward=512,
    )  # fmt: skip
    theirs = Mask2FormerForUniversalSegmentation(config)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = InstanceSegmenter(
        load_backbone("random:nano"),
        HeadConfig(
            classes=("x", "y", "z"),
            size=64,
            queries=10,
            width=64,
            pixel_layers=1,
            layers=2,
            points=256,
        ),
    )
    taken, of = start_head(ours, str(tmp_path / "theirs"))
    # Fresh stay the classes' weight and bias, and what the encoder's maps of other widths go through.
    assert of - taken == 2 + 4
    name = "model.transformer_module.queries_features.weight"
    assert torch.equal(ours.net.state_dict()[name], theirs.state_dict()[name])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CheckpointError, match="cannot load '"):
        start_head(ours, str(tmp_path / "nothing"))


def test_a_resnet_is_loaded_saved_and_takes_no_adapters(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    from ultrasam.downstream.classification.model import Classifier, Head

    torch.manual_seed(0)
    theirs = ResNetModel(ResNetConfig()).eval()
    theirs.save_pretrained(tmp_path / "resnet")
    model = load_backbone(f"resnet50:{tmp_path / 'resnet'}").eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(pixels).last_hidden_state
        found = model.image_encoder.features(pixels)[-1]
    assert torch.allclose(found.permute(0, 3, 1, 2), expected, atol=1e-4)
    with pytest.raises(CheckpointError, match="no transformer blocks"):
        Classifier(model, Head("lora", ("a", "b"), 64))
    segmenter = new_segmenter(model, ("a",), SMALL)
    save_instance_segmenter(segmenter, tmp_path / "saved", {})
    again = load_instance_segmenter(tmp_path / "saved")
    frame = pair(0).pixels
    assert np.allclose(again.find(frame).scores, segmenter.find(frame).scores, atol=1e-5)


def test_splits_by_source_or_subject_and_classes_by_image(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:14, 2:14] = True

    def sample(number: int, split: str | None, label: str | None) -> AnnotatedImage:
        return AnnotatedImage.in_memory(
            np.zeros((20, 20), np.uint8), (Instance("lesion", mask),),
            dataset="d", name=f"n{number}", subject=f"s{number}", split=split, class_label=label,
        )  # fmt: skip

    known = [sample(i, ("train", "test")[i % 2], "benign") for i in range(6)]
    train, test = train_test_split(known, 0.5)
    assert [s.split for s in train] == ["train"] * 3
    assert [s.split for s in test] == ["test"] * 3
    unknown = [sample(i, None, None) for i in range(40)]
    train, test = train_test_split(unknown, 0.25)
    assert 4 <= len(test) <= 16
    assert not {s.subject for s in train} & {s.subject for s in test}
    assert instance_targets(known[:1], labels="image")[0].labels == ("benign",)
    assert instance_targets(known[:1])[0].labels == ("lesion",)
    assert instance_targets(unknown[:1], labels="image", keep_empty=True) == []
    assert instance_targets(unknown[:1], ["other"], keep_empty=True)[0].masks.shape == (0, 20, 20)


def test_the_command_and_predict(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "in", tmp_path / "model"
    save_pairs(data, 12)
    small = [
        "size=64", "trainer.max_steps=4", "trainer.batch=1", "trainer.accumulate=2", "width=32",
        "queries=5", "layers=1", "pixel_layers=1", "points=64",
    ]  # fmt: skip
    asked = ["finetune", "instances", "--data", data, "--test-fraction", "0.4", "-o", out]
    assert ultrasam(*asked, "--init", "nano", "--init", "random:nano", *small, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["model"], printed["classes"]) == (str(out), ["bright", "dark"])
    assert list(printed["figures"]) == ["nano", "random:nano"]
    report = (out / "report.md").read_text()
    assert "*nano – random:nano*" in report
    assert "| bright |" in report
    assert (out / "report.html").read_text().count("<img") >= 2
    about = json.loads((out / "instances.json").read_text())
    assert about["classes"] == ["bright", "dark"]
    assert about["recipe"]["trainer"]["max_steps"] == 4
    dice = printed["figures"]["nano"]["Dice"]
    assert f"| nano | {dice['value']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}] |" in report
    assert printed["figures"]["nano"]["mAP"]["low"] is None
    text = (out / "README.md").read_text()
    assert "Classes: bright, dark." in text
    assert "from `nano`" in text
    assert f"| Dice | {report.split('| nano | ')[1].split(' | ')[0]} |" in text
    loaded = load(out)
    assert isinstance(loaded, InstanceSegmenter)
    assert loaded.find(pair(0).pixels).masks.shape[1:] == (96, 128)
    image = data / "images" / "0.png"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    told = ["predict", image, bad, "--model", out, "-o", tmp_path / "p", "--min-score", 0]
    assert ultrasam(*told) == 1  # one of two files is bad
    entries = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert {e["class"] for e in entries} <= {"bright", "dark"}
    assert {e["category_id"] for e in entries} <= {1, 2}
    labels = cv2.imread(str(tmp_path / "p" / "0_labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (96, 128)
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert (tmp_path / "p" / "0_overlay.png").is_file()
    capsys.readouterr()
    assert ultrasam("predict", image, "--model", out, "--box", "1,2,30,40") == 1
    assert "it has no use for --box" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "in", "--class", "gray"], "Too few objects"),
        (["--data", "in", "--class-from", "image"], "Too few objects"),
        (["--data", "in", "size=72"], "not a multiple of 32"),
        (["--data", "in", "width=100"], "width"),
        (["--data", "in", "--test-data", "in"], "is in both training and test data"),
        (
            ["--data", "in", "--test-data", "other"],
            "class 'gray', which does not occur in the training data",
        ),
        (["--data", "in", "--device", "nowhere"], "'nowhere' is not a device"),
        (["--data", "in", "--init", "resnet50:in"], "cannot load 'in'"),
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
    save_pairs(tmp_path / "in", 6)
    image = pair(50)
    save(tmp_path / "other" / "images" / "a.png", image.pixels)
    save(tmp_path / "other" / "masks" / "gray" / "a.png", image.masks[0].astype(np.uint8) * 255)
    monkeypatch.chdir(tmp_path)
    assert ultrasam("finetune", "instances", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.strip().count("\n") == 0


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    segmenter = new_segmenter(load_backbone("random:nano"), ("a",), SMALL)
    save_instance_segmenter(segmenter, tmp_path, {})
    weights = tmp_path / "instances.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"instances\.safetensors is damaged"):
        load_instance_segmenter(tmp_path)
