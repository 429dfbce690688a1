"""SAM, MedSAM and SAM 2 in Hugging Face's implementation, behind the Segmenter protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ultrasam.errors import CheckpointError, EvaluationError, PromptError
from ultrasam.geometry import Letterbox
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.prompts import Prediction, Prompt

_SAM = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
_SAM2 = ([0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255])


def open_transformers(repository: str, *, device: str) -> _Peer:
    """A checkpoint of transformers' SamModel or Sam2Model, by repository or folder.

    Raises:
        EvaluationError: transformers isn't installed, or it is another kind of model.
        CheckpointError: the weights can't be had.
    """
    try:
        from transformers import AutoConfig, Sam2Model, SamModel
    except ImportError as error:
        raise EvaluationError(
            "Peers need transformers; install it with: pip install transformers"
        ) from error
    try:
        kind = AutoConfig.from_pretrained(repository).model_type
        if kind == "sam":
            return TransformersSam(cast(Any, SamModel.from_pretrained(repository)).to(device))
        if kind in ("sam2", "sam2_video"):
            return TransformersSam2(cast(Any, Sam2Model.from_pretrained(repository)).to(device))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"transformers can't load '{repository}': {reason}") from error
    raise EvaluationError(f"'{repository}' is a model of type '{kind}', not sam or sam2.")


class _Peer(ABC):
    """One image embedding; prompts one by one, a lone click choosing among three masks, as ours."""

    def __init__(self, model: Any, normalisation: tuple[list[float], list[float]]) -> None:
        self.model = model.eval()
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in normalisation)
        self.embedding: Any = None
        self.shape = (0, 0)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        pixels = as_scan(scan).frame(frame)
        self.shape = (pixels.shape[0], pixels.shape[1])
        rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
        with torch.inference_mode():
            self.embedding = self.model.get_image_embeddings(
                self._canvas(rgb)[None].to(self.model.device)
            )

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        if self.embedding is None:
            raise PromptError("No image is set; call set_image before predict.")
        asked = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        masks, scores, stabilities, low = [], [], [], []
        for prompt in asked:
            prompt.check_inside(*self.shape)
            logits, iou = self._decode(prompt)
            full = self._to_scan(logits)
            masks.append(full > 0)
            scores.append(min(1.0, max(0.0, iou)))
            stabilities.append((full > 1).sum() / max(1, int((full > -1).sum())))
            low.append(logits)
        return Prediction(
            np.stack(masks)[:, None],
            np.array(scores, np.float32)[:, None],
            np.array(stabilities, np.float32)[:, None],
            np.stack(low)[:, None],
        )

    def _decode(self, prompt: Prompt) -> tuple[npt.NDArray[np.float32], float]:
        """Low-res logits [S, S] of the best mask, and its predicted IoU."""
        points, given = np.asarray(prompt.points), {}
        device = self.model.device
        if len(points):
            placed = torch.from_numpy(self._place(points)).float()
            given["input_points"] = placed[None, None].to(device)
            labels = torch.from_numpy(np.asarray(prompt.labels))
            given["input_labels"] = labels[None, None].to(device)
        if prompt.box is not None:
            corners = self._place(np.asarray(prompt.box).reshape(2, 2)).reshape(1, 1, 4)
            given["input_boxes"] = torch.from_numpy(corners).float().to(device)
        if prompt.mask is not None:
            # Only their own low-res logits: shapes are theirs.
            given["input_masks"] = torch.from_numpy(prompt.mask)[None, None].float().to(device)
        three = prompt.box is None and prompt.mask is None and len(points) == 1
        with torch.inference_mode():
            out = self.model(image_embeddings=self.embedding, multimask_output=three, **given)
        scores = out.iou_scores.float().reshape(-1)
        best = int(scores.argmax())
        logits = out.pred_masks.float().reshape(len(scores), *out.pred_masks.shape[-2:])[best]
        return logits.cpu().numpy(), float(scores[best])

    @abstractmethod
    def _canvas(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        """[3, S, S], normalised."""

    @abstractmethod
    def _place(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """[K, 2] in the scan's pixels, from corners, to the model's, less the half that it adds."""

    @abstractmethod
    def _to_scan(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Low-res logits [S, S] to the scan's pixels [H, W]."""


class TransformersSam(_Peer):
    """transformers' SamModel: SAM of all sizes, MedSAM."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, _SAM)
        self.size = int(model.config.vision_config.image_size)

    @property
    def view(self) -> Letterbox:
        return Letterbox.whole(*self.shape, size=self.size)

    def _canvas(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        # Padding is zero after the normalisation, as in SAM.
        placed = torch.from_numpy(np.ascontiguousarray(self.view.image_to_model(rgb)))
        canvas = (placed.permute(2, 0, 1).float() - self.mean) / self.std
        height, width = self.view.inner
        return F.pad(canvas, (0, self.size - width, 0, self.size - height))

    def _place(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.view.points_to_model(points) - 0.5

    def _to_scan(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.view.logits_to_scan(logits)


class TransformersSam2(_Peer):
    """transformers' Sam2Model, which squeezes every image to a square."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, _SAM2)
        self.size = int(model.config.vision_config.backbone_config.image_size[0])

    def _canvas(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        square = cv2.resize(rgb, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return (torch.from_numpy(square).permute(2, 0, 1).float() - self.mean) / self.std

    def _place(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        height, width = self.shape
        return points * [self.size / width, self.size / height] - 0.5

    def _to_scan(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        height, width = self.shape
        return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR))
