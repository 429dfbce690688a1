"""Peers behind the Segmenter protocol: they give what transformers gives, and with our weights our masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import Sam2Config, Sam2Model

from tests.conftest import TINY, randomized
from tests.reference.test_transformers_sam import peer_of
from ultrasam.errors import CheckpointError, EvaluationError
from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.weights.registry import PREPROCESSING

PROMPTS = (
    Prompt(box=(20, 10, 90, 70)),
    Prompt(points=[(50, 40)]),
    Prompt(points=[(50, 40), (10.5, 12)], labels=[1, 0]),
    Prompt(points=[(50, 40)], box=(20, 10, 90, 70)),
)


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    return rng.integers(0, 255, (80, 110, 3), np.uint8)


def test_transformers_sam_gives_our_masks_with_our_weights(
    tmp_path: Path,
    pixels: np.ndarray,  # type: ignore[type-arg]
) -> None:
    model = UltraSam(TINY, preprocessor=PREPROCESSING["sam"]).eval()
    model.load_state_dict(randomized(TINY).state_dict())
    peer_of(model).save_pretrained(tmp_path / "sam")
    ours, theirs = Predictor(model), open_evaluation_model(f"transformers:{tmp_path / 'sam'}")
    for segmenter in (ours, theirs.segmenter):
        segmenter.set_image(pixels)
    for prompt in PROMPTS:
        a, b = ours.predict(prompt), theirs.segmenter.predict(prompt)
        # Theirs counts points from pixels' centers, ours from corners: up to half a pixel apart.
        assert np.abs(a.low_res_logits - b.low_res_logits).max() < 5e-3
        assert np.abs(a.predicted_iou - b.predicted_iou).max() < 1e-3
        assert (a.masks != b.masks).mean() < 5e-3
    again = Prompt(points=[(50, 40), (60, 50)], labels=[1, 0], mask=a.low_res_logits[0, 0])
    a, b = ours.predict(again), theirs.segmenter.predict(again)
    assert np.abs(a.low_res_logits - b.low_res_logits).max() < 5e-3
    assert (a.masks != b.masks).mean() < 5e-3


@pytest.mark.parametrize("prompt", PROMPTS[:2])
def test_refinement_is_the_published_two_rounds(
    prompt: Prompt,
    pixels: np.ndarray,  # type: ignore[type-arg]
) -> None:
    """With the peer: one mask; its logits as they are and, for a click, its box; the best of three masks."""
    model = UltraSam(TINY, preprocessor=PREPROCESSING["sam"]).eval()
    model.load_state_dict(randomized(TINY).state_dict())
    ours = Predictor(model, refine=True)
    ours.set_image(pixels)
    found = ours.predict(prompt)
    peer, height, width = peer_of(model), *pixels.shape[:2]
    view = ours.backend.preprocessor.view(height, width)
    image = torch.from_numpy(ours.backend.preprocessor.image(pixels, view))[None]
    resized = view.resized_shape

    def run(box: np.ndarray | None, **given: object) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[type-arg]
        # transformers adds half a model pixel to the corners that it is given.
        if box is not None:
            given["input_boxes"] = torch.from_numpy(view.boxes_to_model(box) - 0.5)[
                None, None
            ].float()
        else:
            point = torch.from_numpy(view.points_to_model(prompt.points) - 0.5)[None, None].float()
            given |= {"input_points": point, "input_labels": torch.ones(1, 1, 1, dtype=torch.long)}
        with torch.inference_mode():
            out = peer(pixel_values=image, **given)
        return out.pred_masks[0, 0], out.iou_scores[0, 0]

    first, _ = run(prompt.box, multimask_output=False)
    full = F.interpolate(first[None], (128, 128), mode="bilinear", align_corners=False)
    full = full[..., : resized[0], : resized[1]]
    full = F.interpolate(full, (height, width), mode="bilinear", align_corners=False)[0, 0]
    ys, xs = np.nonzero(full.numpy() > 0)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
    if prompt.box is not None:
        box = prompt.box
    three, iou = run(box, input_masks=first[None], multimask_output=True)
    best = int(iou.argmax())
    assert np.abs(found.low_res_logits[0, 0] - three[best].numpy()).max() < 1e-3
    assert float(found.predicted_iou[0, 0]) == pytest.approx(float(iou[best].clip(0, 1)), abs=1e-4)


def sam2_alone(
    model: Sam2Model,
    pixels: np.ndarray,  # type: ignore[type-arg]
    prompt: Prompt,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What Sam2Processor and Sam2Model do, step by step: low-res logits, their IoU, and the mask.

    The processor itself needs torchvision. It stretches images and scales the indices of pixels, to which the
    model adds the half.
    """
    height, width = pixels.shape[:2]
    size, scale = 256, torch.tensor([256 / width, 256 / height])
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, (size, size), mode="bilinear", align_corners=False).round() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    given = {"pixel_values": (image - mean[:, None, None]) / std[:, None, None]}
    if len(prompt.points):
        indices = torch.from_numpy(prompt.points).float() - 0.5
        given["input_points"] = (indices * scale)[None, None]
        given["input_labels"] = torch.from_numpy(prompt.labels)[None, None]
    if prompt.box is not None:
        corners = torch.from_numpy(prompt.box).float().view(2, 2) - 0.5
        given["input_boxes"] = (corners * scale).view(1, 1, 4)
    if prompt.mask is not None:
        given["input_masks"] = torch.from_numpy(prompt.mask)[None, None]
    lone = len(given) == 3 and len(prompt.points) == 1
    with torch.inference_mode():
        out = model(**given, multimask_output=lone)
    best = out.iou_scores[0, 0].argmax()
    logits = out.pred_masks[0, 0, best]
    full = F.interpolate(logits[None, None], (height, width), mode="bilinear", align_corners=False)
    return logits, out.iou_scores[0, 0, best], full[0, 0] > 0


