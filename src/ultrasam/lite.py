"""UltraSam without PyTorch: NumPy, Pillow and onnxruntime run a folder that ``ultrasam export`` wrote.

It is the same `Predictor` over the same views; where OpenCV is missing too, NumPy takes its place. To have
only these packages, install UltraSam without what it depends on::

    pip install numpy pillow onnxruntime
    pip install --no-deps ultrasam

Example::

    from ultrasam import lite

    predictor = lite.load("nano-onnx")
    predictor.set_image("scan.png")
    prediction = predictor.predict(lite.Prompt(points=[(120, 80)]))
    mask = prediction.best[0]  # [H, W] bool
"""

from __future__ import annotations

import os
from pathlib import Path

from ultrasam.errors import CheckpointError, UltraSamError
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prediction, Prompt
from ultrasam.runtimes.onnx_backend import OnnxBackend
from ultrasam.weights.exported import read_exported

__all__ = ["Prediction", "Predictor", "Prompt", "UltraSamError", "load"]


def load(
    folder: str | os.PathLike[str],
    *,
    tta: bool | None = None,
    refine: bool = False,
    threads: int | None = None,
) -> Predictor:
    """Open a folder that ``ultrasam export --to onnx`` wrote.

    Args:
        folder: the folder, with ``model.json``, ``encoder.onnx`` and ``decoder.onnx``.
        tta, refine: as in `Predictor`.
        threads: of the processor; by default OMP_NUM_THREADS, or all.

    Returns:
        A `Predictor`, whose ``set_image`` takes an array [H, W] or [H, W, 3], or a PNG, JPEG, BMP, TIFF or
        GIF file.

    Raises:
        CheckpointError: The folder is not an export for ONNX Runtime, or a file is damaged.
        MissingDependencyError: onnxruntime is not installed.
    """
    exported = read_exported(Path(folder).expanduser())
    if exported.runtime != "onnx":
        raise CheckpointError(
            f"{folder} is exported for {exported.runtime}; export the model with --to onnx."
        )
    return Predictor(OnnxBackend(exported, threads=threads), tta=tta, refine=refine)
