"""Check what segment-anything's interface is given.

Segment-anything itself accepts points in another order, images in another range and masks of another kind,
and returns wrong masks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultrasam.errors import PromptError, UltraSamWarning
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.prompts import BACKGROUND, FOREGROUND, NOT_A_POINT

_LABELS = (BACKGROUND, FOREGROUND, NOT_A_POINT)


def to_tensor(values: Any, name: str) -> Tensor:
    """Convert an array, a list or a tensor of numbers to a tensor.

    Raises:
        PromptError: They are not numbers, or the lists are of different lengths.
    """
    if isinstance(values, Tensor):
        return values
    try:
        return torch.from_numpy(np.array(values, order="C"))
    except (TypeError, ValueError) as error:
        raise PromptError(
            f"{name} must be an array of numbers, not {str(values)[:60]!r}."
        ) from error


def paired(coords: Any, labels: Any) -> tuple[Any, Any] | None:
    """Points and labels as the prompt encoder takes them; None if there are none.

    Raises:
        PromptError: There are labels without points.
    """
    if coords is None and labels is not None:
        raise PromptError("point_labels requires point_coords.")
    return None if coords is None else (coords, labels)


def validate_points(coords: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Convert points [N, K, 2] to float and labels [N, K] to long.

    Raises:
        PromptError: A shape is wrong, a coordinate is not finite, or a label is unknown.
    """
    if labels is None:
        raise PromptError("point_coords requires point_labels.")
    coords = to_tensor(coords, "point_coords").float().cpu()
    labels = to_tensor(labels, "point_labels").float().cpu()
    if coords.ndim != 3 or coords.shape[2] != 2:
        raise PromptError(f"point_coords has the shape {list(coords.shape)}; give [N, K, 2].")
    if labels.shape != coords.shape[:2]:
        raise PromptError(
            f"point_labels has the shape {list(labels.shape)} and point_coords {list(coords.shape)}; give "
            "one label per point."
        )
    if not bool(torch.isfinite(coords).all()):
        raise PromptError("point_coords must be finite numbers.")
    if not bool(torch.isin(labels, torch.tensor(_LABELS, dtype=labels.dtype)).all()):
        raise PromptError(
            f"point_labels must be 1 (foreground), 0 (background) or -1 (no point), not {labels.tolist()}."
        )
    return coords, labels.long()


def validate_boxes(boxes: Any) -> Tensor:
    """Convert boxes [N, 4] or [N, 1, 4] to corners [N, 2, 2].

    Raises:
        PromptError: The shape is wrong, a number is not finite, a corner is out of order, or a box is empty.
    """
    boxes = to_tensor(boxes, "boxes").float().cpu()
    if boxes.ndim == 3 and boxes.shape[1] == 1:
        boxes = boxes[:, 0]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise PromptError(f"boxes has the shape {list(boxes.shape)}; give [N, 4].")
    if not bool(torch.isfinite(boxes).all()):
        raise PromptError("The box must have finite numbers.")
    corners: Tensor = boxes.reshape(-1, 2, 2)
    wrong = (corners[:, 0] >= corners[:, 1]).any(dim=1)
    if bool(wrong.any()):
        raise PromptError(
            f"The box {boxes[wrong][0].tolist()} is invalid; give x0, y0, x1, y1 with x0 < x1 and y0 < y1."
        )
    return corners


def validate_masks(masks: Any, size: int) -> Tensor:
    """Convert mask prompts [N, 1, S, S] to float logits.

    Raises:
        PromptError: The shape is wrong, a number is not finite, or the masks are binary or probabilities
            instead of logits. (Other code cannot tell, and takes such a mask for a faint object everywhere.)
    """
    masks = to_tensor(masks, "mask_input")
    if masks.ndim != 4 or tuple(masks.shape[1:]) != (1, size, size):
        shape = list(masks.shape[1:] if len(masks) == 1 else masks.shape)
        raise PromptError(
            f"mask_input has the shape {shape}; give low-res logits [1, {size}, {size}]."
        )
    integers = not masks.is_floating_point()
    logits: Tensor = masks.float()
    if not bool(torch.isfinite(logits).all()):
        raise PromptError("mask_input must be finite numbers.")
    if not logits.numel():
        return logits
    low, high = float(logits.min()), float(logits.max())
    # Logits may be positive everywhere, as the answer to a vague prompt; all zeros say nothing.
    if low >= 0 and (integers or (high > 0 and (low == 0 or high <= 1))):
        raise PromptError(
            f"mask_input has values from {low:g} to {high:g}; give logits as predict returns them, negative "
            "outside the object (for a mask m of 0 and 1: 16 * m - 8)."
        )
    return logits


