"""A region classifier as ONNX graphs: write them, and run them.

They are a promptable model's, with one more output each: the encoder's mean features, which the decoder
takes, and the classes' logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.downstream.regions.model import (
    RegionClassifier,
    RegionPredictor,
    load_region_classifier,
)
from ultrasam.downstream.task_folders import REGIONS
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding
from ultrasam.prompts import Float32, Prediction, Prompt
from ultrasam.runtimes.export import promptable_settings
from ultrasam.runtimes.exported_folder import (
    about_export,
    file_entry,
    new_folder,
    write_compared,
)
from ultrasam.runtimes.graph_backend import GraphEmbedding, decoder_inputs
from ultrasam.runtimes.graphs import plain_copy, prompts_of
from ultrasam.runtimes.onnx_backend import OnnxBackend
from ultrasam.runtimes.onnx_graphs import (
    DECODER_OUTPUTS,
    Graphs,
    encoder_outputs,
    interface,
    write_onnx,
)
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.runtimes.verification import TOLERANCE, ExportError, compare
from ultrasam.weights.exported import is_exported, read_exported
from ultrasam.weights.model_card import ModelCard

_FEATURES, _LOGITS = "features", "class_logits"


class ExportedRegionPredictor:
    """Masks and classes of prompted objects in ONNX Runtime, as a `RegionPredictor`.

    Attributes:
        classes: names, in the order of the probabilities.
        predictor: gives the masks.

    Raises:
        CheckpointError: The folder is no exported region classifier, or a file is missing or damaged.
        DeviceError: ONNX Runtime does not have the device.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        exported = read_exported(folder, task=REGIONS)
        self.classes = tuple(str(name) for name in exported.content["classes"])
        self.backend = OnnxBackend(exported, device=device)
        self.predictor = Predictor(self.backend, tta=False)

    def set_image(self, scan: ScanLike, *, frame: int | None = None) -> None:
        """Encode one frame; None is frame 0, with an `UltraSamWarning` if there are others."""
        self.predictor.set_image(scan, frame=frame)

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt, as from `Predictor`."""
        return self.predictor.predict(prompts)

    def classify(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """Class probabilities [N, classes] of prompted objects."""
        embedding: GraphEmbedding = self.predictor.embedding
        rows = [np.zeros((0, len(self.classes)))]
        for prompt in prompts:
            arrays = self.predictor.prompt_arrays([prompt])
            size = self.backend.config.mask_size
            logits = self.class_logits(embedding, decoder_inputs(arrays, np.arange(1), size))
            rows.append(torch.from_numpy(logits).double().softmax(dim=1).numpy())
        return np.concatenate(rows)

    def class_logits(self, embedding: GraphEmbedding, prompts: dict[str, Float32]) -> Float32:
        """Logits [N, classes] for the decoder's inputs."""
        return self.backend.decoder_output(_LOGITS, {**embedding, **prompts})


def open_region_classifier(
    folder: str | Path, device: str | None = None
) -> RegionPredictor | ExportedRegionPredictor:
    """Load a saved region classifier, in PyTorch, or an exported one, in ONNX Runtime.

    Raises:
        CheckpointError: The folder contains no region classifier, or it is damaged.
        DeviceError: The device is not available.
    """
    folder = Path(folder)
    if is_exported(folder):
        return ExportedRegionPredictor(folder, device=device or "cpu")
    return load_region_classifier(folder, device)


def export_region_classifier(classifier: RegionClassifier, folder: Path, card: ModelCard) -> None:
    """Write a region classifier's ``encoder.onnx`` and ``decoder.onnx``, with description, model card and
    license.

    Raises:
        ExportError: The graphs' results differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
        UltraSamError: The folder cannot be written.
    """
    classifier = plain_copy(classifier).cpu()
    model = classifier.model
    graphs = Graphs(
        _Encoder(classifier),
        _Decoder(classifier),
        (*encoder_outputs(model), _FEATURES),
        (*DECODER_OUTPUTS, _LOGITS),
    )
    with new_folder(folder) as part:
        files = write_onnx(model, part, graphs=graphs)
        description: dict[str, Any] = {
            **about_export(card, "onnx", "float32"),
            "task": REGIONS,
            "classes": list(classifier.classes),
            **promptable_settings(model),
            "graphs": {f.stem: {**interface(f), "files": [file_entry(f)]} for f in files},
        }

        def compared() -> list[dict[str, Any]]:
            opened = ExportedRegionPredictor(part)
            cases = [case.to_dict() for case in compare(opened.backend, TorchBackend(model))]
            return [*cases, _compare_classes(opened, classifier)]

        write_compared(part, card, description, compared)


class _Encoder(nn.Module):
    def __init__(self, classifier: RegionClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        images, features = self.classifier.encode(pixels)
        return (images.image, *images.high_res, features)


class _Decoder(nn.Module):
    """``others`` are the high-resolution features, if any, and the mean encoder tokens [1, C]."""

    def __init__(self, classifier: RegionClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(
        self,
        image: Tensor,
        others: tuple[Tensor, ...],
        coords: Tensor,
        labels: Tensor,
        masks: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        *high_res, features = others
        prompts = prompts_of(coords, labels, masks, has_mask)
        images = ImageEmbedding(image, tuple(high_res))
        output = self.classifier.model.decode(images, prompts)
        logits = self.classifier(output, features.expand(coords.shape[0], -1))
        return output.masks, output.predicted_iou, logits


def _compare_classes(
    exported: ExportedRegionPredictor, classifier: RegionClassifier
) -> dict[str, Any]:
    """The largest difference of the classes' logits for clicks on noise."""
    rng = np.random.default_rng(0)
    model, count = classifier.model, 5
    size, mask_size = model.config.image_size, model.config.mask_size
    pixels = rng.normal(size=(1, 3, size, size)).astype(np.float32)
    prompts = {
        "coords": rng.uniform(0, size, (count, 2, 2)).astype(np.float32),
        "labels": np.tile(np.array([1, -1], np.float32), (count, 1)),
        "mask_prompts": np.zeros((count, 1, mask_size, mask_size), np.float32),
        "has_mask": np.zeros(count, np.float32),
    }
    with torch.inference_mode():
        images, features = classifier.encode(torch.from_numpy(pixels))
        tensors = PromptTensors(
            torch.from_numpy(prompts["coords"]), torch.from_numpy(prompts["labels"]).long(), None
        )
        output = model.decode(images, tensors)
        expected = classifier(output, features.expand(count, -1)).numpy()
    got = exported.class_logits(exported.backend.encode(pixels)[0], prompts)
    difference = float(np.abs(got - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ExportError(
            f"The exported region classifier differs from PyTorch's: logits of classes by up to "
            f"{difference:.2g}; at most {TOLERANCE:g} is allowed. Nothing was written."
        )
    return {"prompts": count, "class_logits": float(f"{difference:.3g}")}
