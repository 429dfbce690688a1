from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import ultrasam
from tests.conftest import SMALL_NANO, randomized
from ultrasam import Prediction, Predictor, Prompt, UltraSam
from ultrasam.compat import SamPredictor
from ultrasam.errors import ConfigError, PromptError, ScanError
from ultrasam.evaluation.metrics.masks import dice
from ultrasam.evaluation.models.baselines import DiscAtClick, EllipseInBox
from ultrasam.geometry import ViewTransform
from ultrasam.images.masks import bounding_box, center_of_mass
from ultrasam.inference.augmentation import MeanPrediction, ViewPrediction
from ultrasam.inference.segmenter import Segmenter
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.phantom.acquisition import simulate
from ultrasam.runtimes.torch_backend import TorchBackend


@pytest.fixture(scope="module")
def nano() -> UltraSam:
    return ultrasam.load("nano", device="cpu")


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures, each with its largest structure."""
    pairs = []
    for seed in range(900, 912):
        phantom = simulate(seed, size=(240, 320))
        if len(phantom.masks):
            pairs.append((phantom.pixels, phantom.masks[phantom.masks.sum((1, 2)).argmax()]))
    return pairs


def scores(
    segmenter: Segmenter, phantoms: list[tuple[np.ndarray, np.ndarray]], kind: str
) -> npt.NDArray[np.float64]:
    """The Dice of each phantom's structure, by its box or a click at its center."""
    found = []
    for pixels, truth in phantoms:
        segmenter.set_image(pixels)
        box = kind == "box"
        prompt = Prompt(box=bounding_box(truth)) if box else Prompt(points=[center_of_mass(truth)])
        found.append(dice(segmenter.predict(prompt).masks[0, 0], truth))
    return np.array(found)


