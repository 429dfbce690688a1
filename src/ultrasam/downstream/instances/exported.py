"""An instance segmenter as an ONNX graph: write it, and run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.downstream.instances.detections import FindsObjects
from ultrasam.downstream.instances.model import InstanceSegmenter, load_instance_segmenter
from ultrasam.downstream.task_folders import INSTANCES
from ultrasam.errors import CheckpointError, ConfigError, one_line
from ultrasam.geometry import ViewTransform
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

_OUTPUTS = ("class_logits", "mask_logits")
_COMPARED = 3  # images


class ExportedInstanceSegmenter(FindsObjects):
    """Finds objects without prompts in ONNX Runtime; it has what an `InstanceSegmenter` has to predict.

    Attributes:
        classes: names, in the order of the labels.

    Raises:
        CheckpointError: The folder is no exported instance segmenter, or a file is missing or damaged.
        DeviceError: ONNX Runtime does not have the device.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        content = read_description(folder)
        try:
            self.classes = tuple(str(name) for name in content["classes"])
            preprocessor = Preprocessor.from_dict(content["preprocessing"])
            self._preprocessor = replace(preprocessor, size=int(content["sizes"]["image_size"]))
            file = graph_file(folder, content, INSTANCES)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(
                f"{folder / DESCRIPTION} is damaged ({type(error).__name__}: {one_line(error)}); export the "
                "model again."
            ) from error
        self._session = open_session(file, device)

    def logits(self, pixels: Float32) -> tuple[Float32, Float32]:
        """Class logits [1, Q, K + 1], the last for no object, and mask logits [1, Q, h, w] of preprocessed
        pixels [1, 3, S, S]."""
        classes, masks = self._session.run(_OUTPUTS, {"pixels": pixels})
        return classes, masks

    def _predict(self, frame: npt.NDArray[np.uint8]) -> tuple[Float32, Float32, ViewTransform]:
        view = self._preprocessor.view(*frame.shape[:2])
        classes, masks = self.logits(self._preprocessor.image(frame, view)[None])
        return classes[0], masks[0], view


def open_instance_segmenter(
    folder: str | Path, device: str | None = None
) -> InstanceSegmenter | ExportedInstanceSegmenter:
    """Load a saved instance segmenter, in PyTorch, or an exported one, in ONNX Runtime.

    Raises:
        CheckpointError: The folder contains no instance segmenter, or it is damaged.
        DeviceError: The device is not available.
    """
    folder = Path(folder)
    if is_exported(folder):
        return ExportedInstanceSegmenter(folder, device=device or "cpu")
    return load_instance_segmenter(folder, device)


def export_instance_segmenter(model: InstanceSegmenter, folder: Path, card: ModelCard) -> None:
    """Write an instance segmenter as ``instances.onnx`` with its description, model card and license.

    The graph takes one image.

    Raises:
        ExportError: The graph's results differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
        UltraSamError: The folder cannot be written.
    """
    model = plain_copy(model).cpu()
    size = model.head_config.size
    with new_folder(folder) as part:
        file = part / f"{INSTANCES}.onnx"
        write_graph(_Graph(model), file, (_example(size),), ({},), ("pixels",), _OUTPUTS)
        description: dict[str, Any] = {
            **about_export(card, "onnx", "float32"),
            "task": INSTANCES,
            "weights_sha256": weights_hash(model),
            "classes": list(model.classes),
            "sizes": {"image_size": size},
            "preprocessing": model.preprocessor.to_dict(),
            "graphs": {INSTANCES: {**interface(file), "files": [file_entry(file)]}},
        }
        write_compared(
            part, card, description, lambda: _compare(ExportedInstanceSegmenter(part), model)
        )


class _Graph(nn.Module):
    def __init__(self, model: InstanceSegmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.logits(pixels)


def _example(size: int, seed: int = 0) -> Tensor:
    """Noise of another contrast for each seed."""
    random = torch.Generator().manual_seed(seed)
    return (1 + seed) * torch.randn(1, 3, size, size, generator=random)


def _compare(exported: ExportedInstanceSegmenter, model: InstanceSegmenter) -> list[dict[str, Any]]:
    """The largest differences of both outputs' logits for images that the graph was not traced with."""
    cases = []
    for seed in range(1, 1 + _COMPARED):
        pixels = _example(model.head_config.size, seed)
        with torch.inference_mode():
            expected = [values.numpy() for values in model.logits(pixels)]
        case: dict[str, Any] = {"images": 1}
        for name, got, other in zip(
            _OUTPUTS, exported.logits(pixels.numpy()), expected, strict=True
        ):
            difference = float(np.abs(got - other).max())
            if not difference <= TOLERANCE * max(1.0, float(np.abs(other).max())):
                raise ExportError(
                    f"The exported instance segmenter differs from PyTorch's: {name} by up to "
                    f"{difference:.2g}; at most {TOLERANCE:g} is allowed. Nothing was written."
                )
            case[name] = float(f"{difference:.3g}")
        cases.append(case)
    return cases
