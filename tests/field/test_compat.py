"""Scripts written for segment-anything and MedSAM: the masks they expect, or a sentence that says why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ultrasam.compat
from tests.conftest import TINY, randomized
from ultrasam.compat import (
    ResizeLongestSide,
    Sam,
    SamPredictor,
    build_sam_vit_b,
    sam_model_registry,
)
from ultrasam.errors import ConfigError, PromptError, UltraSamWarning
from ultrasam.weights.registry import PREPROCESSING

H, W = 80, 120  # resized to 85 × 128


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam(randomized(TINY)).eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor(sam: Sam, image: np.ndarray) -> SamPredictor:
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    return predictor


def refusal(call: object, *arguments: object, **options: object) -> str:
    with pytest.raises(PromptError) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def nano() -> SamPredictor:
    """Trained weights, which tell prompts and images apart."""
    predictor = SamPredictor(sam_model_registry["nano"](checkpoint="nano"))
    predictor.set_image(two_objects())
    return predictor


def two_objects() -> np.ndarray:
    """A dark and a bright ellipse."""
    y, x = np.mgrid[:H, :W]
    gray = np.random.default_rng(0).normal(90, 12, (H, W))
    gray[((x - 30) / 18) ** 2 + ((y - 40) / 22) ** 2 < 1] -= 70
    gray[((x - 85) / 22) ** 2 + ((y - 35) / 15) ** 2 < 1] += 90
    return np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def test_several_boxes_give_the_masks_of_each_alone(nano: SamPredictor) -> None:
    boxes = np.array([[12, 18, 48, 62], [63, 20, 107, 50]])
    moved = nano.transform.apply_boxes_torch(torch.tensor(boxes), (H, W))
    masks, iou, low = nano.predict_torch(None, None, moved, multimask_output=False)
    assert (masks.shape, iou.shape) == ((2, 1, H, W), (2, 1))
    for i, (box, area) in enumerate(zip(boxes, (1244, 1037), strict=True)):  # pi a b
        alone, _, logits = nano.predict(box=box, multimask_output=False)
        assert alone.sum() == pytest.approx(area, rel=0.25)
        assert (masks[i].numpy() != alone).mean() < 1e-3
        assert np.abs(low[i].numpy() - logits).max() < 1e-2
        inside = alone[0, box[1] : box[3], box[0] : box[2]]
        assert inside.sum() > 0.9 * alone.sum()


def test_a_mask_of_0_and_1_works_as_the_refusal_says(nano: SamPredictor) -> None:
    box = np.array([12, 18, 48, 62])
    expected, _, low = nano.predict(box=box, multimask_output=False)
    binary = (low > 0).astype(np.float32)
    assert "16 * m - 8" in refusal(nano.predict, mask_input=binary)
    again, _, _ = nano.predict(mask_input=16 * binary - 8, multimask_output=False)
    dice = 2 * (again & expected).sum() / (again.sum() + expected.sum())
    assert dice > 0.85


def test_metas_transform_takes_the_length_of_the_longer_side(sam: Sam, image: np.ndarray) -> None:
    """As the batched part of Meta's notebook and MedSAM's scripts call it."""
    transform = ResizeLongestSide(sam.image_encoder.img_size)
    resized = transform.apply_image(image)
    assert resized.flags.writeable  # or torch warns
    assert resized.shape == (85, 128, 3)
    assert ResizeLongestSide.get_preprocess_shape(H, W, 1024) == (683, 1024)
    box = torch.tensor([[10.0, 20, 50, 60]])
    (out,) = sam(
        [
            {
                "image": torch.as_tensor(resized).permute(2, 0, 1),
                "boxes": transform.apply_boxes_torch(box, (H, W)),
                "original_size": (H, W),
            }
        ],
        multimask_output=False,
    )
    assert out["masks"].shape == (1, 1, H, W)


def test_the_script_of_medsam_runs(sam: Sam) -> None:
    size, low = sam.image_encoder.img_size, sam.config.mask_size
    with torch.no_grad():
        embedding = sam.image_encoder(torch.randn(1, 3, size, size))
        sparse, dense = sam.prompt_encoder(
            points=None, boxes=torch.tensor([[[1.0, 2, 30, 40]]]), masks=None
        )
        logits, _ = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
    assert logits.shape == (1, 1, low, low)


POINT = [(40, 50)]
LOW = np.zeros((1, 32, 32), np.float32)
LOW[:, 8:20, 8:20] = 1
BAD: dict[str, tuple[dict[str, object], str]] = {
    "three points, two labels": (
        {"point_coords": [(1, 1), (2, 2), (3, 3)], "point_labels": [1, 1]}, "one label per point"),
    "labels nested": ({"point_coords": POINT, "point_labels": [[1]]}, "one label per point"),
    "a flat point": ({"point_coords": [40, 50], "point_labels": [1]}, "give [K, 2]"),
    "points of different lengths": (
        {"point_coords": [(1, 2), (3,)], "point_labels": [1, 1]}, "must be an array of numbers"),
    "points as text": ({"point_coords": [("a", "b")], "point_labels": [1]}, "an array of numbers"),
    "a label as text": ({"point_coords": POINT, "point_labels": ["fg"]}, "an array of numbers"),
    "label 5": ({"point_coords": POINT, "point_labels": [5]}, "not [[5.0]]"),
    "label -3": ({"point_coords": POINT, "point_labels": [-3]}, "not [[-3.0]]"),
    "label NaN": ({"point_coords": POINT, "point_labels": [np.nan]}, "not [[nan]]"),
    "no labels": ({"point_coords": POINT}, "point_coords requires point_labels"),
    "labels alone": ({"point_labels": [1], "box": [1, 1, 9, 9]}, "requires point_coords"),
    "a background point alone": (
        {"point_coords": POINT, "point_labels": [0]}, "no foreground point"),
    "y, x": ({"point_coords": [(20, 110)], "point_labels": [1]}, "20,110 is outside"),
    "one of two outside": (
        {"point_coords": [(20, 20), (500, 9)], "point_labels": [1, 0]}, "500,9 is outside"),
    "a box outside": ({"box": [300, 300, 400, 400]}, "300,300,400,400 is outside"),
    "fractions": ({"box": [0.1, 0.1, 0.4, 0.5]}, "give pixels, not fractions of its size"),
    "a point in fractions": (
        {"point_coords": [(0.3, 0.4)], "point_labels": [1]}, "give pixels, not fractions"),
    "two boxes": ({"box": [[1, 1, 5, 5], [2, 2, 6, 6]]}, "use predict_torch for several"),
    "corners reversed": ({"box": [50, 60, 10, 20]}, "give x0, y0, x1, y1 with x0 < x1"),
    "x, y, width, height": ({"box": [50, 40, 20, 30]}, "[50.0, 40.0, 20.0, 30.0] is invalid"),
    "a box without area": ({"box": [30, 30, 30, 40]}, "is invalid"),
    "a box with NaN": ({"box": [np.nan, 1, 5, 5]}, "finite numbers"),
    "a box as text": ({"box": "1,2,3,4"}, "an array of numbers"),
    "a mask without its first axis": ({"mask_input": LOW[0]}, "give low-res logits [1, 32, 32]"),
    "a mask of another size": ({"mask_input": np.zeros((1, 256, 256))}, "logits [1, 32, 32]"),
    "a mask of the image": ({"mask_input": np.zeros((H, W), bool)}, "logits [1, 32, 32]"),
    "a bool mask": ({"mask_input": LOW > 0}, "values from 0 to 1; give logits"),
    "a mask of 0 and 1": ({"mask_input": LOW}, "for a mask m of 0 and 1: 16 * m - 8"),
    "a mask of 0 and 255": ({"mask_input": (LOW * 255).astype(np.uint8)}, "from 0 to 255"),
    "probabilities": ({"mask_input": LOW * 0.9 + 0.05}, "values from 0.05 to 0.95; give logits"),
    "a mask with NaN": ({"mask_input": LOW * np.nan}, "finite numbers"),
    "nothing": ({}, "The prompt is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_prompt_is_refused(predictor: SamPredictor, name: str) -> None:
    given, message = BAD[name]
    assert message in refusal(predictor.predict, **given)


def test_good_prompts_of_other_types_are_taken(predictor: SamPredictor) -> None:
    expected = predictor.predict(np.array(POINT), np.array([1]))[2]
    for points, labels in (
        (POINT, [1]), (torch.tensor(POINT), torch.tensor([1])), (np.float32(POINT), [1.0]),
        (POINT, np.array([True])), ([*POINT, (-9, -9)], [1, -1]),
    ):  # fmt: skip
        got = predictor.predict(points, labels)[2]
        assert np.abs(got - expected).max() < (1e-4 if len(points) == 1 else np.inf)
    box = predictor.predict(box=[10, 20, 50, 60])[2]
    assert np.array_equal(predictor.predict(box=torch.tensor([[10, 20, 50, 60]]))[2], box)
    # Boxes of detectors exceed the image a little.
    predictor.predict(box=[-3, -2, W + 2, H + 4])
    # A model's own logits, also where it is sure of everything, and logits of no content.
    for low in (LOW * 16 - 8, LOW + 3, np.zeros_like(LOW)):
        predictor.predict(mask_input=low)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-2 * W, 3 * W), st.floats(-2 * H, 3 * H), st.integers(20, 400), st.integers(20, 400)
)
def test_points_are_refused_outside_the_image_only(
    x: float, y: float, height: int, width: int
) -> None:
    """The checks of original and of resized pixels agree, however an image is resized."""
    from ultrasam.compat.checks import check_inside

    transform = ResizeLongestSide(128)
    size = transform.preprocessor.view(height, width).resized_shape
    moved = transform.apply_coords(np.array([[[x, y]]]), (height, width))
    points = (torch.from_numpy(moved), torch.tensor([[1]]))
    far = 3 * max(1, max(height, width) / 128)  # three pixels of the larger kind
    if 0 <= x <= width - 1 and 0 <= y <= height - 1:
        check_inside(points, None, size, None)
    elif x < -far or y < -far or x > width + far or y > height + far:
        assert "is outside the resized image" in refusal(check_inside, points, None, size, None)


def test_bad_batches_are_refused(predictor: SamPredictor) -> None:
    call = predictor.predict_torch
    points, labels = torch.tensor([[[40.0, 50]]]), torch.tensor([[1]])
    assert "requires point_labels" in refusal(call, points, None)
    assert "requires point_coords" in refusal(call, None, labels, torch.tensor([[1.0, 1, 5, 5]]))
    assert "The prompt is empty" in refusal(call, None, None, torch.zeros(0, 4))
    assert "give [N, K, 2]" in refusal(call, points[0], labels[0])
    assert "give [N, 4]" in refusal(call, None, None, torch.tensor([1.0, 1, 5, 5]))
    # Boxes that were not transformed, of a larger image.
    text = refusal(call, None, None, torch.tensor([[1.0, 1, 5, 5], [300, 300, 400, 400]]))
    assert "300,300,400,400 is outside the resized image of 128 × 85 pixels" in text
    assert call(points.numpy(), labels.numpy())[0].shape == (1, 3, H, W)


def test_images_of_the_wrong_order_or_range_are_refused_or_told(sam: Sam) -> None:
    predictor = SamPredictor(sam)
    pixels = torch.randint(0, 255, (1, 3, 85, 128))
    predictor.set_torch_image(pixels, (H, W))
    before = predictor.features
    for image, size, message in (
        (pixels, (W, H), "give (H, W), not (W, H)"),
        (pixels, 80, "must be (H, W), not 80"),
        (pixels, (0, 5), "must be positive"),
        (pixels.permute(0, 2, 3, 1), (H, W), "takes [1, 3, h, w]"),
        (pixels[0], (H, W), "takes [1, 3, h, w]"),
        (pixels * torch.nan, (H, W), "finite values"),
    ):
        assert message in refusal(predictor.set_torch_image, image, size)
    assert predictor.features is before  # a refused image changes nothing
    predictor.set_torch_image(pixels.numpy(), (H, W))
    assert torch.equal(predictor.features, before)
    with pytest.warns(UltraSamWarning, match="values are in 0–1, which is almost black"):
        predictor.set_torch_image(pixels / 255, (H, W))
    for shape in ((3, 200, 100), (100, 90, 3), (3, 0, 5), (90, 100)):
        assert "give [3, h, w]" in refusal(sam.preprocess, torch.ones(shape))
    assert sam.preprocess(torch.full((2, 3, 85, 128), 9)).shape == (2, 3, 128, 128)


def test_what_is_unlikely_to_be_meant_is_said(predictor: SamPredictor) -> None:
    with pytest.warns(UltraSamWarning, match="covers only 2 × 30 pixels"):
        predictor.predict(box=[10, 20, 12, 50])


def test_an_empty_mask_has_no_score_and_is_said(nano: SamPredictor) -> None:
    low = nano.model._decode

    def nothing(*arguments: object, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
        logits, iou = low(*arguments, **options)  # type: ignore[arg-type]
        logits[0] = -5
        return logits, iou

    boxes = torch.tensor([[12.0, 18, 48, 62], [63, 20, 107, 50]])
    moved = nano.transform.apply_boxes_torch(boxes, (H, W))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano.model, "_decode", nothing)
        with pytest.warns(UltraSamWarning, match="The mask is empty: the model found no object"):
            masks, iou, _ = nano.predict(box=boxes[0].numpy())
        assert not masks.any()
        assert (iou == 0).all()
        with pytest.warns(UltraSamWarning, match="1 of 2 masks are empty"):
            _, scores, _ = nano.predict_torch(None, None, moved, multimask_output=False)
        assert float(scores[0]) == 0 < float(scores[1])


def test_an_image_with_alpha_keeps_its_colors(sam: Sam, image: np.ndarray) -> None:
    """OpenCV reads them as BGRA."""
    expected, got = SamPredictor(sam), SamPredictor(sam)
    expected.set_image(image)
    alpha = np.full((H, W, 1), 255, np.uint8)
    for pixels in (image[..., ::-1], np.concatenate([image[..., ::-1], alpha], axis=-1)):
        got.set_image(pixels, "BGR")
        assert torch.equal(got.features, expected.features)


def test_the_transform_refuses_what_it_would_spoil(image: np.ndarray) -> None:
    transform = ResizeLongestSide(128)
    assert "uint8 (0–255), not [80, 120, 3] float64" in refusal(transform.apply_image, image / 255)
    assert "not [3, 80, 120] uint8" in refusal(transform.apply_image, image.transpose(2, 0, 1))
    assert "give [..., 2]" in refusal(transform.apply_coords, np.zeros((4, 3)), (H, W))
    assert "must be (H, W)" in refusal(transform.apply_coords, np.zeros((4, 2)), (H, W, 3))
    assert "give [N, 4]" in refusal(transform.apply_boxes, np.zeros((4, 2)), (H, W))
    assert "give [N, 4]" in refusal(transform.apply_boxes_torch, torch.zeros(2, 5), (H, W))


def test_the_encoders_input_is_questioned_if_it_is_another_models(sam: Sam) -> None:
    x = torch.rand(1, 3, 128, 128)
    with pytest.warns(UltraSamWarning, match=r"in 0–1, as for MedSAM.*preprocessing=medsam"):
        sam.image_encoder(x)
    medsam = randomized(TINY)
    medsam.preprocessor = replace(PREPROCESSING["medsam"], size=128)
    with pytest.warns(UltraSamWarning, match="outside 0–1"):
        Sam(medsam).image_encoder(x * 255)
    assert "takes [B, 3, 128, 128]" in refusal(sam.image_encoder, x[:, :, :64])


def entry(**changes: object) -> dict[str, object]:
    image = torch.randint(0, 255, (3, 128, 64))
    return {"image": image, "original_size": (100, 50), "boxes": [[1, 2, 30, 40]], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"original_size": (50, 100)}, "give (H, W), not (W, H)"),
        ({"image": torch.zeros(128, 64, 3)}, "give [3, h, w]"),
        ({"image": torch.zeros(1, 3, 128, 64)}, "give [3, h, w]"),
        ({"image": "a.png"}, "must be an array of numbers"),
        ({"boxes": None}, "The prompt is empty"),
        ({"boxes": None, "box": [[1, 2, 30, 40]]}, "has the key 'box'; use 'boxes'"),
        ({"points": [[[1, 2]]]}, "has the key 'points'; use 'point_coords'"),
        ({"point_labels": [[1]]}, "requires point_coords"),
        ({"boxes": [[70, 2, 90, 40]]}, "70,2,90,40 is outside the resized image of 64 × 128"),
        ({"mask_inputs": (LOW > 0)[None]}, "give logits"),
    ],
)
def test_a_bad_entry_of_a_batch_is_refused(
    sam: Sam, changes: dict[str, object], message: str
) -> None:
    (good,) = sam([entry()], multimask_output=False)
    assert good["masks"].shape == (1, 1, 100, 50)
    assert message in refusal(sam, [entry(**changes)], multimask_output=False)


def test_a_batch_that_is_no_list_is_refused(sam: Sam) -> None:
    assert "must be a list" in refusal(sam, entry(), multimask_output=False)


def test_images_and_prompts_of_the_decoder_must_agree(sam: Sam) -> None:
    with torch.no_grad():
        images = sam.image_encoder(torch.randn(2, 3, 128, 128))
        sparse, dense = sam.prompt_encoder(boxes=torch.tensor([[1.0, 2, 30, 40], [4, 5, 60, 70]]))
        pe = sam.prompt_encoder.get_dense_pe()
        both, _ = sam.mask_decoder(images, pe, sparse, dense, False)
        second, _ = sam.mask_decoder(images[1:], pe, sparse[1:], dense[1:], False)
    assert (both[1] - second[0]).abs().max() < 1e-5
    for count in (1, 3):
        chosen = [0, 1, 1][:count]
        text = refusal(sam.mask_decoder, images, pe, sparse[chosen], dense[chosen], False)
        assert f"There are {count} sparse and {count} dense prompt embeddings and 2 image" in text


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="Unknown model type 'vit_t'; use default, vit_h"):
        sam_model_registry["vit_t"]
    with pytest.raises(ConfigError, match="takes a model from sam_model_registry, not str"):
        SamPredictor("nano")  # type: ignore[arg-type]
    assert not hasattr(ultrasam.compat, "something_else")
    assert sam_model_registry["vit_b"] is build_sam_vit_b


def test_the_mean_and_deviation_of_pixels_are_those_of_preprocess(sam: Sam) -> None:
    size = sam.image_encoder.img_size
    pixels = torch.rand(1, 3, size, size) * 255
    expected = (pixels - sam.pixel_mean) / sam.pixel_std
    assert torch.allclose(sam.preprocess(pixels), expected, atol=1e-5)
