"""The region classifier: masks and classes of prompted objects (arXiv 2411.16222, downstream).

A linear layer predicts the class from the concatenation of the decoder's first mask token, the mean of the
decoded image embedding, and the mean of the encoder's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.downstream.backbone import empty_backbone
from ultrasam.downstream.task_folders import REGIONS, read_model, write_model
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike
from ultrasam.model.mask_decoder import MaskDecoderOutput
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import Float32, Prediction, Prompt
from ultrasam.runtimes.torch_backend import TorchBackend, TorchEmbedding


class RegionClassifier(nn.Module):
    """A segmenter with a class head; ``model`` is trained in place."""

    def __init__(self, model: UltraSam, classes: Sequence[str]) -> None:
        super().__init__()
        self.model, self.classes = model, tuple(classes)
        width = 2 * model.config.decoder_width + model.config.width
        self.classify = nn.Linear(width, len(self.classes))

    def encode(self, pixels: Tensor) -> tuple[ImageEmbedding, Tensor]:
        """Encode preprocessed pixels [B, 3, S, S] to embeddings, and mean encoder tokens [B, C]."""
        encoder, decoder = self.model.image_encoder, self.model.mask_decoder
        tokens, high_res = encoder.forward_features(pixels)
        image = encoder.neck(tokens.permute(0, 3, 1, 2))
        return ImageEmbedding(image, decoder.project_high_res(high_res)), tokens.mean(dim=(1, 2))

    def forward(self, output: MaskDecoderOutput, features: Tensor) -> Tensor:
        """Logits [N, classes] from N decoded prompts and the mean encoder tokens of their images [N, C]."""
        token, image = output.mask_tokens[:, 0], output.image.mean(dim=(2, 3))
        features = features.to(token.dtype)
        out: Tensor = self.classify(torch.cat([token, image, features], dim=1))
        return out


class RegionPredictor:
    """Masks and classes of prompted objects; a `Segmenter` that also classifies."""

    def __init__(self, classifier: RegionClassifier) -> None:
        self.classifier = classifier.eval()
        self.classes = classifier.classes
        # Training uses whole images, so test-time augmentation would not match it.
        self.predictor = Predictor(_Backend(classifier), tta=False)

    def set_image(self, scan: ScanLike, *, frame: int | None = None) -> None:
        """Encode one frame; None is frame 0, with an `UltraSamWarning` if there are others."""
        self.predictor.set_image(scan, frame=frame)

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt, as from `Predictor`."""
        return self.predictor.predict(prompts)

    def classify(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """Class probabilities [N, classes] of prompted objects."""
        embedding: _Embedding = self.predictor.embedding
        model = self.classifier.model
        rows = []
        for prompt in prompts:
            arrays = self.predictor.prompt_arrays([prompt])
            with torch.inference_mode():
                tensors = PromptTensors.from_arrays(arrays).to(model.device)
                output = model.decode(embedding.image, tensors)
                logits = self.classifier(output, embedding.features)
            rows.append(logits[0].softmax(dim=0).double().cpu().numpy())
        return np.stack(rows) if rows else np.zeros((0, len(self.classes)))


@dataclass(slots=True)
class _Embedding(TorchEmbedding):
    """An embedding with the mean encoder tokens [1, C]."""

    features: Tensor = field(default_factory=lambda: torch.zeros(1, 0))


class _Backend(TorchBackend):
    """Stores the features by which objects are classified with each embedding."""

    def __init__(self, classifier: RegionClassifier) -> None:
        super().__init__(classifier.model)
        self.classifier = classifier

    def encode(self, pixels: Float32) -> list[TorchEmbedding]:
        """Encode pixels [B, 3, S, S]."""
        with torch.inference_mode():
            images, features = self.classifier.encode(
                torch.from_numpy(pixels).to(self.model.device)
            )
        return [
            _Embedding(image, features=mean)
            for image, mean in zip(images.split(), features.split(1), strict=True)
        ]


def save_region_classifier(
    classifier: RegionClassifier, folder: Path, note: dict[str, Any]
) -> None:
    """Save a region classifier to a folder; ``note`` is added to its description (see `write_model`)."""
    model = classifier.model
    write_model(
        classifier, folder, REGIONS, classes=classifier.classes, config=model.config.to_json(),
        preprocessor=model.preprocessor, about=note,
    )  # fmt: skip


def load_region_classifier(folder: str | Path, device: str | None = None) -> RegionPredictor:
    """Load a saved region classifier, ready to use.

    Raises:
        CheckpointError: The folder contains no region classifier, or it is damaged.
        DeviceError: The device is not available.
    """

    def build(about: dict[str, Any]) -> RegionClassifier:
        return RegionClassifier(cast(UltraSam, empty_backbone(about)), about["classes"])

    return RegionPredictor(read_model(Path(folder), REGIONS, build, device=device))
