"""A small model learns a few images by heart: everything from the file to the weights has to be right."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import SMALL_NANO, randomized
from tests.datasets.layouts.truth import gray, save
from ultrasam import load
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import dataset
from ultrasam.evaluation.models.baselines import EllipseInBox
from ultrasam.evaluation.protocol import evaluate_prompts
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.training.recipe import Recipe
from ultrasam.training.train import train
from ultrasam.weights.hub import save_pretrained


def crescents(folder: Path, count: int) -> list[AnnotatedImage]:
    """Speckle with a bright crescent, of whose box an ellipse fills a good half wrongly; laid out as BUSI."""
    base = folder / "Dataset_BUSI_with_GT" / "benign"
    for i in range(count):
        rng = np.random.default_rng(i)
        y, x = np.mgrid[0:96, 0:128] - np.array([44 + 4 * i, 50 + 9 * i])[:, None, None]
        turn = i * 2.1
        mask = (np.hypot(x, y) < 30) & (np.hypot(x - 16 * np.cos(turn), y - 16 * np.sin(turn)) > 22)
        frame = cv2.GaussianBlur(rng.rayleigh(50, (96, 128)), (0, 0), 1) * np.where(mask, 2, 0.7)
        save(base / f"benign ({i}).png", np.clip(frame, 0, 255).astype(np.uint8))
        save(base / f"benign ({i})_mask.png", gray(mask))
    return list(dataset("BUSI").images(folder))


def dice_by_box(segmenter: Segmenter, samples: list[AnnotatedImage]) -> float:
    return float(np.mean([score.dice for score in evaluate_prompts(segmenter, samples, ["box"])]))


def test_three_images_are_learnt_by_heart(tmp_path: Path) -> None:
    samples = crescents(tmp_path / "data", 3)
    save_pretrained(randomized(SMALL_NANO), tmp_path / "init")
    recipe = Recipe.model_validate(
        {
            "name": "overfit", "init": str(tmp_path / "init"), "output": str(tmp_path / "runs"),
            "data": {"sources": [{"dataset": "BUSI", "path": str(tmp_path / "data")}]},
            "augmentation": {"flip": 0},
            "prompts": {"box": 1, "jitters": [0.02], "per_image": 1},
            "interaction": {"rounds": 1},
            "losses": {"alpha": 0.5, "gamma": 0, "focal": 5, "dice": 2},
            "optimizer": {"lr": 2e-3, "weight_decay": 0, "clip": 1, "warmup_steps": 10},
            "trainer": {"max_steps": 100, "batch": 3, "workers": 0, "precision": "32-true",
                        "accelerator": "cpu", "checkpoint_every": 1000},
        }
    )  # fmt: skip
    before = dice_by_box(Predictor(load(str(tmp_path / "init"))), samples)
    after = dice_by_box(Predictor(load(str(train(recipe)))), samples)
    assert before < 0.5
    assert dice_by_box(EllipseInBox(), samples) < 0.75
    assert after > 0.95


@pytest.mark.slow
def test_nano_from_random_weights_overfits_eight_real_images(
    shared_data: Path, tmp_path: Path
) -> None:
    """Boxes of a tight fit; the recipe's augmentation and refinement are off."""
    folder = tmp_path / "eight" / "Hospital"
    folder.mkdir(parents=True)
    for path in (shared_data / "dev" / "STU-Hospital" / "Hospital").iterdir():
        if re.search(r"_0*[1-8]\.", path.name):
            shutil.copy(path, folder)
    recipe = Recipe.model_validate(
        {
            "name": "overfit", "model": "nano", "output": str(tmp_path / "runs"),
            "data": {"sources": [{"dataset": "STU-Hospital", "path": str(folder.parent)}]},
            "augmentation": {"flip": 0},
            "prompts": {"box": 0.8, "jitters": [0.02], "clicks": {"near_center": 1}, "per_image": 1},
            "interaction": {"rounds": 1},
            "losses": {"alpha": 0.5, "gamma": 0, "focal": 5, "dice": 2},
            "optimizer": {"lr": 1e-3, "weight_decay": 0, "clip": 1, "warmup_steps": 20,
                          "decay_fraction": 0.7},
            "trainer": {"max_steps": 400, "batch": 8, "workers": 1},
        }
    )  # fmt: skip
    model = Predictor(load(str(train(recipe))))
    assert not model.tta.flip  # which training has not shown
    samples = list(dataset("STU-Hospital").images(folder.parent))
    assert len(samples) == 8
    assert np.mean([score.dice for score in evaluate_prompts(model, samples, ["box"])]) >= 0.97