def test_sam2_gives_what_transformers_gives(tmp_path: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1,
        "blocks_per_stage": [1, 2, 3, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1], "global_attention_blocks": [4],
        "window_size_per_stage": [8, 4, 2, 2], "image_size": [256, 256],
        "window_positional_embedding_background_size": [7, 7],
    }  # fmt: skip
    config = Sam2Config(
        vision_config={
            "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
        },
        prompt_encoder_config={"image_size": 256},
        mask_decoder_config={"dynamic_multimask_via_stability": False},
    )  # fmt: skip
    model = Sam2Model(config).eval()
    with torch.no_grad():  # as they are drawn, prompts hardly matter
        for name, parameter in model.named_parameters():
            if "prompt_encoder" in name or "mask_decoder" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path / "sam2")
    peer = open_evaluation_model(f"transformers:{tmp_path / 'sam2'}").segmenter
    peer.set_image(pixels)
    low = peer.predict(PROMPTS[0]).low_res_logits[0, 0]
    seen = []
    for prompt in (*PROMPTS, Prompt(points=[(50, 40)], mask=low)):
        logits, iou, mask = sam2_alone(model, pixels, prompt)
        found = peer.predict(prompt)
        spread = float(logits.std())
        assert np.abs(found.low_res_logits[0, 0] - logits.numpy()).max() < 0.02 * spread
        assert found.predicted_iou[0, 0] == pytest.approx(float(iou.clamp(0, 1)), abs=1e-3)
        assert (found.masks[0, 0] != mask.numpy()).mean() < 5e-3
        assert all((logits - other).abs().max() > 0.1 * spread for other in seen)
        seen.append(logits)


def test_a_folder_without_a_sam_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot load"):
        open_evaluation_model(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EvaluationError, match="model type 'bert'"):
        open_evaluation_model(f"transformers:{tmp_path}")
