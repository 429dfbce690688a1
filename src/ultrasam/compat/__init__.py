"""A drop-in replacement for segment-anything: change the import, keep the code.

Replace ``from segment_anything import SamPredictor, sam_model_registry`` by
``from ultrasam.compat import SamPredictor, sam_model_registry``. Arguments and return values follow
segment-anything 1.0; points and boxes are pixel indices, as there. Invalid prompts raise `PromptError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.compat.parts import (
    ResizeLongestSide,
    SamImageEncoder,
    SamMaskDecoder,
    SamPromptEncoder,
    validate_boxes,
)
from ultrasam.errors import CheckpointError, PromptError
from ultrasam.images.scan import Scan
from ultrasam.model.config import get_config
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.load import load_model

FloatArray = npt.NDArray[np.float32]


class Sam(nn.Module):
    """segment-anything's ``Sam``, wrapping an `UltraSam` (attribute ``ultrasam``); ``state_dict`` has Meta's
    names."""

    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, ultrasam: UltraSam) -> None:
        super().__init__()
        self.ultrasam = ultrasam
        set_attention(ultrasam, str(ultrasam.device))
        self.image_encoder = SamImageEncoder(ultrasam)
        self.prompt_encoder = SamPromptEncoder(ultrasam)
        self.mask_decoder = SamMaskDecoder(ultrasam)

    @property
    def config(self) -> Any:
        return self.ultrasam.config

    @property
    def device(self) -> torch.device:
        return self.ultrasam.device

    def _apply(self, *arguments: Any, **options: Any) -> Sam:
        # to(), cuda(), cpu() and half() all call this; the attention function depends on the device.
        super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]
        set_attention(self.ultrasam, str(self.device))
        return self

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        return self.ultrasam.state_dict(*arguments, **options)

    def load_state_dict(self, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        return self.ultrasam.load_state_dict(state_dict, *arguments, **options)

    def preprocess(self, x: Tensor) -> Tensor:
        """Normalize and pad pixels [..., 3, h, w] in 0–255 to the input [..., 3, S, S]."""
        size = self.image_encoder.img_size
        x = self.ultrasam.preprocessor.normalize(x.float())
        return F.pad(x, (0, size - x.shape[-1], 0, size - x.shape[-2]))

    def postprocess_masks(
        self, masks: Tensor, input_size: tuple[int, ...], original_size: tuple[int, ...]
    ) -> Tensor:
        """Upscale low-res logits [N, M, S, S] to the original image's pixels [N, M, H, W]."""
        side = self.image_encoder.img_size
        masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    def _decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor | None] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Low-res logits [N, M, S, S] and predicted IoU [N, M] for N prompts in one image."""
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        low_res, iou = self.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
        )
        return low_res, iou

    @torch.no_grad()
    def forward(
        self, batched_input: list[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Predict masks for a batch of images, as in segment-anything.

        Args:
            batched_input: per image, ``image`` [3, h, w] (transformed, in 0–255), ``original_size`` (H, W),
                and any of ``point_coords`` [N, K, 2], ``point_labels`` [N, K], ``boxes`` [N, 4] and
                ``mask_inputs`` [N, 1, S, S], in the transformed image's pixel indices.

        Returns:
            Per image, ``masks`` [N, M, H, W] bool, ``iou_predictions`` [N, M] and ``low_res_logits``.

        Raises:
            PromptError: An entry lacks a key, or a prompt is invalid.
        """
        out = []
        for entry in batched_input:
            if "image" not in entry or "original_size" not in entry:
                raise PromptError("Each entry of batched_input needs 'image' and 'original_size'.")
            embedding = self.image_encoder(self.preprocess(entry["image"].to(self.device))[None])
            points = None
            if entry.get("point_coords") is not None:
                points = (entry["point_coords"], entry.get("point_labels"))
            low_res, iou = self._decode(
                embedding, points, entry.get("boxes"), entry.get("mask_inputs"), multimask_output
            )
            masks = self.postprocess_masks(
                low_res, tuple(entry["image"].shape[-2:]), tuple(entry["original_size"])
            )
            out.append(
                {
                    "masks": masks > self.mask_threshold,
                    "iou_predictions": iou,
                    "low_res_logits": low_res,
                }
            )
        return out


def _build(name: str) -> Callable[..., Sam]:
    def build(checkpoint: str | os.PathLike[str] | None = None) -> Sam:
        size = get_config(name)
        model = load_model(checkpoint or f"random:{size.name}", device="cpu")
        if (model.config.width, model.config.depth) != (size.width, size.depth):
            raise CheckpointError(
                f"{checkpoint} holds the model '{model.config.name}', not '{size.name}'; request that size."
            )
        return Sam(model).eval()

    return build


sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": _build("vit-h"),
    "vit_h": _build("vit-h"),
    "vit_l": _build("vit-l"),
    "vit_b": _build("vit-b"),
    "nano": _build("nano"),
}


class SamPredictor:
    """segment-anything's ``SamPredictor`` for our models, without test-time augmentation."""

    def __init__(self, sam_model: Sam | UltraSam) -> None:
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
        swapped = image_format == "BGR" and np.ndim(image) == 3
        pixels = Scan.from_array(image[..., ::-1] if swapped else image).frame(0)
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
            PromptError: The shape is wrong.
        """
        size = self.model.image_encoder.img_size
        shape = tuple(transformed_image.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != size:
            raise PromptError(
                f"set_torch_image takes [1, 3, h, w] with a longer side of {size}, not {list(shape)}; resize "
                "with transform.apply_image first."
            )
        self.reset_image()
        self.original_size = (int(original_image_size[0]), int(original_image_size[1]))
        self.input_size = (shape[2], shape[3])
        pixels = self.model.preprocess(transformed_image.to(self.device))
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
        if point_coords is not None:
            points = np.asarray(point_coords, dtype=np.float64)
            if points.ndim != 2 or points.shape[1] != 2:
                raise PromptError(f"point_coords has the shape {points.shape}; give [K, 2].")
            if point_labels is None:
                raise PromptError("point_coords requires point_labels.")
            coords = torch.as_tensor(self.transform.apply_coords(points, self.original_size))[None]
            labels = torch.as_tensor(np.asarray(point_labels))[None]
        if box is not None:
            corners = np.asarray(box, dtype=np.float64)
            if corners.shape not in ((4,), (1, 4)):
                raise PromptError(
                    f"box has the shape {corners.shape}; give one box [4], or use predict_torch for several "
                    "boxes."
                )
            validate_boxes(torch.from_numpy(corners.reshape(1, 4)))
            moved = self.transform.apply_boxes(corners.reshape(1, 4), self.original_size)
            boxes = torch.as_tensor(moved)
        if mask_input is not None:
            masks = torch.as_tensor(np.asarray(mask_input), dtype=torch.float32)[None]
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
        points = None if point_coords is None else (point_coords, point_labels)
        low_res, iou = self.model._decode(embedding, points, boxes, mask_input, multimask_output)
        full = self.model.postprocess_masks(low_res, self.input_size, self.original_size)
        return (full if return_logits else full > self.model.mask_threshold), iou, low_res
