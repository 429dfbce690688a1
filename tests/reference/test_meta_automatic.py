"""SamAutomaticMaskGenerator against segment-anything's own, on the same network; needs that package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import TINY, randomized
from ultrasam.compat import Sam, SamAutomaticMaskGenerator, SamPredictor

meta = pytest.importorskip(
    "segment_anything.automatic_mask_generator", reason="segment-anything is not here"
)


@pytest.mark.parametrize(
    "options",
    [
        {"points_per_side": 4},
        {"points_per_side": 4, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
        {"points_per_side": 3, "min_mask_region_area": 40},
        {"points_per_side": 3, "output_mode": "uncompressed_rle"},
    ],
    ids=["plain", "crops", "small parts", "rle"],
)
def test_masks_are_those_of_segment_anything(options: dict[str, Any]) -> None:
    sam = Sam(randomized(TINY)).eval()
    image = np.random.default_rng(0).integers(0, 255, (128, 100, 3), np.uint8)
    loose = {
        "pred_iou_thresh": 0,
        "stability_score_thresh": 0,
        "box_nms_thresh": 1.0,
        "crop_nms_thresh": 1.0,
    }
    ours = SamAutomaticMaskGenerator(sam, **loose, **options).generate(image)
    theirs = meta.SamAutomaticMaskGenerator(sam, **loose, **options)
    theirs.predictor = SamPredictor(sam)  # the same network and resizing; the rest is Meta's
    with torch.no_grad():
        expected = theirs.generate(image)
    assert len(ours) == len(expected) > 1
    for one, other in zip(ours, expected, strict=True):
        assert set(one) == set(other)
        assert np.array_equal(one["segmentation"], other["segmentation"])
        for key in ("area", "bbox", "crop_box"):
            assert one[key] == other[key], key
        for key in ("predicted_iou", "point_coords", "stability_score"):
            assert np.allclose(one[key], other[key], atol=1e-6), key
