"""Meta's calling convention over our model: change an import, keep the code.

``from segment_anything import SamPredictor, sam_model_registry`` becomes
``from ultrasam.compat import SamPredictor, sam_model_registry``. Arguments, return values, their order
and types follow segment-anything 1.0; points and boxes are pixel indices there, as here.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultrasam.errors import CheckpointError, PromptError
from ultrasam.geometry import Letterbox
from ultrasam.images.scan import Scan
from ultrasam.model.config import CONFIGS
from ultrasam.model.prompt_encoder import BOTTOM_RIGHT, PADDING, TOP_LEFT, PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam

FloatArray = npt.NDArray[np.float32]


def _build(name: str) -> Callable[..., UltraSam]:
    def build(checkpoint: str | os.PathLike[str] | None = None) -> UltraSam:
        if checkpoint is None:
            return UltraSam(CONFIGS[name]).eval()
        model = UltraSam.from_pretrained(os.fspath(checkpoint))
        if (model.config.width, model.config.depth) != (CONFIGS[name].width, CONFIGS[name].depth):
            raise CheckpointError(
                f"{checkpoint} holds the model '{model.config.name}', not '{name}'; ask for that one."
            )
        return model

    return build


sam_model_registry: dict[str, Callable[..., UltraSam]] = {
    "default": _build("huge"),
    "vit_h": _build("huge"),
    "vit_l": _build("large"),
    "vit_b": _build("base"),
    "nano": _build("nano"),
}


class SamPredictor:
    """segment-anything's ``SamPredictor`` over our model; one view, the whole image."""

    def __init__(self, sam_model: UltraSam) -> None:
        self.model = sam_model
        self.reset_image()

    @property
    def device(self) -> torch.device:
        return self.model.device

    def reset_image(self) -> None:
        """Forget the image."""
        self.is_image_set = False
        self.original_size: tuple[int, int] = (0, 0)
        self.input_size: tuple[int, int] = (0, 0)
        self._letterbox: Letterbox | None = None
        self._embedding: ImageEmbedding | None = None

    def set_image(self, image: npt.NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an image [H, W, 3] uint8, RGB or BGR."""
        if image_format not in ("RGB", "BGR"):
            raise PromptError(f"image_format is 'RGB' or 'BGR', not '{image_format}'.")
        pixels = Scan.from_array(image[..., ::-1] if image_format == "BGR" else image).frame(0)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        self.reset_image()
        letterbox = Letterbox.whole(*pixels.shape[:2], size=self.model.config.image_size)
        view = torch.from_numpy(letterbox.image_to_model(np.ascontiguousarray(pixels)))
        with torch.inference_mode():
            tensor = self.model.normalise(view.permute(2, 0, 1)[None].to(self.device))
            self._embedding = self.model.encode(tensor)
        self._letterbox = letterbox
        self.original_size = (pixels.shape[0], pixels.shape[1])
        self.input_size = letterbox.inner
        self.is_image_set = True

    def get_image_embedding(self) -> Tensor:
        """The image embedding, [1, C, H, W]."""
        return self._ready()[1].embedding

    def predict(
        self,
        point_coords: npt.ArrayLike | None = None,
        point_labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: npt.ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[npt.NDArray[np.generic], FloatArray, FloatArray]:
        """Masks [M, H, W], their predicted IoU [M], and low-res logits [M, S, S].

        Args:
            point_coords: [K, 2] pixel indices (x, y).
            point_labels: [K], 1 foreground, 0 background.
            box: [4] as x0, y0, x1, y1.
            mask_input: [1, S, S] low-res logits.
            multimask_output: three masks, in the decoder's order, in place of one.
            return_logits: masks as logits in place of bool.
        """
        letterbox, _ = self._ready()
        coords = labels = boxes = masks = None
        if point_coords is not None:
            if point_labels is None:
                raise PromptError("point_labels must be given with point_coords.")
            points = letterbox.points_to_model(point_coords)
            coords = torch.as_tensor(points, dtype=torch.float32)[None]
            labels = torch.as_tensor(np.asarray(point_labels))[None]
        if box is not None:
            boxes = torch.as_tensor(letterbox.boxes_to_model(box), dtype=torch.float32).view(1, 4)
        if mask_input is not None:
            masks = torch.as_tensor(np.asarray(mask_input), dtype=torch.float32)[None]
        out, iou, low_res = self.predict_torch(
            coords, labels, boxes, masks, multimask_output, return_logits
        )
        return out[0].cpu().numpy(), iou[0].cpu().numpy(), low_res[0].cpu().numpy()

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of N prompts already in the model's pixel indices.

        Returns:
            Masks [N, M, H, W], predicted IoU [N, M], low-res logits [N, M, S, S].
        """
        letterbox, embedding = self._ready()
        prompts = self._tensors(point_coords, point_labels, boxes, mask_input)
        with torch.inference_mode():
            low_res, iou = self.model.decode(
                embedding, prompts, masks=slice(1, 4) if multimask_output else slice(0, 1)
            )
        flat = low_res.float().cpu().numpy()
        full = np.stack([[letterbox.logits_to_scan(logits) for logits in masks] for masks in flat])
        out = torch.from_numpy(full).to(self.device)
        return (out if return_logits else out > 0), iou, low_res

    def _tensors(
        self,
        coords: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> PromptTensors:
        given = next((t for t in (coords, boxes, masks) if t is not None), None)
        if given is None:
            raise PromptError("Give point_coords, a box or mask_input.")
        count = len(given)
        xy, kinds = [], []
        if coords is not None and labels is not None:
            # Meta's encoder adds half a pixel to indices; ours takes the sum.
            xy.append(coords.float().cpu() + 0.5)
            kinds.append(labels.long().cpu())
        if boxes is None:
            xy.append(torch.zeros(count, 1, 2))
            kinds.append(torch.full((count, 1), PADDING))
        else:
            xy.append(boxes.float().cpu().view(-1, 2, 2) + 0.5)
            kinds.append(torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]]).expand(count, -1))
        return PromptTensors(torch.cat(xy, dim=1), torch.cat(kinds, dim=1), masks).to(self.device)

    def _ready(self) -> tuple[Letterbox, ImageEmbedding]:
        if self._letterbox is None or self._embedding is None:
            raise PromptError("An image must be set with set_image before predicting.")
        return self._letterbox, self._embedding