def test_nano_segments_phantoms_it_has_not_seen_better_than_their_boxes_tell(
    nano: UltraSam, phantoms: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """What these weights score; others will score otherwise, but not less than an ellipse in the box."""
    boxes, clicks = (scores(Predictor(nano), phantoms, kind) for kind in ("box", "point"))
    assert boxes.mean() == pytest.approx(0.896, abs=0.004)
    assert clicks.mean() == pytest.approx(0.696, abs=0.01)
    assert boxes.mean() > scores(EllipseInBox(), phantoms, "box").mean() + 0.01
    assert clicks.mean() > scores(DiscAtClick(), phantoms, "point").mean() + 0.15


@pytest.mark.parametrize("options", [{"tta": False}, {}, {"refine": True}])
def test_many_prompts_in_one_call_equal_each_alone(
    nano: UltraSam, phantoms: list[tuple[np.ndarray, np.ndarray]], options: dict[str, bool]
) -> None:
    pixels, truth = phantoms[0]
    predictor = Predictor(nano, **options)
    predictor.set_image(pixels)
    x, y = center_of_mass(truth)
    first = predictor.predict(Prompt(points=[(x, y)]))
    prompts = [
        Prompt(box=tuple(bounding_box(truth))),
        Prompt(points=[(x, y)]),
        Prompt(points=[(x, y), (2, 3)], labels=[1, 0]),
        Prompt(box=(5, 5, 60, 50), points=[(30, 30)]),
        Prompt(points=[(x, y), (x + 3, y)], mask=first.low_res_logits[0, 0]),
        Prompt(mask=truth),
    ] * 4
    together = predictor.predict(prompts)
    assert together.masks.shape == (24, 1, *pixels.shape)
    for i, prompt in enumerate(prompts[:6]):
        alone = predictor.predict(prompt)
        assert (together.masks[i] != alone.masks[0]).mean() < 1e-3
        assert np.allclose(together.predicted_iou[i], alone.predicted_iou[0], atol=1e-3)


def with_views(model: UltraSam, *, zoom: float, flip: bool) -> UltraSam:
    """The same weights with other test-time augmentation."""
    other = UltraSam(
        model.config, preprocessor=model.preprocessor, tta=TestTimeAugmentation(zoom, flip)
    ).eval()
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize("refine", [False, True])
def test_a_mirrored_frame_gives_mirrored_masks_where_every_view_is_mirrored_too(
    nano: UltraSam, phantoms: list[tuple[np.ndarray, np.ndarray]], refine: bool
) -> None:
    def differences(model: UltraSam) -> float:
        """Share of the masks' pixels that change sides."""
        predictor, wrong, all_ = Predictor(model, refine=refine), 0, 0
        for pixels, truth in phantoms[:3]:
            width, (x, y) = truth.shape[1], center_of_mass(truth)
            prompts = [
                Prompt(box=tuple(bounding_box(truth))),
                Prompt(points=[(x, y)]),
                Prompt(mask=truth),
            ]
            predictor.set_image(pixels)
            found = predictor.predict(prompts)
            turned = [
                Prompt(box=tuple(bounding_box(truth[:, ::-1]))),
                Prompt(points=[(width - x, y)]),
                Prompt(mask=truth[:, ::-1]),
            ]
            predictor.set_image(np.ascontiguousarray(pixels[:, ::-1]))
            again = predictor.predict(turned)
            wrong += int((found.masks[..., ::-1] != again.masks).sum())
            all_ += int(found.masks.sum())
        return wrong / all_

    assert differences(with_views(nano, zoom=0, flip=True)) < 2e-3
    assert differences(with_views(nano, zoom=0, flip=False)) > 1e-2


def test_a_box_is_decoded_in_the_whole_frame_and_zoomed_each_mirrored(nano: UltraSam) -> None:
    """Compared with separate predictions in the frame, a crop around the box, and both mirrored."""
    phantom = simulate(905, size=(300, 400))
    pixels, box = phantom.pixels, np.array([150.0, 120, 200, 160])
    predictor = Predictor(nano)
    predictor.set_image(pixels)
    found = predictor.predict(Prompt(box=tuple(box))).masks[0, 0]

    side = 120  # 2.4 × the longer side
    left, top = 175 - side // 2, 140 - side // 2
    once, total = Predictor(nano, tta=False), np.zeros(pixels.shape[:2], np.float32)
    for x0, y0, image in ((0, 0, pixels), (left, top, pixels[top:, left:][:side, :side])):
        height, width = image.shape[:2]
        inner = box - (x0, y0, x0, y0)
        for turn in (1, -1):
            once.set_image(np.ascontiguousarray(image[:, ::turn]))
            shown = (
                inner if turn == 1 else inner[[2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)
            )
            low = once.predict(Prompt(box=tuple(shown))).low_res_logits[0, 0]
            logits = ViewTransform.full(height, width, size=256).logits_to_scan(low)[:, ::turn]
            seen = np.full_like(total, -10)
            seen[y0 : y0 + height, x0 : x0 + width] = np.clip(logits, -10, 10)
            total += seen
    assert found.sum() > 500
    assert (found != (total > 0)).sum() <= 0.005 * found.sum()


def test_a_view_is_encoded_once() -> None:
    model = with_views(randomized(SMALL_NANO), zoom=1.6, flip=True)
    predictor = Predictor(model, refine=True)
    predictor.set_image(simulate(905, size=(300, 400)).pixels)
    backend = predictor.backend
    with patch.object(TorchBackend, "encode", wraps=backend.encode) as encode:
        prompts = [Prompt(box=(150, 120, 200 + i, 160)) for i in range(34)]
        predictor.predict(prompts[0])
        views = sum(len(call.args[0]) for call in encode.call_args_list)
        assert views == 2  # around the box and its mirror image, though decoded twice
        predictor.predict(Prompt(box=(150, 120, 200, 160), points=[(170, 140)]))
        assert encode.call_count == 1
        predictor.predict(prompts)  # more views than are kept
    assert len(predictor._cache) <= 2 + 64
    assert predictor.embedding.image.image.shape[0] == 1


def test_a_model_without_augmentation_gives_its_logits_as_they_are(
    tiny: UltraSam,
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8)
    box = (40.0, 40.0, 80.0, 88.0)
    meta = SamPredictor(tiny)
    meta.set_image(np.repeat(pixels[..., None], 3, -1))
    # Meta's convention counts pixels, whose centers lie half a pixel further on.
    _, _, logits = meta.predict(box=np.array(box) - 0.5, multimask_output=False)
    several = with_views(tiny, zoom=1.6, flip=True)
    for predictor in (Predictor(tiny), Predictor(several, tta=False)):
        predictor.set_image(pixels)
        low = predictor.predict(Prompt(box=box)).low_res_logits
        assert np.allclose(low[0], logits, atol=1e-5)
    predictor = Predictor(several)
    predictor.set_image(pixels)
    assert not np.allclose(predictor.predict(Prompt(box=box)).low_res_logits[0], logits, atol=1e-2)


def test_views_are_averaged_and_an_over_confident_one_does_not_dominate() -> None:
    whole = ViewTransform.full(16, 16, size=64)
    yes, no = np.full((1, 16, 16), 80.0, np.float32), np.full((1, 16, 16), -8.0, np.float32)
    sure, unsure = np.array([0.9], np.float32), np.array([0.5], np.float32)
    alone = MeanPrediction((ViewPrediction(whole, yes, sure),))
    assert np.allclose(alone.in_scan(0), 80)
    assert np.allclose(alone.low_res(0, whole, alone.in_scan(0)), 80)
    mixed = MeanPrediction(
        (
            ViewPrediction(whole, yes, sure),
            ViewPrediction(whole.hflip(), no, unsure),
            ViewPrediction(whole, no, unsure),
        )
    )
    assert np.allclose(mixed.in_scan(0), -2)
    assert np.allclose(mixed.predicted_iou, 1.9 / 3)


def test_three_candidates_come_best_first(nano: UltraSam) -> None:
    predictor = Predictor(nano)
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (90, 140), np.uint8))
    prediction = predictor.predict(Prompt(points=[(40, 40)]), multimask=True)
    assert prediction.masks.shape == (1, 3, 90, 140)
    assert (np.diff(prediction.predicted_iou[0]) <= 0).all()
    assert ((prediction.stability_score >= 0) & (prediction.stability_score <= 1)).all()
    assert prediction.low_res_logits.shape == (1, 3, 64, 64)


