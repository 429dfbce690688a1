"""A predictor works with any backend that implements two calls, with or without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ultrasam import Predictor, Prompt
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.prompts import (
    BOTTOM_RIGHT,
    FOREGROUND,
    TOP_LEFT,
    Float32,
    IntArray,
    PromptArrays,
)
from ultrasam.runtimes.backend import Backend


class BoxBackend:
    """Fills a prompt's box, or a disc around its click, in model pixels, without a network."""

    def __init__(self, preprocessor: Preprocessor, tta: TestTimeAugmentation) -> None:
        self.config: ModelConfig = CONFIGS["nano"]
        self.preprocessor = replace(preprocessor, size=self.config.image_size)
        self.tta = tta
        self.encoded = 0

    def encode(self, pixels: Float32) -> Sequence[Float32]:
        assert pixels.dtype == np.float32
        assert pixels.shape[1:] == (3, self.config.image_size, self.config.image_size)
        self.encoded += len(pixels)
        return list(pixels)

    def decode(
        self,
        embeddings: Sequence[Float32],
        prompts: PromptArrays,
        image_index: IntArray,
        *,
        multimask: bool,
    ) -> tuple[Float32, Float32]:
        assert len(prompts) == len(image_index)
        assert image_index.max() < len(embeddings)
        side = self.config.mask_size
        axis = (np.arange(side) + 0.5) * self.config.image_size / side
        x, y = np.meshgrid(axis, axis)
        out = np.full((len(prompts), 4 if multimask else 1, side, side), -9, np.float32)
        for row, xy, labels in zip(out, prompts.coords, prompts.labels, strict=True):
            if (labels == TOP_LEFT).any():
                (x0, y0), (x1, y1) = xy[labels == TOP_LEFT][0], xy[labels == BOTTOM_RIGHT][0]
                row[:, (x > x0) & (x < x1) & (y > y0) & (y < y1)] = 9
            else:
                cx, cy = xy[labels == FOREGROUND][0]
                row[:, np.hypot(x - cx, y - cy) < 24] = 9
        iou = np.linspace(0.5, 0.9, out.shape[1], dtype=np.float32)
        return out, np.tile(iou, (len(prompts), 1))


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("tta", [TestTimeAugmentation(), TestTimeAugmentation(1.6, True)])
def test_boxes_come_back_where_they_were_whatever_the_views(
    tta: TestTimeAugmentation, resize: str
) -> None:
    backend = BoxBackend(Preprocessor(resize=resize), tta)  # type: ignore[arg-type]
    assert isinstance(backend, Backend)
    predictor = Predictor(backend)
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (300, 420), np.uint8))
    boxes = [(40, 60, 120, 130), (200, 30, 400, 280), (10, 200, 60, 290)]
    found = predictor.predict([Prompt(box=box) for box in boxes])
    assert found.predicted_iou == pytest.approx(0.5)
    for mask, box in zip(found.best, boxes, strict=True):
        x0, y0, x1, y1 = box
        truth = np.zeros((300, 420), bool)
        truth[y0:y1, x0:x1] = True
        # A low-res pixel is six of the scan's: all that a mask without views can lose at its borders.
        assert (mask & truth).sum() / (mask | truth).sum() > (0.95 if tta.zoom else 0.85)
    assert np.abs(found.boxes - np.array(boxes)).max() <= 6
    assert backend.encoded == (1 if not tta.zoom else 2 + 2 * 2)  # the second box fills the frame


def test_a_single_click_selects_one_of_three_masks_and_the_zoomed_view_follows_it() -> None:
    for tta, iou, views in ((TestTimeAugmentation(), 0.9, 1), (TestTimeAugmentation(1.6), 0.5, 2)):
        backend = BoxBackend(Preprocessor(), tta)
        predictor = Predictor(backend)
        predictor.set_image(np.zeros((300, 420), np.uint8))
        found = predictor.predict(Prompt(points=[(200, 150)]))
        assert backend.encoded == views
        # The best of three; of the zoomed view the single mask, since the first one says what is meant.
        assert found.predicted_iou[0, 0] == pytest.approx(iou)
        ys, xs = np.nonzero(found.best[0])
        assert (xs.mean(), ys.mean()) == pytest.approx((200, 150), abs=4)
        three = predictor.predict(Prompt(points=[(200, 150)]), multimask=True)
        assert three.masks.shape == (1, 3, 300, 420)
