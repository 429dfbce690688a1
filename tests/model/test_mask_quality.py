from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.model.test_model import TINY
from ultrasam.model.mask_quality import MaskQuality
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam

RATED = replace(TINY, stem="conv", high_res_features=True, prompt_maps=True, mask_quality=True)


def head(seed: int = 0) -> MaskQuality:
    """A head with random weights in all layers."""
    torch.manual_seed(seed)
    made = MaskQuality(RATED)
    torch.nn.init.normal_(made.out.weight)
    return made


def inputs(count: int = 2, masks: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    width, fine, grid = RATED.decoder_width, RATED.upscale_channels[1], RATED.grid
    shapes = [
        (count, width), (count, masks, width), (count, width, grid, grid),
        (count, masks, 4 * grid, 4 * grid), (count, fine, 4 * grid, 4 * grid),
        (count, 3, 4 * grid, 4 * grid),
    ]  # fmt: skip
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_an_untrained_head_leaves_the_predicted_iou_and_its_order() -> None:
    torch.manual_seed(0)
    plain = UltraSam(replace(RATED, mask_quality=False)).eval()
    rated = UltraSam(RATED).eval()
    rated.load_state_dict(plain.state_dict(), strict=False)
    pixels = torch.randn(1, 3, RATED.image_size, RATED.image_size)
    prompts = PromptTensors(torch.full((1, 1, 2), 9.0), torch.ones(1, 1, dtype=torch.long))
    with torch.no_grad():
        before, after = plain(pixels, prompts), rated(pixels, prompts)
    assert torch.equal(before.masks, after.masks)
    assert torch.equal(before.predicted_iou, after.iou_if_present)
    assert after.object_logits is not None
    expected = before.predicted_iou * after.object_logits.sigmoid()
    torch.testing.assert_close(after.predicted_iou, expected)


def test_each_mask_is_rated_by_itself() -> None:
    token, tokens, image, masks, upscaled, maps = inputs()
    order = torch.tensor([2, 0, 3, 1])
    delta, present = head()(token, tokens, image, masks, upscaled, maps)
    changed = head()(token, tokens[:, order], image, masks[:, order], upscaled, maps)
    torch.testing.assert_close(changed[0], delta[:, order])
    torch.testing.assert_close(changed[1], present[:, order])
    assert delta.std() > 0


def test_masks_of_the_same_tokens_differ_by_what_lies_inside() -> None:
    token, tokens, image, masks, upscaled, maps = inputs(masks=2)
    tokens = tokens[:, :1].expand(-1, 2, -1)
    left, right = torch.full_like(masks[:, 0], -9), torch.full_like(masks[:, 0], -9)
    half = masks.shape[-1] // 2
    left[..., :half], right[..., half:] = 9, 9
    delta, _ = head()(token, tokens, image, torch.stack([left, right], 1), upscaled, maps)
    assert (delta[:, 0] - delta[:, 1]).abs().min() > 1e-3


def test_no_gradient_flows_into_the_rated_masks() -> None:
    token, tokens, image, masks, upscaled, maps = inputs()
    masks.requires_grad_()
    tokens.requires_grad_()
    sum(part.sum() for part in head()(token, tokens, image, masks, upscaled, maps)).backward()  # type: ignore[union-attr]
    assert masks.grad is None
    assert tokens.grad is not None


@pytest.mark.parametrize("value", [-60.0, 60.0, 0.0])
def test_empty_and_full_masks_have_finite_ratings(value: float) -> None:
    token, tokens, image, masks, upscaled, maps = inputs()
    for part in head()(token, tokens, image, torch.full_like(masks, value), upscaled, maps):
        assert torch.isfinite(part).all()
