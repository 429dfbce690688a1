"""Each model gets the image that it was made for: its channels, its preprocessing, its way to a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import TINY, randomized
from tests.reference.test_transformers_sam import peer_of
from ultrasam import load
from ultrasam.compat import SamPredictor
from ultrasam.evaluation.models.baselines import GrabCut
from ultrasam.evaluation.models.transformers_models import open_transformers
from ultrasam.images.pixels import gray
from ultrasam.inference.predictor import Predictor
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.training.train import trained_preprocessor
from ultrasam.weights.registry import PREPROCESSING, REGISTRY

Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def image() -> Image:
    return np.random.default_rng(0).integers(0, 255, (80, 110, 3), np.uint8)


def network_input(encoder: torch.nn.Module, run: Callable[[], object]) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    run()
    hook.remove()
    return seen[0]


def model_with(preprocessor: Preprocessor) -> UltraSam:
    model = randomized(TINY)
    model.preprocessor = replace(preprocessor, size=TINY.image_size)
    return model


def test_models_trained_on_gray_images_get_gray_and_others_color(image: Image) -> None:
    """Color counts: only what our own training has made, on gray images, is fed with gray."""
    channels = {
        name: PREPROCESSING[entry.preprocessing].channels for name, entry in REGISTRY.items()
    }
    assert {name for name, value in channels.items() if value == "gray"} == {"nano"}
    once = np.repeat(gray(image)[..., None], 3, axis=2)
    for name, preprocessor in PREPROCESSING.items():
        model = model_with(preprocessor)
        for make in (lambda m: Predictor(m), SamPredictor):
            predictor = make(model)
            x = network_input(model.image_encoder, lambda p=predictor: p.set_image(image))
            of_gray = network_input(model.image_encoder, lambda p=predictor: p.set_image(once))
            assert torch.equal(x, of_gray) == (name == "nano"), (name, predictor)


def test_nano_on_a_color_image_predicts_what_it_does_on_its_luminance(image: Image) -> None:
    predictor = Predictor("nano", device="cpu")
    logits = []
    for pixels in (image, gray(image)):
        predictor.set_image(pixels)
        logits.append(predictor.predict(Prompt(box=(20, 10, 90, 70))).low_res_logits)
    assert np.array_equal(*logits)


def test_weights_that_we_train_are_gray_and_earlier_ones_are_known_by_their_resampling() -> None:
    for preprocessor in PREPROCESSING.values():
        trained = trained_preprocessor(preprocessor)
        assert trained.channels == "gray"
        assert Preprocessor.from_dict(trained.to_dict()) == trained
        saved = {key: value for key, value in trained.to_dict().items() if key != "channels"}
        assert Preprocessor.from_dict(saved) == trained
    saved = {k: v for k, v in PREPROCESSING["sam"].to_dict().items() if k != "channels"}
    assert Preprocessor.from_dict(saved) == PREPROCESSING["sam"]
    assert load("nano", device="cpu").preprocessor.channels == "gray"


def test_transformers_models_and_grabcut_get_the_colors_of_the_file(
    tmp_path: Path, image: Image
) -> None:
    once = np.repeat(gray(image)[..., None], 3, axis=2)
    for name in ("sam-vit-base", "medsam-vit-base"):
        peer_of(randomized(TINY)).save_pretrained(tmp_path / name)
        peer = open_transformers(str(tmp_path / name), device="cpu")
        encoder = peer.model.vision_encoder
        x = network_input(encoder, lambda p=peer: p.set_image(image))
        assert x[0].std(dim=0).max() > 0.1
        assert not torch.equal(x, network_input(encoder, lambda p=peer: p.set_image(once)))
    cut = GrabCut()
    masks = []
    for pixels in (image, once):
        cut.set_image(pixels)
        masks.append(cut.predict(Prompt(box=(20, 10, 90, 70))).masks)
    assert not np.array_equal(*masks)


def test_medsam_runs_as_its_script_does(tmp_path: Path, image: Image) -> None:
    """bowang-lab/MedSAM, MedSAM_Inference.py, step by step: squeezed by scikit-image, scaled to 0–1, one mask
    from the box, whose probabilities are resampled to the image and cut at 0.5."""
    from skimage import transform

    peer_of(randomized(TINY)).save_pretrained(tmp_path / "medsam-vit-base")
    medsam = open_transformers(str(tmp_path / "medsam-vit-base"), device="cpu")
    height, width, size = *image.shape[:2], TINY.image_size
    square = transform.resize(
        image, (size, size), order=3, preserve_range=True, anti_aliasing=True
    ).astype(np.uint8)
    x = (square - square.min()) / np.clip(square.max() - square.min(), 1e-8, None)
    box = np.array([20, 10, 90, 70])
    # transformers adds half a pixel to corners; boxes are given by their edges here.
    corners = (box - 0.5) / (width, height, width, height) * size
    with torch.inference_mode():
        low = medsam.model(
            pixel_values=torch.from_numpy(x).float().permute(2, 0, 1)[None],
            input_boxes=torch.from_numpy(corners).float()[None, None],
            multimask_output=False,
        ).pred_masks[:, 0]
    full = F.interpolate(low.sigmoid(), (height, width), mode="bilinear", align_corners=False)
    medsam.set_image(image)
    found = medsam.predict(Prompt(box=box))
    assert np.abs(found.low_res_logits[0] - low[0].numpy()).max() < 0.02 * float(low.std())
    assert (found.masks[0, 0] != (full[0, 0] > 0.5).numpy()).mean() < 2e-3
