"""segment-anything's ``SamPredictor``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultrasam.compat.checks import (
    paired,
    score_empty,
    to_tensor,
    validate_boxes,
    validate_points,
    validate_size,
)
from ultrasam.compat.parts import ResizeLongestSide
from ultrasam.compat.sam import Sam
from ultrasam.errors import ConfigError, PromptError, UltraSamWarning
from ultrasam.images.scan import Scan
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import NOT_A_POINT, Prompt

FloatArray = npt.NDArray[np.float32]


class SamPredictor:
    """segment-anything's ``SamPredictor`` for our models, without test-time augmentation.

    Raises:
        ConfigError: ``sam_model`` is not a model.
    """

    def __init__(self, sam_model: Sam | UltraSam) -> None:
        if not isinstance(sam_model, Sam | UltraSam):
            raise ConfigError(
                f"SamPredictor takes a model from sam_model_registry, not {type(sam_model).__name__}."
            )
        self.model = sam_model if isinstance(sam_model, Sam) else Sam(sam_model)
        self.transform = ResizeLongestSide(self.model.ultrasam.preprocessor)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        return self.model.device

    def reset_image(self) -> None:
        """Reset the image."""
        self.is_image_set = False
        self.features: Tensor | None = None
        self.original_size: tuple[int, int] = (0, 0)
        self.input_size: tuple[int, int] = (0, 0)

    def set_image(self, image: npt.NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an image [H, W, 3] uint8, RGB or BGR.

        Raises:
            PromptError: ``image_format`` is unknown.
            ScanError: The array is not an image.
        """
        if image_format not in ("RGB", "BGR"):
            raise PromptError(f"image_format must be 'RGB' or 'BGR', not '{image_format}'.")
        pixels = Scan.from_array(image).frame(0)
        if image_format == "BGR" and pixels.ndim == 3:
            pixels = pixels[..., ::-1]
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        resized = self.transform.apply_image(np.ascontiguousarray(pixels))
        tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))[None]
        self.set_torch_image(tensor, (pixels.shape[0], pixels.shape[1]))

    @torch.no_grad()
    def set_torch_image(
        self, transformed_image: Tensor, original_image_size: tuple[int, ...]
    ) -> None:
        """Encode an image [1, 3, h, w] in 0–255, resized by ``transform``.

        Raises:
            PromptError: A shape is wrong, a value is not finite, or the original size has the order (W, H).
        """
        size = self.model.image_encoder.img_size
        preprocessor = self.model.ultrasam.preprocessor
        image = to_tensor(transformed_image, "transformed_image")
        shape = tuple(image.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != size:
            raise PromptError(
                f"set_torch_image takes [1, 3, h, w] with a longer side of {size}, not {list(shape)}; resize "
                "with transform.apply_image first."
            )
        original_size = validate_size(original_image_size, (shape[2], shape[3]), preprocessor)
        pixels = self.model.preprocess(image.to(self.device))
        self.reset_image()
        self.original_size = original_size
        self.input_size = (shape[2], shape[3])
        self.features = self.model.image_encoder(pixels)
        self.is_image_set = True

    def get_image_embedding(self) -> Tensor:
        """The image embedding, [1, C, H, W].

        Raises:
            PromptError: No image is set.
        """
        if self.features is None:
            raise PromptError("No image is set; call set_image before predict.")
        return self.features

    def predict(
        self,
        point_coords: npt.ArrayLike | None = None,
        point_labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: npt.ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[npt.NDArray[Any], FloatArray, FloatArray]:
        """Predict masks for one prompt.

        Args:
            point_coords: [K, 2] pixel indices (x, y).
            point_labels: [K], 1 for foreground, 0 for background.
            box: [4] or [1, 4] as x0, y0, x1, y1.
            mask_input: [1, S, S] low-res logits.
            multimask_output: return three masks, in the decoder's order, instead of one.
            return_logits: return masks as logits instead of bool.

        Returns:
            Masks [M, H, W], predicted IoU [M] and low-res logits [M, S, S].

        Raises:
            PromptError: No image is set, or the prompt is invalid.
        """
        self.get_image_embedding()
        coords = labels = boxes = masks = None
        points, corners = np.zeros((0, 2)), None
        if paired(point_coords, point_labels) is not None:
            points = _array(point_coords, "point_coords")
            if points.ndim != 2 or points.shape[1] != 2:
                raise PromptError(f"point_coords has the shape {points.shape}; give [K, 2].")
            if point_labels is None:
                raise PromptError("point_coords requires point_labels.")
            coords = torch.as_tensor(self.transform.apply_coords(points, self.original_size))[None]
            labels = to_tensor(point_labels, "point_labels")[None]
            validate_points(coords, labels)
            points = points[labels[0].cpu().numpy() != NOT_A_POINT]
        if box is not None:
            corners = _array(box, "box")
            if corners.shape not in ((4,), (1, 4)):
                raise PromptError(
                    f"box has the shape {corners.shape}; give one box [4], or use predict_torch for several "
                    "boxes."
                )
            validate_boxes(torch.from_numpy(corners.reshape(1, 4)))
            moved = self.transform.apply_boxes(corners.reshape(1, 4), self.original_size)
            boxes = torch.as_tensor(moved)
        if len(points) or corners is not None:
            flat = None if corners is None else corners.reshape(4)
            prompt = Prompt(points=points, box=flat)
            prompt.check_inside(*self.original_size)
            for text in prompt.questions(*self.original_size):
                warnings.warn(text, UltraSamWarning, stacklevel=2)
        if mask_input is not None:
            masks = to_tensor(mask_input, "mask_input")[None]
        out, iou, low_res = self.predict_torch(
            coords, labels, boxes, masks, multimask_output, return_logits
        )
        return out[0].cpu().numpy(), iou[0].cpu().numpy(), low_res[0].cpu().numpy()

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict masks for N prompts, transformed to the model's pixel indices.

        Args:
            point_coords: [N, K, 2].
            point_labels: [N, K].
            boxes: [N, 4].
            mask_input: [N, 1, S, S], or [1, 1, S, S] for all prompts.
            multimask_output: return three masks instead of one.
            return_logits: return masks as logits instead of bool.

        Returns:
            Masks [N, M, H, W], predicted IoU [N, M] and low-res logits [N, M, S, S].

        Raises:
            PromptError: No image is set, or a prompt is invalid.
        """
        embedding = self.get_image_embedding()
        low_res, iou = self.model._decode(
            embedding,
            paired(point_coords, point_labels),
            boxes,
            mask_input,
            multimask_output,
            self.input_size,
        )
        full = self.model.postprocess_masks(low_res, self.input_size, self.original_size)
        iou = score_empty(full > self.model.mask_threshold, iou)
        return (full if return_logits else full > self.model.mask_threshold), iou, low_res


def _array(values: Any, name: str) -> npt.NDArray[np.float64]:
    return to_tensor(values, name).detach().cpu().double().numpy()
