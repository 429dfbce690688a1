"""Our network against transformers' SamModel with the same random weights."""

from __future__ import annotations

import pytest
import torch
from transformers import SamConfig, SamModel

from tests.conftest import TINY, randomized
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.formats import from_our_keys


def peer_of(model: UltraSam) -> SamModel:
    """A SamModel of the same size with the same weights."""
    c = model.config
    vision = {
        "hidden_size": c.width, "num_hidden_layers": c.depth, "num_attention_heads": c.heads,
        "image_size": c.image_size, "patch_size": c.patch_size, "mlp_dim": c.mlp_width,
        "window_size": c.window, "global_attn_indexes": list(c.global_blocks),
        "output_channels": c.decoder_width, "num_pos_feats": c.decoder_width // 2,
    }  # fmt: skip
    prompt = {
        "hidden_size": c.decoder_width, "image_size": c.image_size, "patch_size": c.patch_size,
        "image_embedding_size": c.grid,
    }  # fmt: skip
    decoder = {
        "hidden_size": c.decoder_width, "mlp_dim": c.decoder_mlp_width,
        "num_attention_heads": c.decoder_heads,
    }  # fmt: skip
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    peer = SamModel(config).eval()
    if (c.decoder_width // 4, c.decoder_width // 8) != c.upscale_channels:
        raise ValueError("transformers ties the up-scaling's widths to the decoder's")
    peer.load_state_dict(from_our_keys(model.state_dict(), "transformers"))
    return peer


@pytest.fixture(scope="module", params=["tiny", pytest.param("base", marks=pytest.mark.slow)])
def pair(request: pytest.FixtureRequest) -> tuple[UltraSam, SamModel, torch.Tensor]:
    config: ModelConfig = TINY if request.param == "tiny" else CONFIGS["vit-b"]
    model = randomized(config)
    if request.param == "base":  # 800 MB a block in the plain form, which the small model takes
        set_attention(model, "cpu")
    pixels = torch.randn(1, 3, config.image_size, config.image_size)
    return model, peer_of(model), pixels


@pytest.fixture(scope="module")
def embeddings(
    pair: tuple[UltraSam, SamModel, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    model, peer, pixels = pair
    with torch.inference_mode():
        return model.encode(pixels).image, peer.get_image_embeddings(pixels)


def test_the_encoder_equals_the_peers(embeddings: tuple[torch.Tensor, torch.Tensor]) -> None:
    ours, theirs = embeddings
    assert (ours - theirs).abs().max() <= 1e-4


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["point", "points", "box", "box and points", "mask and point"])
def test_the_whole_model_equals_the_peers(
    pair: tuple[UltraSam, SamModel, torch.Tensor],
    embeddings: tuple[torch.Tensor, torch.Tensor],
    kind: str,
    multimask: bool,
) -> None:
    model, peer, _ = pair
    size = model.config.image_size
    torch.manual_seed(1)
    count = 3
    points = torch.rand(count, 3 if kind == "points" else 1, 2) * (size - 1)
    labels = torch.randint(0, 2, points.shape[:2])
    corners = torch.rand(count, 2, 2) * (size / 2) + torch.tensor(
        [[0.0, 0.0], [size / 2, size / 2]]
    )
    mask = torch.randn(1, 1, model.config.mask_size, model.config.mask_size) * 4
    theirs = {"input_points": points[None], "input_labels": labels[None]}
    ours = PromptTensors(points + 0.5, labels)
    no_point = torch.tensor([[-1]]).expand(count, 1)
    if kind.startswith("box"):
        theirs["input_boxes"] = corners.flatten(1)[None]
        ours = PromptTensors(corners + 0.5, torch.tensor([[2, 3]]).expand(count, 2))
        if kind == "box":
            theirs = {"input_boxes": theirs["input_boxes"]}
        else:
            ours = PromptTensors(
                torch.cat([points + 0.5, corners + 0.5], dim=1), torch.cat([labels, ours.labels], 1)
            )
    else:
        padded = torch.cat([ours.coords, torch.zeros(count, 1, 2)], dim=1)
        ours = PromptTensors(padded, torch.cat([labels, no_point], dim=1))
    if kind.startswith("mask"):
        theirs["input_masks"] = mask
        ours = PromptTensors(ours.coords, ours.labels, masks=mask)
    with torch.inference_mode():
        expected = peer(image_embeddings=embeddings[1], multimask_output=multimask, **theirs)
        output = model.decode(ImageEmbedding(embeddings[1]), ours)
    kept = slice(1, 4) if multimask else slice(0, 1)
    logits, iou = output.masks[:, kept], output.predicted_iou[:, kept]
    assert (logits - expected.pred_masks[0]).abs().max() <= 1e-4
    assert (iou - expected.iou_scores[0]).abs().max() <= 1e-5


def test_the_prompt_encoder_equals_the_peers(
    pair: tuple[UltraSam, SamModel, torch.Tensor],
) -> None:
    model, peer, _ = pair
    size = model.config.image_size
    points = torch.rand(2, 2, 2) * size
    labels = torch.tensor([[1, 0], [1, 1]])
    mask = torch.randn(1, 1, model.config.mask_size, model.config.mask_size)
    with torch.inference_mode():
        sparse, dense = peer.prompt_encoder(points[None], labels[None], None, mask)
        padded = torch.cat([points + 0.5, torch.zeros(2, 1, 2)], dim=1)
        kinds = torch.cat([labels, torch.full((2, 1), -1)], dim=1)
        encoded = model.prompt_encoder(
            PromptTensors(padded, kinds, masks=mask.expand(2, -1, -1, -1))
        )
        positions = model.prompt_encoder.get_dense_pe()
        expected = peer.get_image_wide_positional_embeddings()[0].flatten(1).T
    assert (encoded.tokens - sparse[0]).abs().max() <= 1e-5
    assert (encoded.dense - dense).abs().max() <= 1e-5
    assert (positions - expected).abs().max() <= 1e-5
