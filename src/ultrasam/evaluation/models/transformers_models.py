"""SAM, MedSAM and SAM 2 as implemented by Hugging Face transformers, behind the Segmenter protocol.

SAM uses its repository's own processor. MedSAM's repository has SAM's processor, but MedSAM was trained with
other preprocessing, which its script MedSAM_Inference.py shows; its steps, also those after the network, are
used instead. SAM 2's processor requires torchvision, which UltraSam does not install, so its steps are
reimplemented here: stretch to a square (bilinear), then normalize with the ImageNet mean and standard
deviation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ultrasam.errors import CheckpointError, EvaluationError, PromptError, one_line
from ultrasam.extras import needs
from ultrasam.geometry import ViewTransform
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.prompts import Float32, FloatArray, Prediction, Prompt
from ultrasam.weights.load import repository_preprocessing
from ultrasam.weights.registry import PREPROCESSING

# Untrained models by name, as what SamConfig takes; its defaults are those of ViT-B.
RANDOM: dict[str, dict[str, Any]] = {"sam-vit-b": {}}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def open_transformers(repository: str, *, device: str) -> _TransformersModel:
    """Load a SamModel or Sam2Model checkpoint of transformers from a repository or folder.

    Raises:
        MissingDependencyError: transformers is not installed.
        EvaluationError: The checkpoint is neither SAM nor SAM 2.
        CheckpointError: The weights cannot be downloaded or read.
    """
    with needs("Evaluating transformers models", extra="downstream"):
        from transformers import AutoConfig, Sam2Model, SamModel

        from ultrasam.download import from_pretrained
    try:
        kind = from_pretrained(AutoConfig, repository).model_type
        if kind == "sam":
            model = from_pretrained(SamModel, repository).to(device)
            if repository_preprocessing(repository) == "medsam":
                return TransformersMedSam(model)
            return TransformersSam(model, _sam_processor(repository, model))
        if kind in ("sam2", "sam2_video"):
            return TransformersSam2(from_pretrained(Sam2Model, repository).to(device))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"transformers cannot load '{repository}': {one_line(error)}."
        ) from error
    raise EvaluationError(
        f"'{repository}' has model type '{kind}'; only sam and sam2 are supported."
    )


def random_transformers(name: str, *, device: str, seed: int = 0) -> TransformersSam:
    """SAM of transformers with random weights, in its own initialization: what its code scores untrained.

    Args:
        name: a key of ``RANDOM``.
        seed: of the weights.

    Raises:
        MissingDependencyError: transformers is not installed.
        EvaluationError: There is no such model.
    """
    if name not in RANDOM:
        raise EvaluationError(
            f"'transformers-random:{name}' does not exist; use transformers-random:{', '.join(RANDOM)}."
        )
    with needs("Evaluating transformers models", extra="downstream"):
        from transformers import SamConfig, SamModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = SamModel(SamConfig(**RANDOM[name]))
    return TransformersSam(model.to(device), _default_processor(model))


def _sam_processor(repository: str, model: Any) -> Any:
    """The repository's processor; if it has none, SAM's at the model's size."""
    with needs("Evaluating transformers models", extra="downstream"):
        from transformers import SamProcessor

        from ultrasam.download import from_pretrained

    try:
        return from_pretrained(cast(Any, SamProcessor), repository)
    except (OSError, ValueError) as error:
        if "does not appear to have a file" not in str(error) and not Path(repository).is_dir():
            raise  # for example a network failure, which does not mean that there is no processor
        return _default_processor(model)


def _default_processor(model: Any) -> Any:
    """SAM's processor at the size of a model."""
    from transformers import SamImageProcessor, SamProcessor

    size = int(model.config.vision_config.image_size)
    low = 4 * model.config.prompt_encoder_config.image_embedding_size
    return cast(Any, SamProcessor)(
        SamImageProcessor(
            size={"longest_edge": size},
            pad_size={"height": size, "width": size},
            mask_size={"longest_edge": low},
            mask_pad_size={"height": low, "width": low},
        )
    )


