"""Meta's calling convention: shapes, types, and equality with transformers' reading of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY
from tests.reference.test_transformers_sam import peer_of
from ultrasam import UltraSam
from ultrasam.compat import SamPredictor, sam_model_registry
from ultrasam.errors import CheckpointError, PromptError


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    # The canvas's own size: nothing is resampled, so that pixels agree to the last bit.
    return np.random.default_rng(0).integers(0, 255, (128, 100, 3), np.uint8)


def test_return_values_are_metas(tiny: UltraSam, image: np.ndarray) -> None:
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


@pytest.mark.parametrize("multimask", [True, False])
def test_a_click_and_a_box_equal_transformers(
    tiny: UltraSam, image: np.ndarray, multimask: bool
) -> None:
    peer = peer_of(tiny)
    mean, std = np.array(TINY.pixel_mean), np.array(TINY.pixel_std)
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


def test_batches_of_boxes_go_through_predict_torch(tiny: UltraSam, image: np.ndarray) -> None:
    predictor = SamPredictor(tiny)
    predictor.set_image(image)
    boxes = torch.tensor([[10, 10, 50, 60], [30, 20, 90, 100]])
    masks, iou, logits = predictor.predict_torch(None, None, boxes, multimask_output=False)
    assert masks.shape == (2, 1, 128, 100)
    assert masks.dtype == torch.bool
    assert iou.shape == (2, 1)
    assert logits.shape == (2, 1, 32, 32)


def test_the_registry_checks_the_size(tmp_path: Path, tiny: UltraSam) -> None:
    assert {"default", "vit_h", "vit_l", "vit_b"} <= set(sam_model_registry)
    torch.save(tiny.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not 'base'"):
        sam_model_registry["vit_b"](checkpoint=tmp_path / "w.pth")
    assert sam_model_registry["nano"](checkpoint="nano").config.name == "nano"


def test_misuse_is_told(tiny: UltraSam, image: np.ndarray) -> None:
    predictor = SamPredictor(tiny)
    with pytest.raises(PromptError, match="set_image"):
        predictor.predict(box=np.array([1, 2, 3, 4]))
    predictor.set_image(image)
    with pytest.raises(PromptError, match="point_labels"):
        predictor.predict(point_coords=np.array([[1, 2]]))
    with pytest.raises(PromptError, match="Give point_coords"):
        predictor.predict()
