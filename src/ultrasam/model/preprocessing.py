"""Preprocessor: converts pixels and prompts to a network's input. It is saved with the weights.

Models of the same architecture differ here: SAM subtracts a mean and pads to a square, MedSAM stretches to a
square and scales to 0–1. The wrong preprocessing raises no error but gives wrong masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

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
from ultrasam.resampling import resize_area, resize_linear

PromptType = Literal["point", "box", "mask"]
Resample = Literal["area", "bilinear", "bilinear-antialias", "bicubic-antialias"]
UInt8 = npt.NDArray[np.uint8]
ArrayT = TypeVar("ArrayT")

SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class SavedSettings:
    """Settings that are saved with the weights as JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, ready for JSON."""
        return asdict(cast(Any, self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the output of ``to_dict``.

        Raises:
            ConfigError: A key or a value is unknown.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"The model's {cls.__name__} is malformed: {values!r}.")
        unknown = set(values) - {field.name for field in fields(cast(Any, cls))}
        if unknown:
            raise ConfigError(
                f"The model's {cls.__name__} has unknown keys {sorted(unknown)}; it may come from a newer "
                "UltraSam, so update the package."
            )
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        try:
            return cls(**{**values, **lists})
        except TypeError as error:
            raise ConfigError(
                f"The model's {cls.__name__} is malformed: {dict(values)}."
            ) from error


@dataclass(frozen=True, slots=True)
class Preprocessor(SavedSettings):
    """How pixels and prompts become a network's input.

    Attributes:
        size: side of the square input in model pixels.
        resize: ``letterbox`` scales the longer side to ``size`` and pads the bottom and right with zeros
            after normalization; ``stretch`` fills the square.
        resample: ``bilinear`` (OpenCV's, as in mmdetection's Resize), ``bilinear-antialias`` (Pillow's, as in
            Meta's and transformers' SAM), ``area`` (area averages when shrinking, bilinear when enlarging) or
            ``bicubic-antialias`` (a Gaussian, then cubic splines, as in scikit-image's ``resize`` of order
            3).
        scale: ``mean-std`` subtracts ``mean`` and divides by ``std``; ``min-max`` maps each image's range to
            0–1.
        mean, std: per RGB channel, for values in 0–255.
        channels: what a color image becomes first: ``rgb`` leaves it as it is; ``gray`` is its luminance in
            all three channels, for weights that were trained on gray images only. The caller converts it.
        prompt_types: the prompt types that the weights were trained with.

    Raises:
        ConfigError: A value is invalid.
    """

    size: int = 1024
    resize: Literal["letterbox", "stretch"] = "letterbox"
    resample: Resample = "area"
    scale: Literal["mean-std", "min-max"] = "mean-std"
    mean: tuple[float, float, float] = SAM_MEAN
    std: tuple[float, float, float] = SAM_STD
    channels: Literal["rgb", "gray"] = "rgb"
    prompt_types: tuple[PromptType, ...] = ("point", "box", "mask")

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if (
            self.resample not in _RESAMPLERS
            or self.resize not in ("letterbox", "stretch")
            or self.scale not in ("mean-std", "min-max")
            or self.channels not in ("rgb", "gray")
            or not set(self.prompt_types) <= {"point", "box", "mask"}
            or len(self.mean) != 3
            or len(self.std) != 3
            or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers)
            or min(self.std) <= 0
        ):
            raise ConfigError(f"The model's preprocessing is malformed: {asdict(self)}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the output of ``to_dict``, also of earlier versions, which did not write ``channels``.

        Raises:
            ConfigError: A key or a value is unknown.
        """
        found = super(Preprocessor, cls).from_dict(values)
        if "channels" not in values and found.resample == "area":
            # Only our own training resamples so, and it has always been on gray images.
            found = replace(found, channels="gray")
        return found

    def view(self, height: int, width: int) -> ViewTransform:
        """The view of a whole scan of ``height`` × ``width`` pixels."""
        return ViewTransform.full(height, width, size=self.size, stretch=self.resize == "stretch")

    def resized(self, pixels: UInt8, view: ViewTransform) -> UInt8:
        """Resize the view of a frame [H, W] or [H, W, 3] to model pixels [h, w] or [h, w, 3], without
        padding."""
        return _RESAMPLERS[self.resample](view.crop(pixels), view.resized_shape)

    def image(self, pixels: UInt8, view: ViewTransform) -> Float32:
        """Convert the view of a frame [H, W] or [H, W, 3] uint8 to the network's input [3, S, S]."""
        resized = self.resized(pixels, view)
        rgb = np.repeat(resized[..., None], 3, axis=-1) if resized.ndim == 2 else resized
        out = np.zeros((3, self.size, self.size), np.float32)
        height, width = view.resized_shape
        out[:, :height, :width] = self.normalize(rgb.transpose(2, 0, 1).astype(np.float32))
        return out

    def normalize(self, pixels: ArrayT) -> ArrayT:
        """Scale values in 0–255 to the network's range.

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
        """Convert one prompt to model pixels of a view.

        Args:
            prompt: clicks outside the view are dropped and boxes are clipped to it; its mask is ignored.
            mask: logits in the scan's pixels [H, W], or None.
            mask_size: side of the network's mask prompts.
        """
        coords = view.points_to_model(prompt.points)
        inside = ((coords >= 0) & (coords <= view.size)).all(axis=1)
        labels = np.where(inside, prompt.labels, UNUSED)
        if prompt.box is None:
            # SAM appends this token to clicks without a box; we also append it to a mask without clicks.
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
class TestTimeAugmentation(SavedSettings):
    """Additional views that a predictor averages. Each view runs the image encoder once more.

    Attributes:
        zoom: side of the zoomed view around the mask of a single click, as a multiple of the object's longer
            side; a box's view is 1.5 times as large. 0 disables zooming.
        flip: also use the mirror image of each view.

    Raises:
        ConfigError: ``zoom`` is not a finite number of at least 0.
    """

    __test__ = False  # keeps pytest from collecting this class

    zoom: float = 0.0
    flip: bool = False

    BOX_MARGIN: ClassVar[float] = (
        1.5  # a box's view is larger than a click's: the size is known, context helps
    )
    MIN_GAIN: ClassVar[float] = (
        1.15  # minimum magnification for which a zoomed view is worth its cost
    )
    MAX_LOGIT: ClassVar[float] = (
        10.0  # views are clipped so before averaging, so that none can dominate
    )

    def rules(self) -> dict[str, float]:
        """The constants that views and their averages follow, for those who run the network elsewhere."""
        return {
            "box_margin": self.BOX_MARGIN,
            "min_gain": self.MIN_GAIN,
            "max_logit": self.MAX_LOGIT,
        }

    def __post_init__(self) -> None:
        if not isinstance(self.zoom, int | float) or not 0 <= self.zoom < math.inf:
            raise ConfigError(
                f"The zoom of test-time augmentation must be a number of at least 0, not {self.zoom!r}."
            )


def _area(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    shrinking = shape[0] < pixels.shape[0] or shape[1] < pixels.shape[1]
    return (resize_area if shrinking else resize_linear)(pixels, shape)


def _bilinear_antialias(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    return np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BILINEAR))


def _bicubic_antialias(pixels: UInt8, shape: tuple[int, int]) -> UInt8:
    # Same as scikit-image's resize(order=3, anti_aliasing=True, preserve_range=True), then a cast.
    with needs("This model's preprocessing", extra="data"):
        from scipy import ndimage

    factors = np.divide(pixels.shape, (*shape, *pixels.shape[2:]))
    smooth = ndimage.gaussian_filter(
        pixels.astype(np.float64), np.maximum(0, (factors - 1) / 2), mode="mirror"
    )
    out = ndimage.zoom(smooth, 1 / factors, order=3, mode="mirror", grid_mode=True)
    return cast(UInt8, np.clip(out, pixels.min(), pixels.max()).astype(np.uint8))


_RESAMPLERS: dict[str, Callable[[UInt8, tuple[int, int]], UInt8]] = {
    "area": _area,
    "bilinear": resize_linear,
    "bilinear-antialias": _bilinear_antialias,
    "bicubic-antialias": _bicubic_antialias,
}
