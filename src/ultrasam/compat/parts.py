"""The parts of segment-anything's ``Sam`` and its transform, with Meta's arguments and tensors.

Meta's parts exchange plain tensors. A model with high-resolution features or prompt maps (nano) needs more
data, which is attached to these tensors as attributes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.compat.checks import (
    check_encoder_input,
    height_and_width,
    validate_boxes,
    validate_masks,
    validate_points,
)
from ultrasam.errors import PromptError
from ultrasam.geometry import ViewTransform
from ultrasam.images.pixels import gray
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.prompt_encoder import EncodedPrompts, PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BOTTOM_RIGHT, NOT_A_POINT, TOP_LEFT
from ultrasam.weights.registry import PREPROCESSING

Points = tuple[Tensor, Tensor | None]


class _SamPart(nn.Module):
    """One part of a model; ``module`` is its only submodule, ``ultrasam`` the complete model."""

    def __init__(self, ultrasam: UltraSam, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.__dict__["_model"] = ultrasam

    @property
    def ultrasam(self) -> UltraSam:
        return cast(UltraSam, self.__dict__["_model"])


class SamImageEncoder(_SamPart):
    """``image_encoder(x)`` encodes preprocessed pixels [B, 3, S, S] as an embedding [B, C, H, W]."""

    def __init__(self, ultrasam: UltraSam) -> None:
        super().__init__(ultrasam, ultrasam.image_encoder)

    @property
    def img_size(self) -> int:
        return int(self.ultrasam.config.image_size)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, self.img_size, self.img_size):
            raise PromptError(
                f"image_encoder takes [B, 3, {self.img_size}, {self.img_size}], not {list(x.shape)}; call "
                "preprocess first."
            )
        check_encoder_input(x, self.ultrasam.preprocessor)
        images = self.ultrasam.encode(x)
        embedding = images.image
        embedding.high_res = images.high_res  # type: ignore[attr-defined]
        return embedding


class SamPromptEncoder(_SamPart):
    """``prompt_encoder(points=, boxes=, masks=)`` encodes prompts in the model's pixel indices as sparse
    [N, T, C] and dense [N, C, H, W] embeddings."""

    def __init__(self, ultrasam: UltraSam) -> None:
        super().__init__(ultrasam, ultrasam.prompt_encoder)

    @property
    def embed_dim(self) -> int:
        return int(self.ultrasam.config.decoder_width)

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        return (self.ultrasam.config.grid,) * 2

    @property
    def input_image_size(self) -> tuple[int, int]:
        return (self.ultrasam.config.image_size,) * 2

    @property
    def mask_input_size(self) -> tuple[int, int]:
        return (self.ultrasam.config.mask_size,) * 2

    def get_dense_pe(self) -> Tensor:
        """Positional encoding of the embedding's tokens, [1, C, H, W]."""
        pe: Tensor = self.ultrasam.prompt_encoder.get_dense_pe()  # [H * W, C]
        positions: Tensor = pe.t().unflatten(1, self.image_embedding_size)
        return positions[None]

    def forward(
        self, points: Points | None = None, boxes: Tensor | None = None, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        prompts = self._tensors(points, boxes, masks)
        encoded = self.ultrasam.prompt_encoder(prompts)
        grid = self.image_embedding_size
        dense = encoded.dense.expand(len(prompts), -1, *grid)
        sparse = encoded.tokens
        sparse.encoded = encoded
        return sparse, dense

    def _tensors(
        self, points: Points | None, boxes: Tensor | None, masks: Tensor | None
    ) -> PromptTensors:
        if points is None and boxes is None and masks is None:
            raise PromptError("The prompt is empty; give point_coords, a box or mask_input.")
        device = self.ultrasam.device
        xy, kinds, counts = [], [], {}
        if points is not None:
            coords, labels = validate_points(*points)
            # Meta's encoder adds half a pixel to indices; ours expects the sum.
            xy.append(coords + 0.5)
            kinds.append(labels)
            counts["points"] = len(coords)
        if boxes is not None:
            corners = validate_boxes(boxes)
            xy.append(corners + 0.5)
            kinds.append(torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]]).expand(len(corners), -1))
            counts["boxes"] = len(corners)
        if masks is not None:
            masks = validate_masks(masks, self.ultrasam.config.mask_size).to(device)
            if len(masks) > 1 or not counts:
                counts["masks"] = len(masks)
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise PromptError(f"The numbers of prompts differ: {listed}.")
        count = next(iter(counts.values()))
        if not count:
            raise PromptError("The prompt is empty: the tensors have length 0.")
        if boxes is None:
            # Meta's encoder pads clicks with a token that is not a point; a mask without clicks has no
            # tokens.
            slots = 0 if points is None else 1
            xy.append(torch.zeros(count, slots, 2))
            kinds.append(torch.full((count, slots), NOT_A_POINT))
        if masks is not None:
            masks = masks.expand(count, -1, -1, -1)
        return PromptTensors(
            torch.cat(xy, dim=1).to(device), torch.cat(kinds, dim=1).to(device), masks
        )


