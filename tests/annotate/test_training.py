"""Training on what was accepted: the held-out part decides which model goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.annotate.conftest import Page, disc, page_over
from ultrasam.annotate import training
from ultrasam.annotate.annotator import Annotator
from ultrasam.weights import registry

pytest.importorskip("lightning", reason="the extra train is not installed")

IMAGES = 12
NANO = Path(registry.__file__).parent / "nano"


@pytest.fixture
def discs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images with a bright disc each."""
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "discs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        speckle = cv2.GaussianBlur(random.integers(0, 160, (120, 160)).astype(np.uint8), (0, 0), 2)
        cv2.imwrite(
            str(folder / f"{number:02}.png"), np.where(disc(center(number), 20), 220, speckle)
        )
    return folder


def center(number: int) -> tuple[int, int]:
    return 40 + 7 * number, 40 + 11 * number % 40


def label_all(page: Page) -> None:
    for number in range(IMAGES):
        page.draw(page.id(f"{number:02}.png"), center(number), 20, label="cyst")


@pytest.fixture
def untrained(discs: Path) -> Iterator[Page]:
    """A page whose model has random weights."""
    annotator = Annotator.open(discs, model="random:nano", device="cpu")
    try:
        yield page_over(annotator)
    finally:
        annotator.close()


def pretend(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let a program stand in for the training; it is given the folder of the weights to write."""
    monkeypatch.setattr(
        training, "_command",
        lambda data, settings, out: [sys.executable, "-c", program, str(NANO), str(out), str(data)],
    )  # fmt: skip


COPY_NANO = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"


def test_a_better_model_takes_over_and_answers_the_next_click(
    untrained: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = untrained
    label_all(page)
    image = page.id("00.png")
    prompts = {"frame": 0, "prompts": [{"points": [[*center(0), 1]]}]}
    before = page.post(f"/images/{image}/preview", prompts).json()
    pretend(monkeypatch, COPY_NANO)
    job = page.finished(page.post("/train", {}).json())
    assert job["state"] == "done", job
    result = job["result"]
    assert result["swapped"]
    assert result["dice"]["after"] > result["dice"]["before"]
    assert result["held_out"] == round(0.2 * IMAGES)
    assert "is in use now" in job["sentence"]
    assert page.get("/project").json()["model"]["name"].startswith(result["model"])
    after = page.post(f"/images/{image}/preview", prompts).json()
    assert after["mask"] != before["mask"]  # no embedding of the earlier model was used


def test_a_model_that_is_not_better_stays_out_of_use(
    discs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotator = Annotator.open(discs, model="nano", device="cpu")
    try:
        page = page_over(annotator)
        label_all(page)
        pretend(monkeypatch, COPY_NANO)  # the same weights: exactly as good
        job = page.finished(page.post("/train", {}).json())
        assert (job["state"], job["result"]["swapped"]) == ("done", False), job
        assert job["result"]["dice"]["before"] == job["result"]["dice"]["after"] > 0.5
        assert "the earlier one goes on" in job["sentence"]
        assert page.get("/project").json()["model"]["name"].startswith("nano")
    finally:
        annotator.close()


def test_the_held_out_images_are_none_that_are_trained_on(
    untrained: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_all(untrained)
    pretend(monkeypatch, COPY_NANO)
    job = untrained.finished(untrained.post("/train", {}).json())
    (exported,) = Path(job["result"]["model"]).parent.glob("*/coco*")
    trained = {path.name for path in (exported / "images").iterdir()}
    held_out = {path.name for path in (exported.parent / "held-out" / "images").iterdir()}
    assert not trained & held_out
    assert len(trained | held_out) == IMAGES


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("raise SystemExit('The disk is full.')", "Training failed: The disk is full."),
        ("raise SystemExit(3)", "Training failed: it said nothing"),
    ],
)
def test_a_training_that_fails_says_why_and_the_model_goes_on(
    untrained: Page, monkeypatch: pytest.MonkeyPatch, program: str, sentence: str
) -> None:
    label_all(untrained)
    pretend(monkeypatch, program)
    job = untrained.finished(untrained.post("/train", {}).json())
    assert (job["state"], job["sentence"]) == ("failed", sentence)
    assert untrained.get("/project").json()["model"]["name"].startswith("random:nano")


def test_a_canceled_training_ends_its_process(
    untrained: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os
    import time

    label_all(untrained)
    told = tmp_path / "pid"
    pretend(
        monkeypatch,
        f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(300)",
    )
    job = untrained.post("/train", {}).json()
    while not (told.exists() and told.read_text()):
        time.sleep(0.05)
    untrained.send("DELETE", f"/jobs/{job['id']}")
    ended = untrained.finished(job)
    assert (ended["state"], ended["sentence"]) == (
        "cancelled",
        "Canceled; the earlier model goes on.",
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_too_few_images_are_told(page: Page) -> None:
    page.draw(page.id("a.png"))
    job = page.finished(page.post("/train", {}).json())
    assert job["state"] == "failed"
    assert job["sentence"] == "1 image has accepted masks; training needs at least 10."


@pytest.mark.slow
def test_a_real_training_has_a_curve_and_compares_two_models(untrained: Page) -> None:
    label_all(untrained)
    job = untrained.post("/train", {"steps": 2}).json()
    ended = untrained.finished(job, seconds=900)
    assert ended["state"] == "done", ended
    result = ended["result"]
    assert Path(result["model"]).exists()
    assert result["swapped"] is (result["dice"]["after"] > result["dice"]["before"])
    first = result["curve"][0]
    assert first["step"] == 0
    assert 0 <= first["val_dice"] <= 1
