"""segment-anything's ``Sam`` and its registry of model types."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.compat.checks import check_inside, paired, score_empty, validate_pixels, validate_size
from ultrasam.compat.parts import Points, SamImageEncoder, SamMaskDecoder, SamPromptEncoder
from ultrasam.errors import CheckpointError, ConfigError, PromptError
from ultrasam.model.config import get_config
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.load import load_model


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

    @property
    def pixel_mean(self) -> Tensor:
        """The mean that `preprocess` subtracts, [3, 1, 1]."""
        return torch.tensor(self.ultrasam.preprocessor.mean, device=self.device).reshape(3, 1, 1)

    @property
    def pixel_std(self) -> Tensor:
        """The deviation by which `preprocess` divides, [3, 1, 1]."""
        return torch.tensor(self.ultrasam.preprocessor.std, device=self.device).reshape(3, 1, 1)

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
        """Normalize and pad pixels [..., 3, h, w] in 0–255 to the input [..., 3, S, S].

        Raises:
            PromptError: The shape is wrong, or a value is not finite.
        """
        return self._normalized(validate_pixels(x, self.ultrasam.preprocessor))

    def _normalized(self, x: Tensor) -> Tensor:
        size = self.image_encoder.img_size
        x = self.ultrasam.preprocessor.normalize(x)
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
        points: Points | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
        input_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Low-res logits [N, M, S, S] and predicted IoU [N, M] for N prompts in one image."""
        check_inside(points, boxes, input_size, masks)
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
            PromptError: An entry lacks a key, has a misspelled one, or a prompt is invalid.
        """
        out = []
        for entry in batched_input:
            if not isinstance(entry, Mapping) or not {"image", "original_size"} <= entry.keys():
                raise PromptError(
                    "batched_input must be a list; each entry needs 'image' and 'original_size'."
                )
            for wrong, key in _MISSPELLED.items():
                if entry.get(wrong) is not None:
                    raise PromptError(f"batched_input has the key '{wrong}'; use '{key}'.")
            image = validate_pixels(entry["image"], self.ultrasam.preprocessor)
            if image.ndim != 3:
                raise PromptError(f"An image has the shape {list(image.shape)}; give [3, h, w].")
            size = (image.shape[1], image.shape[2])
            original = validate_size(entry["original_size"], size, self.ultrasam.preprocessor)
            embedding = self.image_encoder(self._normalized(image.to(self.device))[None])
            low_res, iou = self._decode(
                embedding,
                paired(entry.get("point_coords"), entry.get("point_labels")),
                entry.get("boxes"),
                entry.get("mask_inputs"),
                multimask_output,
                size,
            )
            masks = self.postprocess_masks(low_res, size, original)
            masks = masks > self.mask_threshold
            out.append(
                {
                    "masks": masks,
                    "iou_predictions": score_empty(masks, iou),
                    "low_res_logits": low_res,
                }
            )
        return out


# Keys of other projects, for which segment-anything would pass over a prompt.
_MISSPELLED = {
    "points": "point_coords", "box": "boxes", "bboxes": "boxes", "mask_input": "mask_inputs",
}  # fmt: skip


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


build_sam = build_sam_vit_h = _build("vit-h")
build_sam_vit_l = _build("vit-l")
build_sam_vit_b = _build("vit-b")


class _Registry(dict[str, Callable[..., Sam]]):
    def __missing__(self, name: str) -> Callable[..., Sam]:
        raise ConfigError(f"Unknown model type '{name}'; use {', '.join(self)}.")


sam_model_registry: dict[str, Callable[..., Sam]] = _Registry(
    default=build_sam,
    vit_h=build_sam_vit_h,
    vit_l=build_sam_vit_l,
    vit_b=build_sam_vit_b,
    nano=_build("nano"),
)
