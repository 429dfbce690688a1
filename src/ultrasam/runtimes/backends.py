"""Open a model in a given runtime; each is imported when it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from ultrasam.errors import CheckpointError, ConfigError
from ultrasam.runtimes.backend import Backend
from ultrasam.weights.exported import Exported
from ultrasam.weights.spec import ModelSpec

if TYPE_CHECKING:
    from ultrasam.model.ultrasam import UltraSam


def open_torch(spec: ModelSpec, *, device: str | None, precision: str | None) -> Backend:
    """Open a model in PyTorch."""
    from ultrasam.runtimes.torch_backend import TorchBackend
    from ultrasam.weights.load import load_model

    return TorchBackend(load_model(spec, device=device, precision=precision))


def open_exported(
    exported: Exported, runtime: str, *, device: str | None, precision: str | None
) -> Backend:
    """Open an exported folder in ONNX Runtime or OpenVINO, which reads ONNX graphs, too.

    Raises:
        CheckpointError: The folder's graphs are not for the runtime.
    """
    if runtime == "openvino" and exported.runtime in ("onnx", "openvino"):
        from ultrasam.runtimes.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(exported, device=device or "cpu", precision=precision)
    if runtime != exported.runtime or runtime != "onnx":
        raise CheckpointError(
            f"{exported.folder} is exported for {exported.runtime} and cannot run in {runtime}; export the "
            f"model with --to {runtime}."
        )
    if precision not in (None, "float32", "fp32", "auto"):
        raise ConfigError(
            f"ONNX Runtime computes in float32 here, not in {precision}; leave it out."
        )
    from ultrasam.runtimes.onnx_backend import OnnxBackend

    return OnnxBackend(exported, device=device or "cpu")


def as_backend(model: Backend | UltraSam) -> Backend:
    """A loaded network as a backend; backends are returned unchanged.

    Raises:
        ConfigError: It is neither.
    """
    # If PyTorch is not loaded, the model cannot be an UltraSam; other backends may not need PyTorch.
    network = getattr(sys.modules.get("ultrasam.model.ultrasam"), "UltraSam", None)
    if network is not None and isinstance(model, network):
        from ultrasam.runtimes.torch_backend import TorchBackend

        return TorchBackend(cast("UltraSam", model))
    if not isinstance(model, Backend):
        raise ConfigError(
            f"Predictor takes a model name, an UltraSam or a Backend, not a {type(model).__name__}."
        )
    return model