def test_no_prompts_give_no_masks(nano: UltraSam) -> None:
    predictor = Predictor(nano)
    predictor.set_image(np.zeros((20, 30), np.uint8))
    assert predictor.predict([]).masks.shape == (0, 1, 20, 30)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 3), (16, 16, 3)])
def test_frames_of_any_shape_are_taken(
    nano: UltraSam, shape: tuple[int, ...], refine: bool
) -> None:
    predictor = Predictor(nano, refine=refine)
    predictor.set_image(np.full(shape, 90, np.uint8))
    height, width = shape[:2]
    for prompt in (Prompt(points=[(width / 2, height / 2)]), Prompt(box=(0, 0, width, height))):
        assert predictor.predict(prompt).masks.shape == (1, 1, height, width)


def test_refinement_changes_masks_but_stays_on_the_object(
    nano: UltraSam, phantoms: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    plain, refined = (scores(Predictor(nano, refine=r), phantoms[:8], "box") for r in (False, True))
    assert (plain != refined).any()
    assert np.abs(plain - refined).max() < 0.1
    assert refined.mean() > plain.mean() - 0.015


def test_a_frame_of_a_cine_is_chosen(nano: UltraSam, tmp_path: Path) -> None:
    frames = [Image.fromarray(simulate(i, size=(80, 100)).pixels) for i in (1, 2)]
    frames[0].save(tmp_path / "c.tif", save_all=True, append_images=frames[1:])
    predictor = Predictor(nano)
    found = []
    for frame in (0, 1):
        predictor.set_image(tmp_path / "c.tif", frame=frame)
        found.append(predictor.predict(Prompt(box=(20, 20, 70, 60))))
    assert not np.array_equal(found[0].low_res_logits, found[1].low_res_logits)
    with pytest.raises(ScanError, match="frame 2 does not exist"):
        predictor.set_image(tmp_path / "c.tif", frame=2)


def test_misuse_is_an_error(nano: UltraSam) -> None:
    predictor = Predictor(nano)
    with pytest.raises(PromptError, match="call set_image"):
        predictor.predict(Prompt(points=[(1, 1)]))
    predictor.set_image(np.zeros((50, 60), np.uint8))
    with pytest.raises(PromptError, match="outside"):
        predictor.predict(Prompt(points=[(61, 1)]))
    with pytest.raises(PromptError, match="64 × 64"):
        predictor.predict(Prompt(mask=np.eye(10)))


def test_a_full_size_sam_takes_the_same_calls(tiny: UltraSam) -> None:
    predictor = Predictor(tiny)
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (90, 140, 3), np.uint8))
    out: Prediction = predictor.predict([Prompt(box=(9, 9, 50, 60)), Prompt(points=[(70, 40)])])
    again = predictor.predict(Prompt(points=[(70, 40)], mask=out.low_res_logits[1, 0]))
    assert out.masks.shape == (2, 1, 90, 140)
    assert again.masks.shape == (1, 1, 90, 140)


