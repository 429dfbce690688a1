"""Open a model by name or path in a runtime: PyTorch, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import logging

from ultrasam.errors import ConfigError
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.backends import open_exported, open_torch
from ultrasam.weights.exported import Exported, is_exported, read_exported
from ultrasam.weights.spec import RUNTIMES, ModelSpec

log = logging.getLogger(__name__)


def open_backend(
    spec: ModelSpec,
    *,
    runtime: str | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> Backend:
    """Open a promptable model.

    Args:
        spec: a model, or a folder that `ultrasam export` wrote.
        runtime: ``torch``, ``onnx``, ``openvino``, or ``auto`` for the fastest of those that are installed
            and have the model's graphs. By default that of the spec or the exported folder, else ``torch``.
            Another model is exported for its runtime once, into the cache.
        device, precision: as in `ultrasam.load`; ONNX Runtime and OpenVINO run on the CPU by default.

    Raises:
        CheckpointError: The model cannot be loaded, or the folder has no graphs for the runtime.
        ConfigError: The runtime is unknown, is given twice, or does not have the precision.
        DeviceError: The runtime cannot run on the device.
        MissingDependencyError: The runtime is not installed.
    """
    if runtime is not None and spec.runtime is not None and runtime != spec.runtime:
        raise ConfigError(f"'{spec.text}' names a runtime already; leave '{runtime}' out.")
    runtime = runtime or spec.runtime
    if runtime not in (None, "auto", *RUNTIMES):
        raise ConfigError(f"Unknown runtime '{runtime}'; use auto, {', '.join(RUNTIMES)}.")
    precision = precision or spec.precision
    exported = exported_at(spec)
    if runtime == "auto":
        from ultrasam.runtimes.choice import open_fastest

        return open_fastest(spec, exported, device=device, precision=precision)
    if exported is None and runtime in (None, "torch"):
        return open_torch(spec, device=device, precision=precision)
    if exported is None:
        from ultrasam.runtimes.cached_exports import cached_export

        assert runtime is not None
        exported = cached_export(spec)
    return open_exported(exported, runtime or exported.runtime, device=device, precision=precision)


def exported_at(spec: ModelSpec) -> Exported | None:
    """The exported folder that a spec names, unless its weights are for PyTorch."""
    if spec.kind != "path" or not is_exported(spec.path):
        return None
    exported = read_exported(spec.path)
    if exported.runtime == "torch":
        return None
    if spec.preprocessing:
        raise ConfigError(
            f"'{spec.text}': the preprocessing of an exported folder is part of it; export the model with "
            "+preprocessing."
        )
    return exported
