"""The parts of segment-anything's ``Sam`` and its transform, with Meta's arguments and tensors.

Meta's parts exchange plain tensors. A model with high-resolution features or prompt maps (nano) needs more
data, which is attached to these tensors as attributes.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.errors import PromptError
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.prompt_encoder import EncodedPrompts, PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT

_LABELS = (BACKGROUND, FOREGROUND, NOT_A_POINT)
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
            coords, labels = _validate_points(*points)
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
            masks = _validate_masks(masks, self.ultrasam.config.mask_size).to(device)
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
    """segment-anything's transform: converts images, points and boxes to the model's pixels."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        self.preprocessor = preprocessor
        self.target_length = preprocessor.size

    def apply_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize [H, W, 3] uint8 to [h, w, 3], without padding."""
        return self.preprocessor.resized(image, self.preprocessor.view(*image.shape[:2]))

    def apply_coords(
        self, coords: npt.NDArray[np.float64], original_size: tuple[int, ...]
    ) -> npt.NDArray[np.float64]:
        """Convert pixel indices [..., 2]; ``original_size`` is (H, W)."""
        return self.preprocessor.view(*original_size).points_to_model(coords)

    def apply_boxes(
        self, boxes: npt.NDArray[np.float64], original_size: tuple[int, ...]
    ) -> npt.NDArray[np.float64]:
        """Convert boxes [N, 4] as x0, y0, x1, y1; ``original_size`` is (H, W)."""
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
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)


def _validate_points(coords: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    if labels is None:
        raise PromptError("point_coords requires point_labels.")
    coords, labels = coords.float().cpu(), torch.as_tensor(labels).cpu()
    if coords.ndim != 3 or coords.shape[2] != 2:
        raise PromptError(f"point_coords has the shape {list(coords.shape)}; give [N, K, 2].")
    if labels.shape != coords.shape[:2]:
        raise PromptError(
            f"point_labels has the shape {list(labels.shape)} and point_coords {list(coords.shape)}; give "
            "one label per point."
        )
    if not bool(torch.isfinite(coords).all()):
        raise PromptError("point_coords must be finite numbers.")
    if not bool(torch.isin(labels, torch.tensor(_LABELS)).all()):
        raise PromptError(
            f"point_labels must be 1 (foreground), 0 (background) or -1 (no point), not {labels.tolist()}."
        )
    return coords, labels.long()


def validate_boxes(boxes: Tensor) -> Tensor:
    """Convert boxes [N, 4] or [N, 1, 4] to corners [N, 2, 2].

    Raises:
        PromptError: The shape is wrong, a number is not finite, or a corner is out of order.
    """
    boxes = boxes.float().cpu()
    if boxes.ndim == 3 and boxes.shape[1] == 1:
        boxes = boxes[:, 0]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise PromptError(f"boxes has the shape {list(boxes.shape)}; give [N, 4].")
    if not bool(torch.isfinite(boxes).all()):
        raise PromptError("The box must have finite numbers.")
    corners = boxes.view(-1, 2, 2)
    wrong = (corners[:, 0] > corners[:, 1]).any(dim=1)
    if bool(wrong.any()):
        raise PromptError(
            f"The box {boxes[wrong][0].tolist()} is invalid; give x0, y0, x1, y1 with x0 <= x1 and y0 <= y1."
        )
    return corners


def _validate_masks(masks: Tensor, size: int) -> Tensor:
    """Convert mask prompts [N, 1, S, S] to float."""
    if masks.ndim != 4 or tuple(masks.shape[1:]) != (1, size, size):
        shape = list(masks.shape[1:] if len(masks) == 1 else masks.shape)
        raise PromptError(
            f"mask_input has the shape {shape}; give low-res logits [1, {size}, {size}]."
        )
    if not bool(torch.isfinite(masks).all()):
        raise PromptError("mask_input must be finite numbers.")
    return masks.float()
