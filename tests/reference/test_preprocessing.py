"""From pixels to full-size masks: SAM against transformers, MedSAM against the steps of its
published script."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import resize
from transformers import SamImageProcessor, SamModel, SamProcessor

from tests.conftest import TINY, randomized
from tests.reference.test_transformers_sam import peer_of
from ultrasam.compat import Sam, SamPredictor
from ultrasam.errors import ConfigError, PromptError
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt
from ultrasam.weights.registry import PREPROCESSING

SHAPES = [(300, 400), (90, 70), (128, 128), (700, 333)]


def frame(shape: tuple[int, int], *, rgb: bool) -> np.ndarray:
    """A simulated picture with the borders, speckle and black margins of real ones."""
    gray = simulate(905, size=shape).pixels
    if not rgb:
        return gray
    colors = np.stack([gray, gray // 2, 255 - gray], axis=-1)
    return np.ascontiguousarray(colors)


@pytest.fixture(scope="module")
def sam() -> UltraSam:
    model = randomized(TINY)
    return _fed_as(model, "sam")


@pytest.fixture(scope="module")
def medsam() -> UltraSam:
    model = randomized(TINY)
    with torch.no_grad():  # random weights give logits near zero, whose signs mean nothing
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(100)
    return _fed_as(model, "medsam")


def _fed_as(model: UltraSam, name: str) -> UltraSam:
    fed = UltraSam(model.config, preprocessor=PREPROCESSING[name]).eval()
    fed.load_state_dict(model.state_dict())
    return fed


@pytest.fixture(scope="module")
def peer(sam: UltraSam) -> tuple[SamModel, SamProcessor]:
    size, low = TINY.image_size, TINY.mask_size
    processor = SamProcessor(
        SamImageProcessor(
            size={"longest_edge": size}, pad_size={"height": size, "width": size},
            mask_size={"longest_edge": low}, mask_pad_size={"height": low, "width": low},
        )
    )  # fmt: skip
    return peer_of(sam), processor


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_sam_from_pixels_to_full_size_masks_equals_transformers(
    sam: UltraSam, peer: tuple[SamModel, SamProcessor], shape: tuple[int, int], rgb: bool
) -> None:
    model, processor = peer
    pixels = frame(shape, rgb=rgb)
    three = pixels if rgb else np.repeat(pixels[..., None], 3, axis=2)
    height, width = shape
    point, box = [width * 0.4, height * 0.5], [width * 0.2, height * 0.1, width * 0.7, height * 0.8]
    inputs = processor(images=three, return_tensors="pt")
    view = sam.preprocessor.view(*shape)
    ours = sam.preprocessor.image(pixels, view)
    assert np.abs(ours - inputs["pixel_values"][0].numpy()).max() < 1e-5

    predictor = SamPredictor(sam)
    predictor.set_image(three)
    for given, arguments in (
        ({"input_points": [[point]], "input_labels": [[1]]},
         {"point_coords": np.array([point]), "point_labels": np.array([1])}),
        ({"input_boxes": [[box]]}, {"box": np.array(box)}),
    ):  # fmt: skip
        inputs = processor(images=three, return_tensors="pt", **given)
        sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        for name in ("input_points", "input_boxes"):
            if name in inputs:
                inputs[name] = inputs[name].float()
        with torch.inference_mode():
            out = model(**inputs, multimask_output=True)
        (expected,) = processor.post_process_masks(out.pred_masks, *sizes, binarize=False)
        logits, iou, _ = predictor.predict(**arguments, return_logits=True)
        assert logits.shape == (3, *shape)
        assert np.abs(logits - expected[0].numpy()).max() < 1e-3
        assert np.abs(iou - out.iou_scores[0, 0].numpy()).max() < 1e-4
        assert ((logits > 0) != (expected[0].numpy() > 0)).mean() < 1e-4


def medsam_input(pixels: np.ndarray, size: int) -> torch.Tensor:
    """The published script's preprocessing."""
    three = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels
    square = resize(three, (size, size), order=3, preserve_range=True, anti_aliasing=True)
    square = square.astype(np.uint8)
    low, high = square.min(), square.max()
    scaled = (square - low) / np.clip(high - low, a_min=1e-8, a_max=None)
    return torch.tensor(scaled).float().permute(2, 0, 1)[None]


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_medsam_input_equals_that_of_its_script(
    medsam: UltraSam, shape: tuple[int, int], rgb: bool
) -> None:
    pixels = frame(shape, rgb=rgb)
    view = medsam.preprocessor.view(*shape)
    ours = medsam.preprocessor.image(pixels, view)
    expected = medsam_input(pixels, TINY.image_size)[0].numpy()
    assert (ours.min(), ours.max()) == (0, 1)
    square = medsam.preprocessor.resized(pixels, view)
    levels = int(square.max()) - int(square.min())
    assert np.abs(ours - expected).max() <= 1.01 / levels  # a gray level, from the cast to integers
    assert (np.abs(ours - expected) > 1e-6).mean() < 0.02


