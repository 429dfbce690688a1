"""segment-anything's ``SamAutomaticMaskGenerator``: all masks of an image, from a grid of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ultrasam.compat.predictor import SamPredictor
from ultrasam.compat.sam import Sam
from ultrasam.errors import ConfigError, PromptError
from ultrasam.images.masks import BoolMask, bounding_box, encode_rle
from ultrasam.inference.mask_proposals import non_maximum, point_grid, without_small_parts
from ultrasam.model.ultrasam import UltraSam

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
_NEAR_EDGE = 20.0  # pixels; masks of a crop that end so near to its edge may go on behind it
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """One mask: [H, W] in the image; box as x0, y0, x1, y1 of its first and last pixels."""

    mask: BoolMask
    box: Box
    predicted_iou: float
    stability: float
    point: tuple[float, float]
    crop: Box


class SamAutomaticMaskGenerator:
    """segment-anything's ``SamAutomaticMaskGenerator`` for our models, with its arguments and results.

    The thresholds are Meta's, for SAM's weights; `ultrasam.segment_everything` has some for ours.

    Args:
        model: of ``sam_model_registry``.
        points_per_side: of the grid; the number of points is its square.
        points_per_batch: points that are decoded at once.
        pred_iou_thresh: masks with a predicted IoU of this or less are left out.
        stability_score_thresh: so are masks of a lower stability score.
        stability_score_offset: by which the threshold of the logits is shifted for that score.
        box_nms_thresh: IoU of boxes above which the mask of the lower predicted IoU is left out.
        crop_n_layers: layers of crops that are segmented, too; layer i has (2^i)² crops.
        crop_nms_thresh: as ``box_nms_thresh``, between crops; smaller crops win.
        crop_overlap_ratio: by how much crops overlap, as a fraction of the image's shorter side.
        crop_n_points_downscale_factor: the grid of layer i has fewer points per side by its i-th power.
        point_grids: instead of ``points_per_side``: a grid for each layer, [N, 2] in 0–1.
        min_mask_region_area: holes and pieces of fewer pixels are removed.
        output_mode: form of the masks.

    Raises:
        ConfigError: An option is invalid.
    """

    def __init__(
        self,
        model: Sam | UltraSam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[npt.NDArray[Any]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise ConfigError("Give points_per_side or point_grids, one of them.")
        if output_mode not in ("binary_mask", "uncompressed_rle", "coco_rle"):
            raise ConfigError(
                f"output_mode is binary_mask, uncompressed_rle or coco_rle, not '{output_mode}'."
            )
        if points_per_side is not None:
            sides = [
                int(points_per_side / crop_n_points_downscale_factor**layer)
                for layer in range(crop_n_layers + 1)
            ]
            if min(sides) < 1:
                raise ConfigError("Layers of crops without a point; use more points_per_side.")
            self.point_grids = [point_grid(side) for side in sides]
        else:
            self.point_grids = [np.asarray(grid, np.float64) for grid in point_grids or ()]
            if len(self.point_grids) <= crop_n_layers:
                raise ConfigError(
                    f"point_grids needs {crop_n_layers + 1} grids, one for each layer."
                )
        self.predictor = SamPredictor(model)
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode

    @torch.no_grad()
    def generate(self, image: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
        """All masks of an image [H, W, 3] uint8 RGB.

        Returns:
            Of each mask: ``segmentation`` (as ``output_mode`` says), ``area`` in pixels, ``bbox`` (x, y,
            width, height, from the first pixel to the last), ``predicted_iou``, ``point_coords`` [[x, y]],
            ``stability_score`` and ``crop_box`` (x, y, width, height).

        Raises:
            PromptError: The image has another form.
        """
        if np.ndim(image) != 3:
            raise PromptError(f"The image has the shape {np.shape(image)}; give [H, W, 3].")
        height, width = image.shape[:2]
        crops = crop_boxes((height, width), self.crop_n_layers, self.crop_overlap_ratio)
        found = [one for box, layer in crops for one in self._of_crop(image, box, layer)]
        if len(crops) > 1:
            scores = [1 / _area(one.crop) for one in found]
            kept = non_maximum([one.box for one in found], scores, self.crop_nms_thresh)
            found = [found[index] for index in kept]
        if self.min_mask_region_area > 0:
            found = self._without_small_parts(found)
        return [self._as_result(one) for one in found]

    def _of_crop(self, image: npt.NDArray[np.uint8], crop: Box, layer: int) -> list[_Found]:
        x0, y0, x1, y1 = crop
        self.predictor.set_image(np.ascontiguousarray(image[y0:y1, x0:x1]))
        points = self.point_grids[layer] * (x1 - x0, y1 - y0)
        found: list[_Found] = []
        for start in range(0, len(points), self.points_per_batch):
            some = points[start : start + self.points_per_batch]
            found += self._of_points(some, crop, image.shape[:2])
        self.predictor.reset_image()
        scores = [one.predicted_iou for one in found]
        kept = non_maximum([one.box for one in found], scores, self.box_nms_thresh)
        return [found[index] for index in kept]

    def _of_points(
        self, points: npt.NDArray[np.float64], crop: Box, shape: tuple[int, ...]
    ) -> list[_Found]:
        moved = self.predictor.transform.apply_coords(points, self.predictor.original_size)
        logits, scores, _ = self.predictor.predict_torch(
            torch.as_tensor(moved, device=self.predictor.device)[:, None],
            torch.ones(len(points), 1, dtype=torch.int64, device=self.predictor.device),
            multimask_output=True,
            return_logits=True,
        )
        threshold, offset = self.predictor.model.mask_threshold, self.stability_score_offset
        x0, y0, x1, y1 = crop
        found = []
        for point, of_point, ious in zip(points, logits, scores, strict=True):
            for mask, iou in zip(of_point, ious.tolist(), strict=True):
                if self.pred_iou_thresh > 0 and iou <= self.pred_iou_thresh:
                    continue
                inner = int((mask > threshold + offset).sum())
                outer = int((mask > threshold - offset).sum())
                stability = inner / outer if outer else math.nan
                if self.stability_score_thresh > 0 and not stability >= self.stability_score_thresh:
                    continue
                part = (mask > threshold).cpu().numpy()
                box = _pixels_box(part)
                if _is_cut(box, crop, shape):
                    continue
                whole = np.zeros(shape[:2], bool)
                whole[y0:y1, x0:x1] = part
                moved_box = (box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0)
                place = float(point[0]) + x0, float(point[1]) + y0
                found.append(_Found(whole, moved_box, iou, stability, place, crop))
        return found

    def _without_small_parts(self, found: list[_Found]) -> list[_Found]:
        cleaned, unchanged = [], []
        for one in found:
            mask = without_small_parts(one.mask, self.min_mask_region_area, holes=True)
            mask = without_small_parts(mask, self.min_mask_region_area, holes=False)
            same = np.array_equal(mask, one.mask)
            unchanged.append(float(same))
            cleaned.append(
                _Found(
                    mask, _pixels_box(mask), one.predicted_iou, one.stability, one.point, one.crop
                )
            )
        limit = max(self.box_nms_thresh, self.crop_nms_thresh)
        kept = non_maximum([one.box for one in cleaned], unchanged, limit)
        return [cleaned[index] for index in kept]

    def _as_result(self, one: _Found) -> dict[str, Any]:
        segmentation: Any = one.mask
        if self.output_mode == "coco_rle":
            segmentation = encode_rle(one.mask)
        elif self.output_mode == "uncompressed_rle":
            segmentation = _uncompressed(one.mask)
        return {
            "segmentation": segmentation,
            "area": int(one.mask.sum()),
            "bbox": _as_xywh(one.box),
            "predicted_iou": one.predicted_iou,
            "point_coords": [list(one.point)],
            "stability_score": one.stability,
            "crop_box": _as_xywh(one.crop),
        }


def crop_boxes(shape: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """The image, and in each layer twice as many overlapping crops along each side; with the layer."""
    height, width = shape
    found: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / count))
        wide, high = (math.ceil((overlap * (count - 1) + side) / count) for side in (width, height))
        lefts = [(wide - overlap) * i for i in range(count)]
        tops = [(high - overlap) * i for i in range(count)]
        for x0, y0 in product(lefts, tops):
            found.append(((x0, y0, min(x0 + wide, width), min(y0 + high, height)), layer))
    return found


def _pixels_box(mask: BoolMask) -> Box:
    """The first and last columns and rows, as in segment-anything: x1 and y1 are those of the last pixels."""
    x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
    return (x0, y0, x1 - 1, y1 - 1) if x1 else (0, 0, 0, 0)


def _is_cut(box: Box, crop: Box, shape: tuple[int, ...]) -> bool:
    """Whether a box in a crop ends at one of the crop's edges that is not the image's."""
    whole = (0, 0, shape[1], shape[0])
    moved = (box[0] + crop[0], box[1] + crop[1], box[2] + crop[0], box[3] + crop[1])
    return any(
        abs(side - edge) <= _NEAR_EDGE and not abs(side - limit) <= _NEAR_EDGE
        for side, edge, limit in zip(moved, crop, whole, strict=True)
    )


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _as_xywh(box: Box) -> list[int]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _uncompressed(mask: BoolMask) -> dict[str, Any]:
    """Run lengths down the columns, the first of pixels outside."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(ends).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
