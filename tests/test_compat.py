"""Meta's calling convention: shapes, types, equality with transformers' reading of it, and its documented
uses."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY, randomized
from tests.reference.test_transformers_sam import peer_of
from ultrasam import UltraSam
from ultrasam.compat import Sam, SamPredictor, sam_model_registry
from ultrasam.errors import CheckpointError, PromptError
from ultrasam.model.config import CONFIGS
from ultrasam.model.image_encoder import Attention
from ultrasam.model.preprocessing import SAM_MEAN, SAM_STD
from ultrasam.runtimes.attention import sliced_attention


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    # The input's own size: nothing is resampled, so that pixels agree to the last bit.
    return np.random.default_rng(0).integers(0, 255, (128, 100, 3), np.uint8)


@pytest.fixture(scope="module", params=["tiny", "nano"])
def sam(request: pytest.FixtureRequest) -> Sam:
    """SAM's own design, and one that needs more than Meta's tensors hold."""
    return Sam(randomized(TINY if request.param == "tiny" else CONFIGS["nano"])).eval()


def test_return_values_match_segment_anything(tiny: UltraSam, image: np.ndarray) -> None:
    predictor = SamPredictor(tiny)
    predictor.set_image(image)
    masks, scores, logits = predictor.predict(
        point_coords=np.array([[40, 60]]), point_labels=np.array([1]), multimask_output=True
    )
    assert (masks.shape, masks.dtype) == ((3, 128, 100), bool)
    assert (scores.shape, scores.dtype) == ((3,), np.float32)
    assert (logits.shape, logits.dtype) == ((3, 32, 32), np.float32)
    again, _, _ = predictor.predict(
        point_coords=np.array([[40, 60], [9, 9]]),
        point_labels=np.array([1, 0]),
        mask_input=logits[scores.argmax()][None],
        multimask_output=False,
        return_logits=True,
    )
    assert again.shape == (1, 128, 100)
    assert again.dtype == np.float32
    assert predictor.get_image_embedding().shape == (1, TINY.decoder_width, 8, 8)
    assert predictor.features is predictor.get_image_embedding()
    assert (predictor.original_size, predictor.input_size) == ((128, 100), (128, 100))
    predictor.reset_image()
    assert not predictor.is_image_set


@pytest.mark.parametrize("multimask", [True, False])
def test_a_click_and_a_box_equal_transformers(
    tiny: UltraSam, image: np.ndarray, multimask: bool
) -> None:
    peer = peer_of(tiny)
    mean, std = np.array(SAM_MEAN), np.array(SAM_STD)
    pixels = torch.zeros(1, 3, 128, 128)
    normal = ((image - mean) / std).transpose(2, 0, 1)
    pixels[0, :, :, :100] = torch.from_numpy(normal).float()
    predictor = SamPredictor(tiny)
    predictor.set_image(image[..., ::-1], image_format="BGR")
    with torch.inference_mode():
        embedding = peer.get_image_embeddings(pixels)
        by_click = peer(
            image_embeddings=embedding,
            input_points=torch.tensor([[[[40.0, 60.0]]]]),
            input_labels=torch.tensor([[[1]]]),
            multimask_output=multimask,
        )
        by_box = peer(
            image_embeddings=embedding,
            input_boxes=torch.tensor([[[20.0, 30.0, 80.0, 90.0]]]),
            multimask_output=multimask,
        )
    _, iou, logits = predictor.predict(
        np.array([[40, 60]]), np.array([1]), multimask_output=multimask
    )
    assert np.abs(logits - by_click.pred_masks[0, 0].numpy()).max() < 1e-4
    assert np.abs(iou - by_click.iou_scores[0, 0].numpy()).max() < 1e-4
    _, _, logits = predictor.predict(box=np.array([20, 30, 80, 90]), multimask_output=multimask)
    assert np.abs(logits - by_box.pred_masks[0, 0].numpy()).max() < 1e-4


def test_the_predictor_notebook_runs(sam: Sam) -> None:
    """Meta's predictor example, step by step, with its import changed."""
    image = np.random.default_rng(1).integers(0, 255, (200, 300, 3), np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    point, label = np.array([[150, 100]]), np.array([1])
    masks, scores, logits = predictor.predict(
        point_coords=point, point_labels=label, multimask_output=True
    )
    assert masks.shape == (3, 200, 300)

    # Specifying a specific object with additional points.
    points, labels = np.array([[150, 100], [200, 120]]), np.array([1, 0])
    best = logits[np.argmax(scores), :, :]
    masks, _, _ = predictor.predict(
        point_coords=points,
        point_labels=labels,
        mask_input=best[None, :, :],
        multimask_output=False,
    )
    assert masks.shape == (1, 200, 300)

    # Combining points and boxes.
    box = np.array([40, 30, 250, 170])
    masks, _, _ = predictor.predict(
        point_coords=point, point_labels=np.array([0]), box=box, multimask_output=False
    )
    one, _, _ = predictor.predict(box=box[None, :], multimask_output=False)

    # Batched prompt inputs.
    boxes = torch.tensor([[40, 30, 250, 170], [10, 10, 90, 90], [100, 20, 290, 180]])
    moved = predictor.transform.apply_boxes_torch(boxes, image.shape[:2])
    batch, _, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=moved, multimask_output=False
    )
    assert batch.shape == (3, 1, 200, 300)
    assert np.array_equal(batch[0].numpy(), one)

    # End-to-end batched inference.
    size = sam.image_encoder.img_size

    def prepare(pixels: np.ndarray) -> torch.Tensor:
        resized = predictor.transform.apply_image(pixels)
        return torch.as_tensor(resized, device=sam.device).permute(2, 0, 1).contiguous()

    other = np.random.default_rng(2).integers(0, 255, (180, 120, 3), np.uint8)
    other_boxes = torch.tensor([[5, 5, 60, 90]])
    batched_input = [
        {"image": prepare(image), "boxes": moved, "original_size": image.shape[:2]},
        {
            "image": prepare(other),
            "boxes": predictor.transform.apply_boxes_torch(other_boxes, other.shape[:2]),
            "point_coords": predictor.transform.apply_coords_torch(
                torch.tensor([[[30, 40]]]), other.shape[:2]
            ),
            "point_labels": torch.tensor([[1]]),
            "original_size": other.shape[:2],
        },
    ]
    out = sam(batched_input, multimask_output=False)
    assert [o["masks"].shape for o in out] == [(3, 1, 200, 300), (1, 1, 180, 120)]
    assert torch.equal(out[0]["masks"], batch)
    assert out[1]["iou_predictions"].shape == (1, 1)
    assert out[1]["low_res_logits"].shape[-1] == sam.config.mask_size
    assert max(batched_input[0]["image"].shape[1:]) == size