@pytest.mark.parametrize("option", [{"device": "cpu"}, {"precision": "bfloat16"}])
def test_an_option_of_loading_is_refused_where_the_model_is_loaded(
    nano: UltraSam, option: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match="given by name"):
        Predictor(nano, **option)  # type: ignore[arg-type]


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(ultrasam.UltraSamError, match="'nowhere' is not available"):
        ultrasam.load("nano", device="nowhere")


def test_masks_at_other_levels_of_probability_lie_within_and_around(nano: UltraSam) -> None:
    predictor = Predictor(nano)
    predictor.set_image(simulate(5, size=(96, 128)).pixels)
    prompts = [Prompt(box=(30, 20, 90, 70)), Prompt(points=[(60, 45)])]
    plain = predictor.predict(prompts)
    found = predictor.predict(prompts, levels=(0.3, 0.5, 0.7))
    assert plain.at_levels is None
    assert np.array_equal(plain.masks, found.masks)
    assert found.at_levels is not None
    wide, same, tight = found.at_levels
    assert np.array_equal(same, found.masks)
    assert not (tight & ~found.masks).any()
    assert not (found.masks & ~wide).any()
    assert wide.sum() > found.masks.sum() > tight.sum() > 0
    with pytest.raises(ConfigError, match="level 1 is no probability"):
        predictor.predict(prompts, levels=(1.0,))


def test_embeddings_that_are_given_back_make_the_same_masks_without_encoding(
    nano: UltraSam, phantoms: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    pixels, truth = phantoms[0]
    prompts = [Prompt(box=bounding_box(truth)), Prompt(points=[center_of_mass(truth)])]
    for tta, views in ((False, 1), (True, 2)):
        first = Predictor(nano, tta=tta)
        first.set_image(pixels)
        made = first.embeddings
        assert len(made) == views
        assert first.embedding is made[0]
        second = Predictor(nano, tta=tta)
        with patch.object(TorchBackend, "encode", side_effect=AssertionError("encoded again")):
            second.set_image(pixels, embeddings=made)
            assert second.embeddings == made
        for prompt in prompts:
            one, other = first.predict(prompt), second.predict(prompt)
            assert np.array_equal(one.masks, other.masks)
            assert np.array_equal(one.predicted_iou, other.predicted_iou)
        backend = first.backend
        again = [
            backend.embedding_from_arrays(backend.embedding_to_arrays(one))  # type: ignore[attr-defined]
            for one in made
        ]
        second.set_image(pixels, embeddings=again)
        assert np.array_equal(second.predict(prompts).masks, first.predict(prompts).masks)


def test_embeddings_need_an_image_and_one_for_each_view(nano: UltraSam) -> None:
    predictor = Predictor(nano, tta=True)
    with pytest.raises(PromptError, match="No image is set"):
        _ = predictor.embeddings
    pixels = np.zeros((60, 80), np.uint8)
    predictor.set_image(pixels)
    with pytest.raises(ConfigError, match="Give 2 embeddings, one for each view"):
        predictor.set_image(pixels, embeddings=predictor.embeddings[:1])