class SamMaskDecoder(_SamPart):
    """``mask_decoder(image_embeddings=, image_pe=, sparse_prompt_embeddings=, dense_prompt_embeddings=,
    multimask_output=)`` returns low-res logits [N, M, S, S] and predicted IoU [N, M]."""

    def __init__(self, ultrasam: UltraSam) -> None:
        super().__init__(ultrasam, ultrasam.mask_decoder)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        config = self.ultrasam.config
        shape = (config.decoder_width, config.grid, config.grid)
        for name, tensor in (
            ("image_embeddings", image_embeddings),
            ("image_pe", image_pe),
            ("dense_prompt_embeddings", dense_prompt_embeddings),
        ):
            if tensor.ndim != 4 or tuple(tensor.shape[1:]) != shape:
                raise PromptError(
                    f"{name} has the shape {list(tensor.shape)}, not [N, {', '.join(map(str, shape))}]."
                )
        if sparse_prompt_embeddings.ndim != 3 or sparse_prompt_embeddings.shape[2] != shape[0]:
            raise PromptError(
                "sparse_prompt_embeddings has the shape "
                f"{list(sparse_prompt_embeddings.shape)}, not [N, T, {shape[0]}]."
            )
        counts = [len(image_embeddings), len(dense_prompt_embeddings)]
        prompts_given = len(sparse_prompt_embeddings)
        if not set(counts) <= {1, prompts_given}:
            raise PromptError(
                f"There are {prompts_given} sparse and {counts[1]} dense prompt embeddings and {counts[0]} "
                "image embeddings; give one image for all prompts, or one per prompt."
            )
        encoded: EncodedPrompts | None = getattr(sparse_prompt_embeddings, "encoded", None)
        high_res: tuple[Tensor, ...] = getattr(image_embeddings, "high_res", ())
        if (config.high_res_features and not high_res) or (config.prompt_maps and encoded is None):
            raise PromptError(
                f"The model '{config.name}' needs the tensors that image_encoder and prompt_encoder "
                "returned, not copies of them."
            )
        unused = torch.zeros(
            sparse_prompt_embeddings.shape[:2], dtype=torch.bool, device=image_embeddings.device
        )
        prompts = EncodedPrompts(
            sparse_prompt_embeddings,
            unused,
            dense_prompt_embeddings,
            None if encoded is None else encoded.maps,
        )
        pe = image_pe[0].flatten(1).t()
        output = self.ultrasam.mask_decoder(image_embeddings, pe, prompts, high_res)
        part = slice(1, 4) if multimask_output else slice(0, 1)
        return output.masks[:, part].float(), output.predicted_iou[:, part].float()


class ResizeLongestSide:
    """segment-anything's transform: converts images, points and boxes to the model's pixels.

    Args:
        target_length: the preprocessor of the weights, as in ``SamPredictor.transform``; or the length of the
            longer side, as in segment-anything, to resize as SAM does.
    """

    def __init__(self, target_length: int | Preprocessor) -> None:
        self.preprocessor = (
            target_length
            if isinstance(target_length, Preprocessor)
            else replace(PREPROCESSING["sam"], size=int(target_length))
        )
        self.target_length = self.preprocessor.size

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """The resized shape (h, w) of an image (oldh, oldw)."""
        return ViewTransform.full(oldh, oldw, size=long_side_length).resized_shape

    def apply_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize [H, W, 3] uint8 to [h, w, 3], without padding.

        Raises:
            PromptError: The shape or the type is another.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise PromptError(
                f"apply_image takes [H, W, 3] uint8 (0–255), not {list(image.shape)} {image.dtype}."
            )
        if self.preprocessor.channels == "gray":
            image = np.repeat(gray(image)[..., None], 3, axis=2)
        resized = self.preprocessor.resized(image, self.preprocessor.view(*image.shape[:2]))
        return resized if resized.flags.writeable else resized.copy()  # for torch.as_tensor

    def apply_coords(
        self, coords: npt.NDArray[np.float64], original_size: tuple[int, ...]
    ) -> npt.NDArray[np.float64]:
        """Convert pixel indices [..., 2]; ``original_size`` is (H, W).

        Raises:
            PromptError: A shape is wrong.
        """
        if not np.shape(coords) or np.shape(coords)[-1] != 2:
            raise PromptError(f"Coordinates have the shape {np.shape(coords)}; give [..., 2].")
        height, width = height_and_width(original_size)
        return self.preprocessor.view(height, width).points_to_model(coords)

    def apply_boxes(
        self, boxes: npt.NDArray[np.float64], original_size: tuple[int, ...]
    ) -> npt.NDArray[np.float64]:
        """Convert boxes [N, 4] as x0, y0, x1, y1; ``original_size`` is (H, W).

        Raises:
            PromptError: A shape is wrong.
        """
        if not np.shape(boxes) or np.shape(boxes)[-1] != 4:
            raise PromptError(f"Boxes have the shape {np.shape(boxes)}; give [N, 4].")
        return self.apply_coords(np.reshape(boxes, (-1, 2, 2)), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Resize [B, 3, H, W] to [B, 3, h, w], bilinear with antialiasing."""
        shape = self.preprocessor.view(*image.shape[-2:]).resized_shape
        return nn.functional.interpolate(
            image.float(), shape, mode="bilinear", align_corners=False, antialias=True
        )

    def apply_coords_torch(self, coords: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """``apply_coords`` for a tensor."""
        moved = self.apply_coords(coords.detach().cpu().double().numpy(), original_size)
        return torch.from_numpy(moved).to(coords.device, torch.float32)

    def apply_boxes_torch(self, boxes: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """``apply_boxes`` for a tensor."""
        if not boxes.ndim or boxes.shape[-1] != 4:
            raise PromptError(f"Boxes have the shape {list(boxes.shape)}; give [N, 4].")
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)
