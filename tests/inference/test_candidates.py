"""What a click may mean is offered: three masks by size, one of which is the mask that is returned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.field.test_prompts_file import Boxes
from ultrasam.errors import ConfigError
from ultrasam.inference.batch import predict_files
from ultrasam.inference.candidates import offered
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.processing import FileResult
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prediction, Prompt

CLICK, BOX = Prompt(points=[(70, 60)]), Prompt(box=(4, 4, 20, 20))
SIZES = ("small", "medium", "large")


def disc(radius: float) -> npt.NDArray[np.bool_]:
    y, x = np.indices((120, 160))
    return np.asarray((x - 70) ** 2 + (y - 60) ** 2 <= radius * abs(radius))


class Discs(Boxes):
    """Answers a click with a disc, and offers three others around it, the middle one first."""

    def __init__(self, returned: float = 18, radii: tuple[float, ...] = (20, 35, 10)) -> None:
        self.returned, self.radii = returned, radii
        self.asked: list[Prompt] = []

    def predict(self, prompts: Prompt | list[Prompt]) -> Prediction:
        found = super().predict(prompts)
        for row, prompt in enumerate([prompts] if isinstance(prompts, Prompt) else prompts):
            if prompt.is_single_click:
                found.masks[row, 0] = disc(self.returned)
        return found

    def candidates(self, prompts: list[Prompt]) -> Prediction:
        self.asked += prompts
        masks = np.stack([np.stack([disc(radius) for radius in self.radii])] * len(prompts))
        iou = np.tile(np.array([0.8, 0.5, 0.2], np.float32), (len(prompts), 1))
        return Prediction(masks, iou, iou, np.zeros((*iou.shape, 4, 4), np.float32))


def run(out: Path, *prompts: Prompt, segmenter: Any = None, candidates: bool = True) -> FileResult:
    out.parent.mkdir(exist_ok=True)
    path = out.parent / "a.png"
    Image.fromarray(np.full((120, 160), 90, np.uint8)).save(path)
    entries = [PromptEntry(number, prompt) for number, prompt in enumerate(prompts)]
    results = predict_files(
        segmenter or Discs(), [path], AssignedPrompts({path: entries}, {}), out, provenance={},
        candidates=candidates,
    )  # fmt: skip
    return next(iter(results))


def read(path: Path) -> npt.NDArray[np.bool_]:
    return np.asarray(Image.open(path)) > 0


def test_a_click_gets_three_masks_by_size_of_which_one_is_returned(tmp_path: Path) -> None:
    segmenter, out = Discs(), tmp_path / "out"
    result = run(out, BOX, CLICK, segmenter=segmenter)
    assert result.error is None
    box, click = result.results
    assert "candidates" not in box
    assert segmenter.asked == [CLICK]
    assert [one["size"] for one in click["candidates"]] == list(SIZES)
    assert [one["mask"] for one in click["candidates"]] == [f"a_mask_1_{s}.png" for s in SIZES]
    # The mask that is returned stands for the best candidate.
    assert [one["returned"] for one in click["candidates"]] == [False, True, False]
    assert [one["predicted_iou"] for one in click["candidates"]] == [0.2, 1.0, 0.5]
    for one, radius in zip(click["candidates"], (10, 18, 35), strict=True):
        assert np.array_equal(read(out / one["mask"]), disc(radius))
        assert one["area"] == disc(radius).sum()
    assert np.array_equal(read(out / click["mask"]), disc(18))
    json.dumps(result.results)  # numbers of Python's own


def test_the_option_changes_no_mask_that_is_returned(tmp_path: Path) -> None:
    plain = run(tmp_path / "1" / "out", CLICK, BOX, candidates=False)
    more = run(tmp_path / "2" / "out", CLICK, BOX)
    for one, other in zip(plain.results, more.results, strict=True):
        assert one["segmentation"] == other["segmentation"]
        assert one["score"] == other["score"]
    assert plain.pictures == ()
    assert "candidates" not in plain.results[0]
    assert not list((tmp_path / "1" / "out").glob("*_small.png"))


def test_candidates_are_drawn_side_by_side_smallest_first(tmp_path: Path) -> None:
    result = run(tmp_path / "out", BOX, CLICK)
    assert result.pictures == (tmp_path / "out" / "a_candidates_1.png",)
    drawn = np.asarray(Image.open(result.pictures[0])).astype(int)
    assert drawn.shape[0] == 120
    tinted = np.ptp(drawn, axis=2) > 20
    gaps = np.flatnonzero((drawn == 0).all(axis=(0, 2)))
    assert drawn.shape[1] == 3 * 160 + len(gaps)
    cuts = [160 + len(gaps) // 2, 320 + len(gaps)]
    counts = [int(part.sum()) for part in np.split(tinted, cuts, axis=1)]
    assert counts == sorted(counts)
    # Tint and outline cover each disc; the click's dot and the words hide a part.
    for count, radius in zip(counts, (10, 18, 35), strict=True):
        assert 0.7 * disc(radius - 1).sum() < count < disc(radius + 1.5).sum()


def test_an_empty_candidate_is_the_smallest_and_harms_nothing(tmp_path: Path) -> None:
    found = run(tmp_path / "out", CLICK, segmenter=Discs(radii=(20, 35, -1))).results[0]
    assert [one["area"] > 0 for one in found["candidates"]] == [False, True, True]
    nothing = run(tmp_path / "out", CLICK, segmenter=Discs(returned=-1)).results[0]
    left = [0, disc(10).sum(), disc(35).sum()]  # in place of the best
    assert [one["area"] for one in nothing["candidates"]] == left
    assert [one["returned"] for one in nothing["candidates"]] == [True, False, False]


def test_a_segmenter_of_one_mask_offers_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="offers no candidates"):
        run(tmp_path / "out", CLICK, segmenter=Boxes())


@pytest.mark.parametrize("name", ["nano", "nano+no-tta"])
def test_one_of_the_models_candidates_is_the_mask_of_the_click(name: str) -> None:
    predictor = Predictor(name, device="cpu")
    predictor.set_image(simulate(3, size=(90, 120)).pixels)
    clicks = [Prompt(points=[(60, 45)]), Prompt(points=[(20, 70)])]
    found = predictor.predict(clicks)
    offers = offered(predictor, [*clicks, BOX], predictor.predict([*clicks, BOX]))
    assert list(offers) == [0, 1]
    for offer, mask in zip(offers.values(), found.best, strict=True):
        areas = offer.masks.masks[0].sum(axis=(1, 2))
        assert (np.diff(areas) >= 0).all()
        assert np.array_equal(offer.masks.masks[0, offer.returned], mask)


@pytest.mark.parametrize(
    "seed", [900, 2018, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (903, 906))]
)
def test_the_best_by_area_is_the_mask_that_a_click_gets(seed: int) -> None:
    phantom = simulate(seed, size=(240, 320))
    predictor = Predictor("nano", device="cpu")
    predictor.set_image(phantom.pixels)
    for mask in phantom.masks:
        y, x = np.argwhere(mask).mean(axis=0)
        click = Prompt(points=[(x, y)])
        three = predictor.predict(click, multimask=True)
        assert (np.diff(three.predicted_iou[0]) < 0).all()
        returned = predictor.predict(click).masks[0, 0]
        assert (three.masks[0, 0] != returned).mean() < 1e-4  # rounding
        assert np.array_equal(three.by_area().best[0], three.masks[0, 0])
