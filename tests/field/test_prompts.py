"""Prompts that are meant otherwise than they are written."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import SMALL_NANO, TINY, randomized
from ultrasam import Predictor, Prompt, load
from ultrasam.downstream.features import Embedder
from ultrasam.errors import PromptError, UltraSamWarning
from ultrasam.geometry import ViewTransform
from ultrasam.images.masks import bounding_box
from ultrasam.inference.augmentation import MeanPrediction, ViewPrediction
from ultrasam.inference.selection import best_first, candidates_of
from ultrasam.model.ultrasam import UltraSam
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prediction, mask_logits

MASK = np.zeros((20, 30), bool)
MASK[5:12, 8:20] = True
BINARY = {
    "bool": MASK,
    "uint8 0/1": MASK.astype(np.uint8),
    "uint8 0/255": MASK.astype(np.uint8) * np.uint8(255),
    "int64 0/1": MASK.astype(np.int64),
    "uint16 0/65535": MASK.astype(np.uint16) * np.uint16(65535),
    "int16 -1/1": np.where(MASK, 1, -1).astype(np.int16),
    "float16 0/1": MASK.astype(np.float16),
    "float32 0/1": MASK.astype(np.float32),
    "float64 0/255": MASK * 255.0,
    "labels 3 and 7": np.where(MASK, 7, 3),
    "logits -20/20": np.where(MASK, 20.0, -20.0),
    "lists": MASK.astype(int).tolist(),
    "[1, H, W]": MASK.astype(np.uint8)[None],
}


@pytest.mark.parametrize("kind", BINARY)
def test_a_mask_prompt_of_two_values_is_a_mask_in_any_type(kind: str) -> None:
    expected = np.where(MASK, 8, -8)
    assert np.array_equal(mask_logits(BINARY[kind]), expected)
    assert Prompt(mask=BINARY[kind]).mask is not None
    assert np.array_equal(Prompt(mask=BINARY[kind]).mask, expected)  # type: ignore[arg-type]


@given(
    low=st.integers(-1000, 1000),
    step=st.integers(1, 1000),
    kind=st.sampled_from(["int32", "float32", "float64"]),
)
def test_which_two_values_makes_no_difference(low: int, step: int, kind: str) -> None:
    values = np.where(MASK, low + step, low).astype(kind)
    assert np.array_equal(mask_logits(values) > 0, MASK)
    assert np.array_equal(mask_logits(mask_logits(values)), mask_logits(values))


def test_logits_stay_as_they_are() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (64, 64)).astype(np.float32)
    assert np.array_equal(mask_logits(logits), logits)
    assert np.array_equal(mask_logits(logits + 100), logits + 100)
    assert np.array_equal(mask_logits(logits - 100), logits - 100)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 600).reshape(20, 30),
        np.linspace(0.01, 0.99, 600).reshape(20, 30),
        np.arange(600).reshape(20, 30) % 256,
        np.arange(600).reshape(20, 30) % 4,
    ],
    ids=["probabilities", "probabilities above 0", "a gray image", "labels"],
)
def test_what_is_neither_a_mask_nor_logits_is_refused(values: np.ndarray) -> None:
    with pytest.raises(PromptError, match="more than two values, from"):
        Prompt(mask=values)


@pytest.mark.parametrize("empty", [np.zeros((20, 30)), np.zeros((20, 30), bool), MASK - 9.0])
def test_a_mask_without_an_object_is_no_prompt_of_its_own(empty: np.ndarray) -> None:
    if empty.max() < 0:
        empty = empty - np.arange(30)
    with pytest.raises(PromptError, match="mask is empty"):
        Prompt(mask=empty)
    assert Prompt(mask=empty, points=[(3, 4)]).mask is not None  # a first answer, and a click on it
    assert (mask_logits(np.ones((4, 4))) == 8).all()


@pytest.fixture(scope="module")
def nano() -> UltraSam:
    model: UltraSam = load("nano", device="cpu")
    return model


def test_a_mask_of_0_and_1_prompts_as_well_as_a_bool_mask(nano: UltraSam) -> None:
    predictor = Predictor(nano, tta=False)
    scores = []
    for seed in range(3, 9):
        scene = simulate(seed, size=(90, 120))
        predictor.set_image(scene.pixels)
        largest = scene.masks[scene.masks.sum((1, 2)).argmax()]
        mask = predictor.predict(Prompt(box=bounding_box(largest))).best[0]
        found = [
            predictor.predict(Prompt(mask=given)).best[0]
            for given in (mask, mask.astype(np.uint8), mask.astype(np.float32), mask * 255)
        ]
        scores.append(2 * (found[0] & mask).sum() / (found[0].sum() + mask.sum()))
        for other in found[1:]:
            assert np.array_equal(other, found[0])
    assert np.mean(scores) > 0.7


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"box": (0.1, 0.1, 0.4, 0.5)}, "covers 0.3 × 0.4 pixels .* not fractions"),
        ({"box": (0, 0, 1, 1)}, "covers 1 × 1 pixels .* not fractions"),
        ({"box": (50.2, 50.2, 50.5, 50.9)}, "covers 0.3 × 0.7 pixels"),
        ({"box": (119.5, 89.5, 300, 300)}, "covers 0.5 × 0.5 pixels"),
        ({"box": (120, 10, 150, 50)}, "is outside the scan of 120 × 90"),
        ({"points": [(0.4, 0.7)]}, "not fractions"),
        ({"points": [(0.4, 0.7), (0.1, 0.2)], "labels": [1, 0]}, "not fractions"),
        ({"points": [(200, 7)]}, "outside the scan"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_refused(prompt: dict[str, object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        Prompt(**prompt).check_inside(90, 120)  # type: ignore[arg-type]


def test_background_clicks_alone_mean_no_object() -> None:
    with pytest.raises(PromptError, match="only background clicks"):
        Prompt(points=[(5, 5), (9, 9)], labels=[0, 0])
    Prompt(points=[(5, 5)], labels=[0], box=(1, 1, 20, 20))
    Prompt(points=[(5, 5)], labels=[0], mask=MASK)
    for labels in ("abc", [[1], [1, 0]], [None], {"a": 1}, [float("nan")], [0.5]):
        with pytest.raises(PromptError, match="label"):
            Prompt(points=[(5, 5)], labels=labels)  # type: ignore[arg-type]


def test_a_small_box_is_possible_but_questioned() -> None:
    small = Prompt(box=(50, 50, 53, 80))
    small.check_inside(90, 120)
    assert small.questions(90, 120) == [
        "The box 50,50,53,80 covers only 3 × 30 pixels of the scan."
    ]
    assert Prompt(box=(117, 5, 300, 50)).questions(90, 120)  # most of it is outside
    assert not Prompt(box=(50, 50, 60, 80)).questions(90, 120)
    assert not Prompt(points=[(0, 0)]).questions(90, 120)
    Prompt(points=[(0.5, 0.5)]).check_inside(90, 120)  # the center of the first pixel
    Prompt(box=(0, 0, 1, 1)).check_inside(1, 1)
    Prompt(points=[(0.3, 0.3)]).check_inside(1, 1)


def prediction(iou: float, stability: float, pixels: int) -> Prediction:
    masks = np.zeros((1, 1, 10, 10), bool)
    masks.reshape(-1)[:pixels] = True
    scores = [np.full((1, 1), value, np.float32) for value in (iou, stability)]
    return Prediction(masks, *scores, np.zeros((1, 1, 4, 4), np.float32))


def test_low_confidence_is_below_a_half_of_either_score() -> None:
    assert prediction(0.36, 0.9, 5).low_confidence.tolist() == [True]
    assert prediction(0.81, 0.0016, 5).low_confidence.tolist() == [True]
    assert prediction(0.5, 0.5, 5).low_confidence.tolist() == [False]
    assert prediction(0.9, 0.9, 5).empty.tolist() == [False]
    assert prediction(0.9, 0.9, 0).empty.tolist() == [True]


def test_an_empty_candidate_comes_last_and_has_no_score() -> None:
    full = ViewTransform.full(40, 40, size=64)
    logits = np.full((3, 16, 16), -5, np.float32)
    logits[1:, 4:9, 4:9] = 5
    found = MeanPrediction((ViewPrediction(full, logits, np.array([0.9, 0.4, 0.6], np.float32)),))
    assert [c.index for c, _ in best_first(candidates_of(found), 1)] == [2]
    assert [c.index for c, _ in best_first(candidates_of(found), 3)] == [2, 1, 0]


class Silent:
    """A backend that finds nothing, with much confidence."""

    def __init__(self, model: UltraSam) -> None:
        self.config, self.preprocessor, self.tta = model.config, model.preprocessor, model.tta

    def encode(self, pixels: np.ndarray) -> list[int]:
        return [0] * len(pixels)

    def decode(self, embeddings, prompts, image_index, *, multimask):  # type: ignore[no-untyped-def]
        side, count = self.config.mask_size, 4 if multimask else 1
        shape = (len(prompts), count)
        return np.full((*shape, side, side), -9, np.float32), np.full(shape, 0.9, np.float32)


@pytest.mark.parametrize("multimask", [None, True, False])
def test_an_empty_mask_has_no_score(multimask: bool | None) -> None:
    predictor = Predictor(Silent(randomized(TINY)))
    predictor.set_image(np.zeros((90, 120), np.uint8))
    for prompt in (Prompt(box=(20, 20, 60, 60)), Prompt(points=[(30, 30)])):
        found = predictor.predict(prompt, multimask=multimask)
        assert found.empty.all()
        assert not found.predicted_iou.any()
        assert found.low_confidence.all()
        assert found.to_coco()[0]["score"] == 0


def test_a_cine_without_a_frame_is_said_to_have_more(tmp_path: Path) -> None:
    pages = [Image.new("L", (40, 30), value) for value in (10, 90, 200)]
    pages[0].save(tmp_path / "c.tif", save_all=True, append_images=pages[1:])
    predictor = Predictor(randomized(TINY))
    with pytest.warns(UltraSamWarning, match=r"c.tif has 3 frames; frame 0 is used"):
        predictor.set_image(tmp_path / "c.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.set_image(tmp_path / "c.tif", frame=0)
        predictor.set_image(np.zeros((20, 20), np.uint8))
    embedder = Embedder(randomized(TINY))
    with pytest.warns(UltraSamWarning, match="frame 0 is used"):
        embedder.patches(tmp_path / "c.tif")
    with pytest.warns(UltraSamWarning, match="frame 0 is used"):
        next(embedder.images([tmp_path / "c.tif"]))


@pytest.mark.parametrize("config", [TINY, SMALL_NANO], ids=["tiny", "nano"])
@pytest.mark.parametrize("change", ["step", "data", "load"])
def test_weights_that_change_after_the_image_was_set_encode_it_anew(
    config: object, change: str
) -> None:
    import torch

    model, other = randomized(config), randomized(config, seed=1)  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 255, (60, 90), np.uint8)
    prompt = Prompt(box=(20, 10, 60, 50))
    predictor = Predictor(model)
    predictor.set_image(frame)
    before = predictor.predict(prompt).low_res_logits
    embedding = predictor.embedding
    assert np.array_equal(predictor.predict(prompt).low_res_logits, before)
    assert predictor.embedding is embedding  # nothing changed, nothing is encoded again
    if change == "load":
        model.load_state_dict(other.state_dict())
    with torch.no_grad():
        for parameter in model.image_encoder.parameters():
            if change == "step":
                parameter.mul_(1.1)
            elif change == "data":
                parameter.data.mul_(1.1)
    after = predictor.predict(prompt).low_res_logits
    fresh = Predictor(model)
    fresh.set_image(frame)
    expected = fresh.predict(prompt).low_res_logits
    assert np.abs(after - expected).max() < 1e-5
    assert np.abs(after - before).max() > 1e-3
    assert predictor.embedding is not embedding


def test_a_predictor_shared_by_threads_never_mixes_two_frames() -> None:
    """Each answer belongs to one of the frames, though others are set meanwhile."""
    predictor = Predictor(randomized(TINY), refine=True)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, shape, np.uint8) for shape in ((60, 90), (70, 50))]
    prompt, expected = Prompt(box=(5, 5, 40, 40)), {}
    for frame in frames:
        predictor.set_image(frame)
        expected[frame.shape] = predictor.predict(prompt).low_res_logits
    errors: list[BaseException] = []
    wrong: list[float] = []

    def work(index: int) -> None:
        try:
            for turn in range(4):
                predictor.set_image(frames[(index + turn) % 2])
                found = predictor.predict(prompt)
                difference = np.abs(found.low_res_logits - expected[found.masks.shape[2:]]).max()
                if difference > 1e-4:
                    wrong.append(float(difference))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not wrong
