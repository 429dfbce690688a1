"""What can run a model on this machine: runtimes and precisions, and why others cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from ultrasam.errors import ConfigError, MissingDependencyError
from ultrasam.hardware import choose_precision
from ultrasam.quantization.cached import cached_int8
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.backends import open_exported
from ultrasam.runtimes.choice import NAMES
from ultrasam.runtimes.opening import exported_at, open_backend
from ultrasam.weights.exported import INT8
from ultrasam.weights.spec import ModelSpec

_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
_EXPORTER = ("onnx", "onnxscript")


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run a model.

    Attributes:
        runtime: its name for people.
        precision: of the image encoder.
        open: opens the model.
    """

    runtime: str
    precision: str
    open: Callable[[], Backend]

    @property
    def name(self) -> str:
        return f"{self.runtime}, {self.precision}"


def variants_of(spec: ModelSpec, *, int8: bool = False) -> tuple[list[Variant], list[str]]:
    """All ways to run a model on this processor, and a sentence for each that is left out.

    Args:
        int8: also in int8, for which the model is quantized once, into the cache.

    Raises:
        CheckpointError: The model is an export that cannot be read.
        ConfigError: The name says how the model is to be run.
        MissingDependencyError: Nothing here can run it.
    """
    if spec.runtime is not None or spec.precision is not None or spec.refine:
        raise ConfigError(
            f"'{spec.text}' says how the model is to run, but all ways are compared here; leave +onnx, "
            "+openvino, +bf16, +fp32, +auto and +refine out."
        )
    exported = exported_at(spec)
    bfloat16 = choose_precision("auto", "cpu")
    has_bfloat16 = bfloat16.precision == "bfloat16"
    stored = INT8 if exported is not None and exported.is_int8 else "float32"
    found: list[Variant] = []
    left_out: list[str] = []

    def add(runtime: str, precision: str) -> None:
        def opened() -> Backend:
            if precision != INT8:
                return open_backend(spec, runtime=runtime, device="cpu", precision=precision)
            quantized = exported or cached_int8(spec)
            return open_exported(quantized, runtime, device="cpu", precision=None)

        found.append(Variant(NAMES[runtime], precision, opened))

    if exported is None:
        add("torch", "float32")
        if has_bfloat16:
            add("torch", "bfloat16")
    for runtime, package in _PACKAGES.items():
        if exported is not None and exported.runtime == "openvino" and runtime == "onnx":
            left_out.append(f"{NAMES[runtime]}: {spec.text} is exported for OpenVINO.")
        elif find_spec(package) is None:
            left_out.append(f"{NAMES[runtime]}: pip install 'ultrasam[{runtime}]'.")
        elif exported is None and any(find_spec(name) is None for name in _EXPORTER):
            left_out.append(f"{NAMES[runtime]}: pip install 'ultrasam[export]' to make its graphs.")
        else:
            add(runtime, stored)
            if runtime == "openvino" and has_bfloat16 and stored != INT8:
                add(runtime, "bfloat16")
            if int8 and exported is None:
                add(runtime, INT8)
    if int8 and exported is not None and stored != INT8:
        left_out.append("int8: export the model with --precision int8, and measure that folder.")
    if not has_bfloat16:
        left_out.append(f"bfloat16: {bfloat16.reason}.")
    if not found:
        raise MissingDependencyError(" ".join(left_out))
    return found, left_out
