"""`segment_everything`: all regions of a frame, without a prompt."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ConfigError
from ultrasam.images.masks import BoolMask, bounding_box, fill_holes, largest_component
from ultrasam.images.rle import decode, encode
from ultrasam.inference.mask_proposals import non_maximum, point_grid
from ultrasam.inference.postprocessing import scanned_area
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike, one_frame
from ultrasam.prompts import Float32, Prompt

_BATCH = 32  # points; the masks of a batch are in memory at once
_LARGEST = 0.8  # of the scanned sector; a region that fills it all is none
_INSIDE = 0.9  # of a region that lies in another


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The regions of a frame, best first.

    Attributes:
        masks: [N, H, W] bool, each one piece without holes.
        predicted_iou: [N] float32, the model's estimate.
        stability_score: [N] float32; see `Prediction`.
        points: [N, 2] float64, the (x, y) that each was found from.
        parents: [N] int64, the smallest region that a region lies in; -1 for none.
    """

    masks: BoolMask
    predicted_iou: Float32
    stability_score: Float32
    points: npt.NDArray[np.float64]
    parents: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True, slots=True)
class _Proposal:
    counts: str
    box: npt.NDArray[np.float64]
    predicted_iou: float
    stability: float
    point: tuple[float, float]


def segment_everything(
    scan: ScanLike,
    *,
    frame: int | None = None,
    model: str | os.PathLike[str] | Predictor = "nano",
    points_per_side: int = 24,
    min_predicted_iou: float = 0.4,
    min_stability: float = 0.5,
    max_overlap: float = 0.7,
    min_area: int = 64,
    nested: bool = True,
    device: str | None = None,
    precision: str | None = None,
) -> Regions:
    """Segment all regions of a frame: each point of a grid in the scanned sector is taken for a click.

    As in Kirillov et al. 2023, section 4 and B: three masks for each point, of which those with a high
    predicted IoU and stability stay, and of those that overlap the best. The grid spans the sector's box;
    test-time augmentation is off.

    Args:
        scan: a path, a `Scan`, or an array [H, W] or [H, W, 3].
        frame: index of the frame in a cine or volume; None is frame 0, with an `UltraSamWarning` if there are
            others.
        model: a name or path with options, as in `Predictor`, or a `Predictor`, which keeps its own settings.
        points_per_side: of the grid.
        min_predicted_iou, min_stability: the least of a region. The defaults suit nano, whose borders are
            soft (docs/automatic.md has the measurement); Meta's code takes 0.88 and 0.95 for SAM's weights.
        max_overlap: IoU of boxes above which the worse of two regions is left out.
        min_area: the least of a region, in pixels.
        nested: regions may lie in one another. False: a pixel belongs to one region, the best.
        device, precision: as in `ultrasam.load`.

    Raises:
        ConfigError: An option is invalid, or the model takes no clicks.
        ScanError: The scan cannot be read, or has no such frame.
        CheckpointError, DeviceError: The model cannot be loaded.
    """
    if points_per_side < 1:
        raise ConfigError(f"points_per_side is {points_per_side}; give at least 1.")
    pixels = one_frame(scan, frame)
    if isinstance(model, Predictor):
        predictor = model
    else:
        predictor = Predictor(model, tta=False, device=device, precision=precision)
    if "point" not in predictor.accepts:
        raise ConfigError(
            "Automatic masks need a model that takes clicks; this one takes boxes only."
        )
    sector = scanned_area(pixels)
    if sector is None:
        sector = np.ones(pixels.shape[:2], bool)
    predictor.set_image(pixels)
    proposals: list[_Proposal] = []
    points = _points_in(sector, points_per_side)
    for start in range(0, len(points), _BATCH):
        some = points[start : start + _BATCH]
        prediction = predictor.predict([Prompt(points=[p]) for p in some], multimask=True)
        for row, point in enumerate(some):
            for column in range(prediction.masks.shape[1]):
                scores = (
                    float(prediction.predicted_iou[row, column]),
                    float(prediction.stability_score[row, column]),
                )
                if scores[0] < min_predicted_iou or scores[1] < min_stability:
                    continue
                mask = fill_holes(largest_component(prediction.masks[row, column] & sector))
                if not min_area <= mask.sum() <= _LARGEST * sector.sum():
                    continue
                place = float(point[0]), float(point[1])
                proposals.append(_Proposal(encode(mask), bounding_box(mask), *scores, place))
    boxes = [one.box for one in proposals]
    kept = non_maximum(boxes, [one.predicted_iou for one in proposals], max_overlap)
    found = [proposals[index] for index in kept]
    masks = [decode(one.counts, sector.shape) for one in found]
    if not nested:
        found, masks = _apart(found, masks, min_area)
    return Regions(
        np.stack(masks) if masks else np.zeros((0, *sector.shape), bool),
        np.array([one.predicted_iou for one in found], np.float32),
        np.array([one.stability for one in found], np.float32),
        np.array([one.point for one in found], np.float64).reshape(-1, 2),
        _parents(masks),
    )


def _points_in(sector: BoolMask, points_per_side: int) -> npt.NDArray[np.float64]:
    """The points of a grid over the sector's box that lie in it, [N, 2]."""
    x0, y0, x1, y1 = bounding_box(sector)
    points = point_grid(points_per_side) * (x1 - x0, y1 - y0) + (x0, y0)
    x, y = points.astype(int).T
    return np.asarray(points[sector[y, x]])


def _apart(
    found: list[_Proposal], masks: list[BoolMask], min_area: int
) -> tuple[list[_Proposal], list[BoolMask]]:
    """Regions of which each pixel has one: the best that has it."""
    kept, parts = [], []
    taken = np.zeros(masks[0].shape, bool) if masks else None
    for one, mask in zip(found, masks, strict=True):
        assert taken is not None
        free = mask & ~taken
        # What is left of a region that is mostly another's is no region of its own.
        if free.sum() < max(min_area, mask.sum() / 2):
            continue
        part = largest_component(free)
        taken |= part
        kept.append(one)
        parts.append(part)
    return kept, parts


def _parents(masks: list[BoolMask]) -> npt.NDArray[np.int64]:
    areas = [int(mask.sum()) for mask in masks]
    parents = np.full(len(masks), -1, np.int64)
    for index, mask in enumerate(masks):
        x0, y0, x1, y1 = bounding_box(mask).astype(int)
        inside = mask[y0:y1, x0:x1]
        holders = [
            other
            for other, holder in enumerate(masks)
            if areas[other] > areas[index]
            and (inside & holder[y0:y1, x0:x1]).sum() >= _INSIDE * areas[index]
        ]
        if holders:
            parents[index] = min(holders, key=lambda other: areas[other])
    return parents
