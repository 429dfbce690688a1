"""The backend of OpenVINO, on the processor. It needs no PyTorch.

OpenVINO takes a hint for its number format and may compute in another: it turns bfloat16 into float32 without
a word where the processor lacks the instructions, and float32 into bfloat16 where it has them and no hint is
given. So the hint is always given, and read back.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from ultrasam.errors import CheckpointError, ConfigError, DeviceError, one_line
from ultrasam.extras import needs
from ultrasam.prompts import Float32
from ultrasam.runtimes.graph_backend import GraphBackend
from ultrasam.weights.exported import Exported

log = logging.getLogger(__name__)
_HINTS = {
    "float32": "f32", "fp32": "f32", "bfloat16": "bf16", "bf16": "bf16", "auto": "bf16",
}  # fmt: skip
_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


class OpenVinoBackend(GraphBackend):
    """Runs an exported folder, of OpenVINO's or of ONNX graphs, in OpenVINO.

    Args:
        exported: the folder.
        device: only ``cpu``.
        precision: of the encoder: ``float32`` (the default), ``bfloat16``, or ``auto`` for bfloat16 where the
            processor has it. The decoder stays in float32.
        threads: of the processor; by default OMP_NUM_THREADS, as for PyTorch, or OpenVINO's choice.

    Attributes:
        precision: what OpenVINO says that the encoder computes in.

    Raises:
        CheckpointError: A graph is missing, damaged or not supported.
        ConfigError: The precision is unknown.
        DeviceError: The device is not the CPU.
        MissingDependencyError: openvino is not installed.
    """

    def __init__(
        self,
        exported: Exported,
        *,
        device: str = "cpu",
        precision: str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(exported)
        if device != "cpu":
            raise DeviceError(f"OpenVINO runs on the CPU here, not on '{device}'; use 'cpu'.")
        hint = _HINTS.get(precision or "float32")
        if hint is None:
            raise ConfigError(f"Unknown precision '{precision}'; use auto, float32 or bfloat16.")
        self._encoder = _compile(exported.file("encoder"), hint, threads)
        self._decoder = _compile(exported.file("decoder"), "f32", threads)
        got = str(self._encoder.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.precision = _NAMES.get(got, got)
        if got != hint and precision != "auto":
            log.warning(
                "OpenVINO computes in %s instead of %s: the processor lacks the instructions.",
                self.precision, precision or "float32",
            )  # fmt: skip
        self._requests = local()

    def run_encoder(self, pixels: Float32) -> dict[str, Float32]:
        found = self._request("encoder").infer({"pixels": pixels})
        return {port.get_any_name(): np.array(values) for port, values in found.items()}

    def run_decoder(self, inputs: Mapping[str, Float32]) -> tuple[Float32, Float32]:
        found = self._request("decoder").infer(dict(inputs))
        by_name = {port.get_any_name(): values for port, values in found.items()}
        return np.array(by_name["masks"]), np.array(by_name["predicted_iou"])

    def _request(self, graph: str) -> Any:
        """This thread's request: one may not be used by two threads at once."""
        if not hasattr(self._requests, graph):
            compiled = self._encoder if graph == "encoder" else self._decoder
            setattr(self._requests, graph, compiled.create_infer_request())
        return getattr(self._requests, graph)


def _compile(file: Path, hint: str, threads: int | None) -> Any:
    with needs("Running a model in OpenVINO", extra="openvino"):
        import openvino
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    given = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(given) if given.isdigit() else 0)
    if count:
        settings["INFERENCE_NUM_THREADS"] = count
    try:
        core = openvino.Core()
        return core.compile_model(core.read_model(str(file)), "CPU", settings)
    except Exception as error:  # RuntimeError of its C++ code, with a stack in its text
        reason = one_line(error)
        raise CheckpointError(f"OpenVINO cannot open {file}: {reason}.") from error
