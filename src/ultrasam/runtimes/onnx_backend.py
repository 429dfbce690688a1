"""The backend of ONNX Runtime. It needs no PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.errors import CheckpointError, DeviceError, one_line
from ultrasam.extras import needs
from ultrasam.prompts import Float32
from ultrasam.runtimes.graph_backend import GraphBackend
from ultrasam.weights.exported import INT8, Exported

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackend(GraphBackend):
    """Runs an exported folder in ONNX Runtime.

    Args:
        exported: a folder with ONNX graphs.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the processor; by default OMP_NUM_THREADS, as for PyTorch, or all.

    Attributes:
        precision: that of the encoder's layers, ``float32`` or ``int8``.

    Raises:
        CheckpointError: A graph is missing, damaged or not supported.
        DeviceError: ONNX Runtime does not have the device.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(
        self, exported: Exported, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        super().__init__(exported)
        self.precision = INT8 if exported.is_int8 else "float32"
        self._encoder = open_session(exported.file("encoder"), device, threads)
        self._decoder = open_session(exported.file("decoder"), device, threads)
        self._outputs = [output.name for output in self._encoder.get_outputs()]

    def run_encoder(self, pixels: Float32) -> dict[str, Float32]:
        found = self._encoder.run(self._outputs, {"pixels": pixels})
        return dict(zip(self._outputs, found, strict=True))

    def run_decoder(self, inputs: Mapping[str, Float32]) -> tuple[Float32, Float32]:
        logits, iou = self._decoder.run(["masks", "predicted_iou"], dict(inputs))
        return logits, iou

    def decoder_output(self, name: str, inputs: Mapping[str, Float32]) -> Float32:
        """Another output of the decoder, of a model that was fine-tuned for more than masks."""
        (found,) = self._decoder.run([name], dict(inputs))
        return np.asarray(found)


def open_session(file: Path, device: str, threads: int | None = None) -> Any:
    """Open a graph in ONNX Runtime; arguments and errors as of `OnnxBackend`."""
    with needs("Running a model in ONNX Runtime", extra="onnx"):
        import onnxruntime
    kind, _, number = device.partition(":")
    provider = _PROVIDERS.get(kind)
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"The installed ONNX Runtime cannot run on '{device}'; use 'cpu', or install onnxruntime-gpu."
        )
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    given = os.environ.get("OMP_NUM_THREADS", "")
    settings.intra_op_num_threads = threads or (int(given) if given.isdigit() else 0)
    # A thread that spins while it waits slows the others down if another program keeps a core busy.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options = {"device_id": number} if number else {}
    try:
        session = onnxruntime.InferenceSession(str(file), settings, providers=[(provider, options)])
    except Exception as error:  # of any of the classes of its C++ code
        raise CheckpointError(f"ONNX Runtime cannot open {file}: {one_line(error)}.") from error
    if provider not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime could not use '{device}' and would run on the CPU; use 'cpu'."
        )
    return session
