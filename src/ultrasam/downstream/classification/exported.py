"""An image classifier as an ONNX graph: write it, and run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.downstream.classification.model import Classifier, load_classifier
from ultrasam.downstream.features import ModelInput
from ultrasam.downstream.task_folders import CLASSIFIER
from ultrasam.errors import CheckpointError, ConfigError, one_line
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.prompts import Float32
from ultrasam.runtimes.exported_folder import (
    about_export,
    file_entry,
    new_folder,
    write_compared,
)
from ultrasam.runtimes.graphs import plain_copy
from ultrasam.runtimes.onnx_backend import open_session
from ultrasam.runtimes.onnx_graphs import interface, write_graph
from ultrasam.runtimes.verification import TOLERANCE, ExportError
from ultrasam.weights.exported import DESCRIPTION, graph_file, is_exported, read_description
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.model_card import ModelCard

_COMPARED = (1, 3, 16)  # images at once


class ExportedClassifier:
    """Classifies frames in ONNX Runtime; it has what a `Classifier` has to predict.

    Attributes:
        classes: names, in the order of the probabilities.

    Raises:
        CheckpointError: The folder is no exported classifier, or a file is missing or damaged.
        DeviceError: ONNX Runtime does not have the device.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        content = read_description(folder)
        try:
            sizes = content["sizes"]
            self.classes = tuple(str(name) for name in content["classes"])
            self._input = ModelInput(
                Preprocessor.from_dict(content["preprocessing"]),
                int(sizes["image_size"]),
                int(sizes["patch_size"]),
            )
            file = graph_file(folder, content, CLASSIFIER)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(
                f"{folder / DESCRIPTION} is damaged ({type(error).__name__}: {one_line(error)}); export the "
                "model again."
            ) from error
        self._session = open_session(file, device)

    def logits(self, pixels: Float32, valid: Float32) -> Float32:
        """Logits [B, classes] of preprocessed pixels [B, 3, S, S] and the valid fraction of each patch
        [B, h, w]."""
        found: Float32 = self._session.run(["logits"], {"pixels": pixels, "valid": valid})[0]
        return found

    def predict(self, frames: Sequence[npt.NDArray[np.uint8]]) -> Float32:
        """Class probabilities [N, classes] of frames [H, W] or [H, W, 3]."""
        rows = [np.zeros((0, len(self.classes)), np.float32)]
        for frame in frames:
            pixels, valid = (part[None].numpy() for part in self._input(frame))
            logits = self.logits(pixels, valid.astype(np.float32))
            rows.append(torch.from_numpy(logits).softmax(dim=1).numpy())
        return np.concatenate(rows)


def open_classifier(
    folder: str | Path, device: str | None = None
) -> Classifier | ExportedClassifier:
    """Load a saved classifier, in PyTorch, or an exported one, in ONNX Runtime.

    Raises:
        CheckpointError: The folder contains no classifier, or it is damaged.
        DeviceError: The device is not available.
    """
    folder = Path(folder)
    if is_exported(folder):
        return ExportedClassifier(folder, device=device or "cpu")
    return load_classifier(folder, device)


def export_classifier(model: Classifier, folder: Path, card: ModelCard) -> None:
    """Write a classifier as ``classifier.onnx`` with its description, model card and license.

    Raises:
        ExportError: The graph's logits differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
        UltraSamError: The folder cannot be written.
    """
    model = plain_copy(model).cpu()
    size, patch = model.head.size, model.config.patch_size
    with new_folder(folder) as part:
        file = part / f"{CLASSIFIER}.onnx"
        count = torch.export.Dim("images", max=256)
        write_graph(
            _Graph(model), file, _examples(2, size, patch), ({0: count}, {0: count}),
            ("pixels", "valid"), ("logits",),
        )  # fmt: skip
        description: dict[str, Any] = {
            **about_export(card, "onnx", "float32"),
            "task": CLASSIFIER,
            "weights_sha256": weights_hash(model),
            "classes": list(model.head.classes),
            "head": {key: value for key, value in asdict(model.head).items() if key == "mode"},
            "sizes": {"image_size": size, "patch_size": patch},
            "preprocessing": model.preprocessor.to_dict(),
            "graphs": {CLASSIFIER: {**interface(file), "files": [file_entry(file)]}},
        }
        write_compared(part, card, description, lambda: _compare(ExportedClassifier(part), model))


class _Graph(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.model(pixels, valid)
        return logits


def _examples(count: int, size: int, patch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise, whose lowest quarter is outside the image."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.ones(count, size // patch, size // patch)
    valid[:, -(size // patch // 4 or 1) :] = 0
    return torch.randn(count, 3, size, size, generator=random), valid


def _compare(exported: ExportedClassifier, model: Classifier) -> list[dict[str, Any]]:
    """The largest difference of the logits for several numbers of images."""
    cases = []
    for count in _COMPARED:
        pixels, valid = _examples(count, model.head.size, model.config.patch_size, seed=count)
        with torch.inference_mode():
            expected = model(pixels, valid).numpy()
        got = exported.logits(pixels.numpy(), valid.numpy())
        difference = float(np.abs(got - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise ExportError(
                f"The exported classifier differs from PyTorch's for {count} images: logits by up to "
                f"{difference:.2g}; at most {TOLERANCE:g} is allowed. Nothing was written."
            )
        cases.append({"images": count, "logits": float(f"{difference:.3g}")})
    return cases