def test_images_set_as_tensors_are_those_set_as_arrays(sam: Sam) -> None:
    image = np.random.default_rng(1).integers(0, 255, (60, 90, 3), np.uint8)
    by_array, by_tensor = SamPredictor(sam), SamPredictor(sam)
    by_array.set_image(image)
    resized = by_tensor.transform.apply_image(image)
    by_tensor.set_torch_image(torch.from_numpy(resized).permute(2, 0, 1)[None], image.shape[:2])
    assert torch.equal(by_array.features, by_tensor.features)
    assert by_tensor.input_size == by_array.input_size
    whole = by_tensor.transform.apply_image_torch(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert whole.shape[-2:] == by_tensor.input_size
    with pytest.raises(PromptError, match=r"takes \[1, 3, h, w\] with a longer side of"):
        by_tensor.set_torch_image(torch.zeros(1, 3, 50, 40), (50, 40))


def test_the_three_parts_match_segment_anything(sam: Sam) -> None:
    size, grid, width = sam.image_encoder.img_size, sam.config.grid, sam.config.decoder_width
    low = sam.config.mask_size
    with torch.no_grad():
        x = sam.preprocess(torch.rand(3, size, size // 2) * 255)
        assert x.shape == (3, size, size)
        embedding = sam.image_encoder(x[None])
        assert embedding.shape == (1, width, grid, grid)
        pe = sam.prompt_encoder.get_dense_pe()
        assert pe.shape == (1, width, grid, grid)
        sparse, dense = sam.prompt_encoder(
            points=None, boxes=torch.tensor([[[1.0, 2, 30, 40]]]), masks=None
        )
        assert (sparse.shape, dense.shape) == ((1, 2, width), (1, width, grid, grid))
        logits, iou = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=pe,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    assert (logits.shape, iou.shape) == ((1, 3, low, low), (1, 3))
    assert (sam.mask_threshold, sam.image_format) == (0.0, "RGB")
    full = sam.postprocess_masks(logits, (size, size // 2), (33, 17))
    assert full.shape == (1, 3, 33, 17)
    assert sam.prompt_encoder.input_image_size == (size, size)
    if sam.config.prompt_maps:
        with pytest.raises(PromptError, match="needs the tensors that"):
            sam.mask_decoder(embedding, pe, sparse.clone(), dense, False)
    with pytest.raises(PromptError, match="image_embeddings has the shape"):
        sam.mask_decoder(x[None], pe, sparse, dense, False)


def test_a_sam_trains_and_saves_like_segment_anything(tmp_path: Path) -> None:
    """Parameters of a part, gradients through the three calls, Meta's names in the state dict, a deep
    copy."""
    model = Sam(randomized(TINY)).train()
    twin = copy.deepcopy(model)
    optimiser = torch.optim.SGD(
        [*model.image_encoder.parameters(), *model.mask_decoder.parameters()], lr=1.0
    )
    sparse, dense = model.prompt_encoder(boxes=torch.tensor([[5.0, 5, 60, 70]]))
    logits, _ = model.mask_decoder(
        image_embeddings=model.image_encoder(torch.randn(1, 3, 128, 128)),
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    logits.square().mean().backward()
    optimiser.step()
    state = model.state_dict()
    assert set(state) == set(UltraSam(TINY).state_dict())
    name = "image_encoder.patch_embed.proj.weight"
    assert not torch.equal(state[name], twin.state_dict()[name])
    twin.load_state_dict(state)
    assert torch.equal(twin.ultrasam.state_dict()[name], state[name])
    torch.save(state, tmp_path / "w.pth")
    assert len(list(model.parameters())) == len(list(UltraSam(TINY).parameters()))
    assert model.to("cpu") is model


def test_a_mask_alone_has_no_tokens_and_a_gray_image_is_not_mirrored(sam: Sam) -> None:
    """As in segment-anything, the not-a-point token follows only clicks."""
    size = sam.config.mask_size
    sparse, dense = sam.prompt_encoder(masks=torch.zeros(2, 1, size, size))
    assert sparse.shape == (2, 0, sam.config.decoder_width)
    assert dense.shape[0] == 2
    predictor = SamPredictor(sam)
    gray = np.random.default_rng(0).integers(0, 255, (60, 90), np.uint8)
    predictor.set_image(gray, "BGR")
    features = predictor.features
    predictor.set_image(gray, "RGB")
    assert torch.equal(features, predictor.features)
    low = np.random.default_rng(1).normal(size=(1, size, size)).astype(np.float32)
    assert predictor.predict(mask_input=low)[0].shape == (3, 60, 90)


def test_moving_a_sam_sets_dtype_and_attention() -> None:
    model = Sam(randomized(TINY))
    parts = [m for m in model.modules() if isinstance(m, Attention)]
    assert all(part.attention_function is sliced_attention for part in parts)
    assert next(model.to("cpu", torch.float64).parameters()).dtype == torch.float64
    assert next(model.to(dtype=torch.float32).parameters()).dtype == torch.float32
    assert all(part.attention_function is sliced_attention for part in parts)


def test_the_registry_checks_the_size(tmp_path: Path, tiny: UltraSam) -> None:
    assert {"default", "vit_h", "vit_l", "vit_b"} <= set(sam_model_registry)
    torch.save(tiny.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not 'vit-b'"):
        sam_model_registry["vit_b"](checkpoint=tmp_path / "w.pth")
    assert sam_model_registry["nano"](checkpoint="nano").config.name == "nano"
    assert sam_model_registry["nano"]().config.name == "nano"


BAD = [
    ({"point_coords": [(1, 1), (2, 2), (3, 3)], "point_labels": [1, 1]}, "one label per point"),
    ({"point_coords": [(40, 60)], "point_labels": [[1]]}, "point_labels has the shape"),
    ({"point_coords": [40, 60], "point_labels": [1]}, r"give \[K, 2\]"),
    ({"point_coords": [(40, 60)]}, "point_coords requires point_labels"),
    ({"point_coords": [(40, 60)], "point_labels": [5]}, "not .*5"),
    ({"point_coords": [(40, 60)], "point_labels": [-3]}, "not .*-3"),
    ({"point_coords": [(float("nan"), 60)], "point_labels": [1]}, "finite numbers"),
    ({"box": [[1, 1, 50, 50], [2, 2, 60, 60]]}, "give one box"),
    ({"box": [90, 90, 10, 10]}, r"\[90.0, 90.0, 10.0, 10.0\] is invalid; give x0, y0, x1, y1"),
    ({"box": [float("nan"), 1, 5, 5]}, "finite numbers"),
    ({"box": [1, 2, 3]}, "box has the shape"),
    (
        {"box": [1, 1, 50, 50], "mask_input": np.zeros((32, 32))},
        r"give low-res logits \[1, 32, 32\]",
    ),
    ({"box": [1, 1, 50, 50], "mask_input": np.zeros((1, 256, 256))}, r"give .* \[1, 32, 32\]"),
    ({}, "give point_coords, a box or mask_input"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_a_bad_prompt_is_refused_in_a_sentence(
    tiny: UltraSam, image: np.ndarray, given: dict[str, object], message: str
) -> None:
    predictor = SamPredictor(tiny)
    with pytest.raises(PromptError, match="set_image"):
        predictor.predict(box=np.array([1, 2, 3, 4]))
    predictor.set_image(image)
    with pytest.raises(PromptError, match=message) as caught:
        predictor.predict(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_bad_batch_is_refused_in_a_sentence(tiny: UltraSam, image: np.ndarray) -> None:
    predictor = SamPredictor(tiny)
    predictor.set_image(image)
    point, label = torch.tensor([[[40.0, 60.0]]]), torch.tensor([[1]])
    for arguments, message in (
        ((point, None), "point_coords requires point_labels"),
        ((None, None, torch.zeros(0, 4)), "The prompt is empty"),
        ((point, label, torch.tensor([[1.0, 1, 5, 5], [2, 2, 6, 6]])), "1 points, 2 boxes"),
    ):
        with pytest.raises(PromptError, match=message):
            predictor.predict_torch(*arguments)
    with pytest.raises(PromptError, match="needs 'image' and 'original_size'"):
        predictor.model([{"image": torch.zeros(3, 128, 128)}], multimask_output=False)
    with pytest.raises(PromptError, match="'RGB' or 'BGR'"):
        predictor.set_image(image, image_format="HSV")
