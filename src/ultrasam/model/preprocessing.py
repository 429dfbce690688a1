"""Preprocessor: from pixels and prompts to what a network reads. It belongs to the weights and is saved with
them, and is the only code that knows mean, standard deviation, range, resampling, RGB and padding.

Weights of one architecture differ in this: SAM subtracts a mean and pads to a square, MedSAM stretches to a
square and scales to 0–1. Fed in the other's way, either gives masks without any error, and wrong ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ultrasam.errors import ConfigError
from ultrasam.extras import needs
from ultrasam.geometry import ViewTransform
from ultrasam.prompts import (
    BOTTOM_RIGHT,
    NOT_A_POINT,
    TOP_LEFT,
    UNUSED,
    Float32,
    Prompt,
    PromptArrays,
)

PromptType = Literal["point", "box", "mask"]
Resample = Literal["area", "bilinear", "bilinear-antialias", "bicubic-antialias"]
UInt8 = npt.NDArray[np.uint8]
ArrayT = TypeVar("ArrayT")

SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class _Settings:
    """Settings that are saved with weights, as JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        return asdict(cast(Any, self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` gave.

        Raises:
            ConfigError: a key or a value that this version does not know.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"The {cls.__name__} of the model is malformed: {values!r}.")
        unknown = set(values) - {field.name for field in fields(cast(Any, cls))}
        if unknown:
            raise ConfigError(
                f"The {cls.__name__} of the model has unknown keys {sorted(unknown)}; it may come from a "
                "newer UltraSam: update the package."
            )
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        try:
            return cls(**{**values, **lists})
        except TypeError as error:
            raise ConfigError(
                f"The {cls.__name__} of the model is malformed: {dict(values)}."
            ) from error


@dataclass(frozen=True, slots=True)
class Preprocessor(_Settings):
    """How pixels and prompts become a network's input.

    Attributes:
        size: side of the square input in model pixels.
        resize: ``letterbox`` scales the longer side to ``size`` and pads at the bottom and right with zeros,
            after scaling of values; ``stretch`` fills the square.
        resample: ``bilinear`` (OpenCV's, as mmdetection's Resize), ``bilinear-antialias`` (Pillow's, as
            Meta's and transformers' SAM), ``area`` (areas averaged when shrinking, bilinear when enlarging)
            or ``bicubic-antialias`` (a Gaussian, then cubic splines, as scikit-image's ``resize`` of order
            3).
        scale: ``mean-std`` subtracts ``mean`` and divides by ``std``; ``min-max`` maps each image's own range
            to 0–1.
        mean, std: per RGB channel, on 0–255.
        prompt_types: prompts that the weights were trained with.
    """

    size: int = 1024
    resize: Literal["letterbox", "stretch"] = "letterbox"
    resample: Resample = "area"
    scale: Literal["mean-std", "min-max"] = "mean-std"
    mean: tuple[float, float, float] = SAM_MEAN
    std: tuple[float, float, float] = SAM_STD
    prompt_types: tuple[PromptType, ...] = ("point", "box", "mask")

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if (
            self.resample not in _RESAMPLERS
            or self.resize not in ("letterbox", "stretch")
            or self.scale not in ("mean-std", "min-max")
            or not set(self.prompt_types) <= {"point", "box", "mask"}
            or len(self.mean) != 3
            or len(self.std) != 3
            or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers)
            or min(self.std) <= 0
        ):
            raise ConfigError(f"The model's preprocessing is malformed: {asdict(self)}.")

    def view(self, height: int, width: int) -> ViewTransform:
        """The view of a whole scan of ``height`` × ``width`` pixels."""
        return ViewTransform.full(height, width, size=self.size, stretch=self.resize == "stretch")

    def resized(self, pixels: UInt8, view: ViewTransform) -> UInt8:
        """A frame [H, W] or [H, W, 3] to the view in model pixels [h, w] or [h, w, 3], unpadded."""
        return _RESAMPLERS[self.resample](view.crop(pixels), view.resized_shape)

    def image(self, pixels: UInt8, view: ViewTransform) -> Float32:
        """A frame [H, W] or [H, W, 3] uint8 to the network's input [3, S, S]."""
        resized = self.resized(pixels, view)
        rgb = np.repeat(resized[..., None], 3, axis=-1) if resized.ndim == 2 else resized
        out = np.zeros((3, self.size, self.size), np.float32)
        height, width = view.resized_shape
        out[:, :height, :width] = self.normalize(rgb.transpose(2, 0, 1).astype(np.float32))
        return out

    def normalize(self, pixels: ArrayT) -> ArrayT:
        """Values on 0–255 to the network's range, unpadded.

        Args:
            pixels: [..., 3, h, w] float, a NumPy array or a torch tensor on any device.
        """
        x = cast(Any, pixels)
        if self.scale == "min-max":
            flat = x.reshape(*x.shape[:-3], -1)
            low, high = flat.min(-1), flat.max(-1)
            if not isinstance(x, np.ndarray):
                low, high = low.values, high.values
            low, high = (v.reshape(*x.shape[:-3], 1, 1, 1) for v in (low, high))
            return cast(ArrayT, (x - low) / (high - low).clip(1e-8))
        new = np.asarray if isinstance(x, np.ndarray) else x.new_tensor
        mean, std = (new(np.asarray(v, np.float32).reshape(3, 1, 1)) for v in (self.mean, self.std))
        return cast(ArrayT, (x - mean) / std)

    def prompt(
        self, prompt: Prompt, view: ViewTransform, *, mask: Float32 | None, mask_size: int
    ) -> PromptArrays:
        """One prompt in model pixels of a view.

        Args:
            prompt: clicks outside the view are left out; boxes are cut to it. Its own mask is not read.
            mask: logits in the scan's pixels [H, W], or None.
            mask_size: side of the network's mask prompts.
        """
        coords = view.points_to_model(prompt.points)
        inside = ((coords >= 0) & (coords <= view.size)).all(axis=1)
        labels = np.where(inside, prompt.labels, UNUSED)
        if prompt.box is None:
            # SAM appends this token to clicks without a box; ours also to a mask alone, as in training.
            coords = np.concatenate([coords, np.zeros((1, 2))])
            labels = np.append(labels, NOT_A_POINT)
        else:
            corners = view.boxes_to_model(prompt.box).reshape(2, 2)
            coords = np.concatenate([coords, np.clip(corners, 0, view.size)])
            labels = np.concatenate([labels, [TOP_LEFT, BOTTOM_RIGHT]])
        return PromptArrays(
            coords.astype(np.float32)[None],
            labels.astype(np.int64)[None],
            None if mask is None else view.logits_to_model(mask, size=mask_size)[None, None],
        )


@dataclass(frozen=True, slots=True)
class TestTimeAugmentation(_Settings):
    """Further views that a predictor averages; each costs one more run of the image encoder, which only a
    small model can afford at each prompt.

    Attributes:
        zoom: side of a view around a box (half as much again) or around what a lone click found, as a
            multiple of the object's longer side; 0 for none.
        flip: each view is also taken with left and right exchanged.
    """

    __test__ = False  # pytest collects classes by this name

    zoom: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.zoom, int | float) or not 0 <= self.zoom < math.inf:
            raise ConfigError(f"The zoom of test-time augmentation is not a number: {self.zoom!r}.")


def _area(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    shrinking = shape[0] < pixels.shape[0] or shape[1] < pixels.shape[1]
    flag = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, shape[::-1], interpolation=flag), np.uint8)


def _bilinear(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    return np.asarray(cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _bilinear_antialias(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    return np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BILINEAR))


def _bicubic_antialias(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    # The steps of scikit-image's resize(order=3, anti_aliasing=True, preserve_range=True), then a cast.
    with needs("This model's preprocessing", extra="data"):
        from scipy import ndimage

    factors = np.divide(pixels.shape, (*shape, *pixels.shape[2:]))
    smooth = ndimage.gaussian_filter(
        pixels.astype(np.float64), np.maximum(0, (factors - 1) / 2), mode="mirror"
    )
    out = ndimage.zoom(smooth, 1 / factors, order=3, mode="mirror", grid_mode=True)
    return cast(UInt8, np.clip(out, pixels.min(), pixels.max()).astype(np.uint8))


_RESAMPLERS = {
    "area": _area,
    "bilinear": _bilinear,
    "bilinear-antialias": _bilinear_antialias,
    "bicubic-antialias": _bicubic_antialias,
}