class _TransformersModel(ABC):
    """Embeds one image and decodes prompts one by one; a single click picks the best of three masks, as
    `Predictor` does."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.embedding: Any = None
        self.shape = (0, 0)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Encode one frame of a scan."""
        pixels = as_scan(scan).frame(frame)
        self.shape = (pixels.shape[0], pixels.shape[1])
        rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
        with torch.inference_mode():
            self.embedding = self.model.get_image_embeddings(
                self._input(np.ascontiguousarray(rgb)).to(self.model.device)
            )

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt, in the pixels of the scan.

        Raises:
            PromptError: No image is set, or a prompt lies outside it.
        """
        return self._predict(prompts, multimask=None, count=1)

    def candidates(self, prompts: Prompt | Sequence[Prompt]) -> Prediction | None:
        """Three masks per prompt, best first by predicted IoU; None if the model offers one only.

        Raises:
            PromptError: No image is set, or a prompt lies outside it.
        """
        return self._predict(prompts, multimask=True, count=3)

    def _predict(
        self, prompts: Prompt | Sequence[Prompt], *, multimask: bool | None, count: int
    ) -> Prediction:
        """The best ``count`` masks of each prompt; with ``multimask`` None, of three for a single click."""
        if self.embedding is None:
            raise PromptError("No image is set; call set_image() before predict().")
        prompts = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        masks, scores, stabilities, low = [], [], [], []
        for prompt in prompts:
            prompt.check_inside(*self.shape)
            several = prompt.is_single_click if multimask is None else multimask
            logits, iou = self._decode(prompt, multimask=several)
            best = np.argsort(-iou, kind="stable")[:count]
            full = np.stack([self._to_scan(logits[index]) for index in best])
            masks.append(full > 0)
            scores.append(np.clip(iou[best], 0, 1))
            stabilities.append([(f > 1).sum() / max(1, int((f > -1).sum())) for f in full])
            low.append(logits[best])
        return Prediction(
            np.stack(masks),
            np.array(scores, np.float32),
            np.array(stabilities, np.float32),
            np.stack(low),
        )

    def _decode(self, prompt: Prompt, *, multimask: bool) -> tuple[Float32, Float32]:
        """Low-res logits [M, S, S] of one mask or three, and their predicted IoU [M]."""
        inputs: dict[str, Tensor] = {}
        device = self.model.device
        if len(prompt.points):
            coords = torch.from_numpy(self._to_model(prompt.points - 0.5)).float()
            inputs["input_points"] = coords[None, None].to(device)
            inputs["input_labels"] = torch.from_numpy(prompt.labels)[None, None].to(device)
        if prompt.box is not None:
            corners = self._to_model(prompt.box.reshape(2, 2) - 0.5).reshape(1, 1, 4)
            inputs["input_boxes"] = torch.from_numpy(corners).float().to(device)
        if prompt.mask is not None:
            # Only this model's own low-res logits have the right shape.
            inputs["input_masks"] = torch.from_numpy(prompt.mask)[None, None].float().to(device)
        with torch.inference_mode():
            out = self.model(image_embeddings=self.embedding, multimask_output=multimask, **inputs)
        scores = out.iou_scores.float().reshape(-1)
        logits = out.pred_masks.float().reshape(len(scores), *out.pred_masks.shape[-2:])
        return logits.cpu().numpy(), scores.cpu().numpy()

    @abstractmethod
    def _input(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        """Pixels [H, W, 3] as the model's input [1, 3, S, S]."""

    @abstractmethod
    def _to_model(self, points: FloatArray) -> FloatArray:
        """Map pixel indices [K, 2] from the scan to the model input; the model adds the half pixel."""

    @abstractmethod
    def _to_scan(self, logits: Float32) -> Float32:
        """Resample low-res logits [S, S] to the pixels of the scan [H, W]."""


class TransformersSam(_TransformersModel):
    """SamModel with its SamProcessor: SAM in all sizes."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model)
        self.processor = processor
        self.resized = (0, 0)

    def _input(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        inputs = self.processor(images=rgb, return_tensors="pt")
        height, width = inputs["reshaped_input_sizes"][0].tolist()
        self.resized = (height, width)
        return cast(Tensor, inputs["pixel_values"])

    def _to_model(self, points: FloatArray) -> FloatArray:
        return points * (self.resized[1] / self.shape[1], self.resized[0] / self.shape[0])

    def _to_scan(self, logits: Float32) -> Float32:
        (full,) = self.processor.post_process_masks(
            torch.from_numpy(logits)[None, None, None], [self.shape], [self.resized], binarize=False
        )
        return np.asarray(full[0, 0].numpy(), np.float32)


class TransformersMedSam(_TransformersModel):
    """SamModel with MedSAM's weights; stretches every image to a square and scales it to 0–1."""

    accepts = frozenset({"box"})

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        size = int(model.config.vision_config.image_size)
        self.preprocessor = replace(PREPROCESSING["medsam"], size=size)

    @property
    def _view(self) -> ViewTransform:
        return self.preprocessor.view(*self.shape)

    def _input(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(self.preprocessor.image(rgb, self._view))[None]

    def _to_model(self, points: FloatArray) -> FloatArray:
        return self._view.points_to_model(points)

    def _to_scan(self, logits: Float32) -> Float32:
        # As in MedSAM_Inference.py: probabilities are resampled, in one step, and cut at 0.5.
        low = torch.from_numpy(logits)[None, None].sigmoid()
        full = F.interpolate(low, self.shape, mode="bilinear", align_corners=False)[0, 0]
        return np.asarray(torch.logit(full, eps=1e-7).numpy(), np.float32)

    def candidates(self, prompts: Prompt | Sequence[Prompt]) -> Prediction | None:
        """None: MedSAM was trained to give one mask."""
        return None

    def _decode(self, prompt: Prompt, *, multimask: bool) -> tuple[Float32, Float32]:
        if prompt.box is None or len(prompt.points) or prompt.mask is not None:
            raise PromptError("MedSAM accepts only box prompts.")
        return super()._decode(prompt, multimask=multimask)


class TransformersSam2(_TransformersModel):
    """Sam2Model; stretches every image to a square."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.size = int(model.config.vision_config.backbone_config.image_size[0])

    def _input(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        square = cv2.resize(rgb, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in _IMAGENET)
        return ((torch.from_numpy(square).permute(2, 0, 1) / 255 - mean) / std)[None]

    def _to_model(self, points: FloatArray) -> FloatArray:
        height, width = self.shape
        return points * (self.size / width, self.size / height)

    def _to_scan(self, logits: Float32) -> Float32:
        height, width = self.shape
        return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR))