def check_inside(
    points: tuple[Any, Any] | None, boxes: Any | None, size: tuple[int, int], masks: Any | None
) -> None:
    """Reject prompts outside the resized image, and prompts of background points only.

    Args:
        points, boxes: as for the prompt encoder, in the model's pixel indices.
        size: the resized image's (h, w).

    Raises:
        PromptError: Such a prompt is given, or one is invalid.
    """
    height, width = size
    image = f"the resized image of {width} × {height} pixels"
    if points is not None:
        coords, labels = validate_points(*points)
        # Indices of the outermost pixels' outer edges, and a pixel for rounding.
        outside = ((coords < -1.5) | (coords > torch.tensor([width, height]) + 0.5)).any(dim=2)
        outside &= labels != NOT_A_POINT
        if bool(outside.any()):
            x, y = coords[outside][0].tolist()
            raise PromptError(
                f"The point {x:g},{y:g} is outside {image}; convert points by transform.apply_coords."
            )
        if boxes is None and masks is None and not bool((labels == FOREGROUND).any(dim=1).all()):
            raise PromptError(
                "The prompt has no foreground point, so nothing says where the object is; add one, a box or "
                "mask_input."
            )
    if boxes is not None:
        corners = validate_boxes(boxes)
        missed = (corners[:, 1] < 0).any(dim=1) | (
            corners[:, 0] > torch.tensor([width, height]) - 0.5
        ).any(dim=1)
        if bool(missed.any()):
            box = ",".join(f"{v:g}" for v in corners[missed][0].flatten().tolist())
            raise PromptError(
                f"The box {box} is outside {image}; convert boxes by transform.apply_boxes."
            )


def validate_pixels(image: Any, preprocessor: Preprocessor) -> Tensor:
    """Check pixels [..., 3, h, w] in 0–255 that were resized for the model; warns if they are in 0–1.

    Raises:
        PromptError: The shape is wrong, or a number is not finite.
    """
    pixels = to_tensor(image, "image")
    size = preprocessor.size
    shape = list(pixels.shape)
    if len(shape) < 3 or shape[-3] != 3 or not 0 < max(shape[-2:]) <= size or not min(shape[-2:]):
        raise PromptError(
            f"An image has the shape {shape}; give [3, h, w] with a longer side of {size}, as "
            "transform.apply_image resizes it (then permute [h, w, 3] to [3, h, w])."
        )
    floating = pixels.is_floating_point()
    pixels = pixels.float()
    if not bool(torch.isfinite(pixels).all()):
        raise PromptError("An image must have finite values.")
    if floating and preprocessor.scale == "mean-std" and _in_0_1(pixels):
        warnings.warn(
            "The image's values are in 0–1, which is almost black; give values in 0–255.",
            UltraSamWarning,
            stacklevel=3,
        )
    return pixels


def check_encoder_input(x: Tensor, preprocessor: Preprocessor) -> None:
    """Warn if the image encoder's input is in another range than its weights were trained with."""
    if preprocessor.scale == "min-max":
        if x.numel() and (float(x.min()) < -0.01 or float(x.max()) > 1.01):
            warnings.warn(
                "image_encoder's input is outside 0–1, but these weights expect each image scaled to 0–1, as "
                "preprocess does.",
                UltraSamWarning,
                stacklevel=3,
            )
        return
    brightest = max((255 - m) / s for m, s in zip(preprocessor.mean, preprocessor.std, strict=True))
    if brightest > 1.5 and _in_0_1(x):
        warnings.warn(
            "image_encoder's input is in 0–1, as for MedSAM, but these weights expect values normalized by a "
            "mean and a standard deviation; call preprocess on values in 0–255, or load MedSAM's weights as "
            "'PATH+preprocessing=medsam'.",
            UltraSamWarning,
            stacklevel=3,
        )


def height_and_width(original_size: Sequence[int]) -> tuple[int, int]:
    """Convert an original size to two integers.

    Raises:
        PromptError: It is not two positive integers.
    """
    try:
        height, width = (int(v) for v in original_size)
    except (TypeError, ValueError) as error:
        raise PromptError(f"The original size must be (H, W), not {original_size!r}.") from error
    if min(height, width) < 1:
        raise PromptError(f"The original size must be positive, not {height} × {width}.")
    return height, width


def validate_size(
    original_size: Sequence[int], resized: tuple[int, int], preprocessor: Preprocessor
) -> tuple[int, int]:
    """Check the original image's (H, W) against the resized image's (h, w).

    Raises:
        PromptError: It is not two positive integers, or its order is (W, H).
    """
    height, width = height_and_width(original_size)
    swapped = _same_aspect(resized, (width, height)) and not _same_aspect(resized, (height, width))
    if preprocessor.resize == "letterbox" and swapped:
        raise PromptError(
            f"The original size {height} × {width} has another aspect ratio than the image of {resized[0]} × "
            f"{resized[1]}; give (H, W), not (W, H)."
        )
    return height, width


def score_empty(masks: Tensor, iou: Tensor) -> Tensor:
    """Predicted IoU [N, M], set to 0 where the mask [N, M, H, W] is empty.

    Warns if a prompt has only empty masks.
    """
    found = masks.flatten(2).any(dim=2)
    empty = int((~found.any(dim=1)).sum())
    if empty:
        what = "The mask is" if len(masks) == 1 else f"{empty} of {len(masks)} masks are"
        warnings.warn(
            f"{what} empty: the model found no object for the prompt; the score is 0.",
            UltraSamWarning,
            stacklevel=3,
        )
    return iou * found


def _same_aspect(resized: tuple[int, int], original: tuple[int, int]) -> bool:
    """Whether two sizes agree, except for rounding of the resized one."""
    (h, w), (height, width) = resized, original
    return abs(h * width - w * height) <= max(height, width)


def _in_0_1(x: Tensor) -> bool:
    return bool(x.numel()) and float(x.min()) >= 0 and 0 < float(x.max()) <= 1