@torch.no_grad()
def medsam_masks(model: Sam, pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The published script, with its import changed: probabilities at full size [H, W]."""
    size = model.image_encoder.img_size
    height, width = pixels.shape[:2]
    embedding = model.image_encoder(medsam_input(pixels, size))
    scaled = box[None] / np.array([width, height, width, height]) * size
    sparse, dense = model.prompt_encoder(
        points=None, boxes=torch.as_tensor(scaled, dtype=torch.float)[:, None, :], masks=None
    )
    logits, _ = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    full = F.interpolate(
        torch.sigmoid(logits), size=(height, width), mode="bilinear", align_corners=False
    )
    return full.squeeze().numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_medsam_gives_the_masks_of_its_script(medsam: UltraSam, shape: tuple[int, int]) -> None:
    pixels = frame(shape, rgb=False)
    height, width = shape
    box = np.array([width * 0.2, height * 0.1, width * 0.7, height * 0.8])
    expected = medsam_masks(Sam(medsam), pixels, box)
    predictor = Predictor(medsam)
    predictor.set_image(pixels)
    # The script's box is in pixel indices of the square, to which the network adds half a pixel.
    half = 0.5 * np.tile([width, height], 2) / TINY.image_size
    found = predictor.predict(Prompt(box=box + half))
    low = torch.from_numpy(found.low_res_logits)
    ours = F.interpolate(torch.sigmoid(low), shape, mode="bilinear", align_corners=False)
    assert np.ptp(expected) > 0.5
    assert np.abs(ours[0, 0].numpy() - expected).max() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_is_placed_as_medsams_script_places_it(
    medsam: UltraSam, shape: tuple[int, int]
) -> None:
    """The script resizes probabilities directly to the image; we resize logits through the input's size."""
    side = TINY.mask_size
    y, x = np.mgrid[0:side, 0:side] + 0.5
    logits = (4 * (1 - ((x - 14) / 9) ** 2 - ((y - 17) / 7) ** 2)).astype(np.float32)
    ours = medsam.preprocessor.view(*shape).logits_to_scan(logits) > 0
    probabilities = torch.sigmoid(torch.from_numpy(logits))[None, None]
    full = F.interpolate(probabilities, size=shape, mode="bilinear", align_corners=False)
    theirs = full[0, 0].numpy() > 0.5
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98


def test_medsam_accepts_only_boxes(medsam: UltraSam) -> None:
    predictor = Predictor(medsam)
    assert predictor.accepts == {"box"}
    predictor.set_image(frame((90, 70), rgb=False))
    with pytest.raises(PromptError, match="accepts only box prompts, not point prompts"):
        predictor.predict(Prompt(points=[(30, 30)]))
    with pytest.raises(PromptError, match="not mask prompts"):
        predictor.predict(Prompt(box=(1, 1, 30, 30), mask=np.zeros((90, 70), bool)))
    with pytest.raises(ConfigError, match="this model does not accept"):
        Predictor(medsam, refine=True)
