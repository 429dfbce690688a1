"""MedSAM: an image is squeezed to a square and scaled to 0–1, in every way of use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY, randomized
from tests.field.test_compat import H, W, refusal, two_objects
from tests.reference.test_transformers_sam import peer_of
from ultrasam.compat import Sam, SamPredictor
from ultrasam.errors import UltraSamWarning
from ultrasam.evaluation.models.transformers_models import open_transformers
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.weights.load import load_model
from ultrasam.weights.registry import PREPROCESSING


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)


def encoder_input(model: UltraSam, run: object) -> torch.Tensor:
    """The input that the image encoder gets."""
    seen: list[torch.Tensor] = []
    hook = model.image_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0].clone()))
    run()  # type: ignore[operator]
    hook.remove()
    return seen[0]


def test_medsam_sees_a_square_in_0_to_1_in_every_way_of_use(
    tmp_path: Path, image: np.ndarray
) -> None:
    torch.save(randomized(TINY).state_dict(), tmp_path / "medsam_vit_b.pth")
    with pytest.warns(UltraSamWarning, match="loaded as MedSAM because of its name"):
        model = load_model(tmp_path / "medsam_vit_b.pth", device="cpu")
    dim = (image // 2 + 40).astype(np.uint8)  # 40 to 167, so that the range must be stretched
    native, meta = Predictor(model), SamPredictor(Sam(model))
    x = encoder_input(model, lambda: native.set_image(dim))
    assert x.shape == (1, 3, 128, 128)
    assert (float(x.min()), float(x.max())) == (0, 1)
    assert float(x[..., -20:, :].std()) > 0.1  # no padding
    assert torch.equal(encoder_input(model, lambda: meta.set_image(dim)), x)


def test_prompts_and_masks_are_stretched_with_the_image() -> None:
    model = load_model("nano+no-tta+preprocessing=medsam", device="cpu")
    native, meta = Predictor(model), SamPredictor(Sam(model))
    native.set_image(two_objects())
    meta.set_image(two_objects())
    box = np.array([12, 18, 48, 62])
    ours = native.predict(Prompt(box=box)).low_res_logits[0, 0]
    # Meta's boxes are pixel indices, ours edges.
    half = 0.5 * np.array([W, H, W, H]) / model.config.image_size
    theirs = meta.predict(box=box - half, multimask_output=False)[2][0]
    assert np.ptp(ours) > 5
    assert np.abs(ours - theirs).max() < 0.01


def test_medsam_of_transformers_is_not_fed_by_the_processor_of_its_repository(
    tmp_path: Path, image: np.ndarray
) -> None:
    from transformers import SamImageProcessor

    model = randomized(TINY)
    for name in ("medsam-vit-base", "sam-vit-base"):
        peer_of(model).save_pretrained(tmp_path / name)
        SamImageProcessor(
            size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}
        ).save_pretrained(tmp_path / name)
    medsam = open_transformers(str(tmp_path / "medsam-vit-base"), device="cpu")
    assert medsam.accepts == {"box"}  # type: ignore[attr-defined]
    model.preprocessor = replace(PREPROCESSING["medsam"], size=128)
    prompt = Prompt(box=(20, 10, 90, 70))
    seen: list[torch.Tensor] = []
    medsam.model.vision_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    medsam.set_image(image)
    expected = encoder_input(model, lambda: Predictor(model).set_image(image))
    assert torch.equal(seen[0], expected)
    assert medsam.predict(prompt).masks.shape == (1, 1, H, W)
    corners = medsam._to_model(np.array([[0.0, 0], [W, H]]))
    assert corners.tolist() == [[0, 0], [128, 128]]
    assert "accepts only box prompts" in refusal(medsam.predict, Prompt(points=[(40, 50)]))
    sam = open_transformers(str(tmp_path / "sam-vit-base"), device="cpu")
    sam.set_image(image)
    assert float(sam._input(image)[..., 90:, :].abs().max()) == 0  # padded, as SAM's images are
