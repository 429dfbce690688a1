"""The backend of OpenVINO, on the processor. It needs no PyTorch.

OpenVINO takes a hint for its number format and may compute in another: it turns bfloat16 into float32 without
a word where the processor lacks the instructions, and float32 into bfloat16 where it has them and no hint is
given. So the hint is always given, and read back.

With numbers of prompts that change, OpenVINO 2026.4 returned masks of another number. So the graphs are
compiled for one image, and for one or eight prompts, whose points are filled up with unused ones. A prompt
among eight takes about 0.7 of the time of a prompt alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ultrasam.errors import CheckpointError, ConfigError, DeviceError, one_line
from ultrasam.extras import needs
from ultrasam.prompts import UNUSED, Float32
from ultrasam.runtimes.graph_backend import GraphBackend
from ultrasam.weights.exported import INT8, Exported

log = logging.getLogger(__name__)
_HINTS = {
    "float32": "f32", "fp32": "f32", "bfloat16": "bf16", "bf16": "bf16", "auto": "bf16",
}  # fmt: skip
_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}

_SLOTS = 8  # points of a prompt are filled up to a multiple
_TOGETHER = 8  # prompts per call, while there are so many
_BY_PROMPT = ("coords", "labels", "mask_prompts", "has_mask")
_MAKING_CORE = Lock()


class OpenVinoBackend(GraphBackend):
    """Runs an exported folder, of OpenVINO's or of ONNX graphs, in OpenVINO.

    Args:
        exported: the folder.
        device: only ``cpu``.
        precision: of the encoder: ``float32`` (the default), ``bfloat16``, or ``auto`` for bfloat16 where the
            processor has it. The decoder stays in float32.
        threads: of the processor; by default OMP_NUM_THREADS, as for PyTorch, or OpenVINO's choice.

    Attributes:
        precision: what OpenVINO says that the encoder computes in; ``int8`` if the folder has layers in int8
            and OpenVINO keeps them so.

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
        self._threads = threads
        self._decoder_file = exported.file("decoder")
        size = self.config.image_size
        shapes = {"pixels": [1, 3, size, size]}
        self._encoder = _compile(exported.file("encoder"), shapes, hint, threads)
        self._decoders: dict[tuple[int, int], Any] = {}
        self._lock = Lock()
        got = str(self._encoder.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.precision = _NAMES.get(got, got)
        if exported.is_int8:
            rest = self.precision
            if _computes_in_int8(self._encoder):
                self.precision = INT8
            else:
                log.warning("OpenVINO computes all of the image encoder in %s, not in int8.", rest)
        if precision == "auto":
            log.info("OpenVINO computes the image encoder in %s.", self.precision)
        elif got != hint:
            log.warning(
                "OpenVINO computes in %s instead of %s: the processor lacks the instructions.",
                self.precision, precision or "float32",
            )  # fmt: skip

    def run_encoder(self, pixels: Float32) -> dict[str, Float32]:
        with self._lock:
            found = [_infer(self._encoder, {"pixels": image[None]}) for image in pixels]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def run_decoder(self, inputs: Mapping[str, Float32]) -> tuple[Float32, Float32]:
        count, points = inputs["labels"].shape
        slots = -(-points // _SLOTS) * _SLOTS
        more = ((0, 0), (0, slots - points))
        coords = np.pad(inputs["coords"], (*more, (0, 0)))
        labels = np.pad(inputs["labels"], more, constant_values=UNUSED)
        of_prompts = {**inputs, "coords": coords, "labels": labels}
        found = []
        with self._lock:
            start = 0
            while start < count:
                together = _TOGETHER if count - start >= _TOGETHER else 1
                some = {
                    name: values[start : start + together] if name in _BY_PROMPT else values
                    for name, values in of_prompts.items()
                }
                found.append(_infer(self._decoder(together, slots), some))
                start += together
        masks, iou = (
            np.concatenate([one[name] for one in found]) for name in ("masks", "predicted_iou")
        )
        return masks, iou

    def _decoder(self, count: int, slots: int) -> Any:
        """The decoder of so many prompts of so many points."""
        if (count, slots) not in self._decoders:
            size = self.config.mask_size
            shapes = {
                "coords": [count, slots, 2],
                "labels": [count, slots],
                "mask_prompts": [count, 1, size, size],
                "has_mask": [count],
            }
            self._decoders[count, slots] = _compile(
                self._decoder_file, shapes, "f32", self._threads
            )
        return self._decoders[count, slots]


def _computes_in_int8(compiled: Any) -> bool:
    """Whether linear layers or convolutions of a compiled graph take bytes."""
    kinds = ("FullyConnected", "Convolution", "MatMul")
    infos = (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
    return any(
        str(info["layerType"].get()) in kinds
        and str(info["runtimePrecision"].get()) in ("u8", "i8")
        for info in infos
    )


def _infer(compiled: Any, inputs: Mapping[str, Float32]) -> dict[str, Float32]:
    found = compiled(dict(inputs))
    return {port.get_any_name(): np.array(values) for port, values in found.items()}


def openvino_core() -> Any:
    """OpenVINO's only `Core` in this process, which lives as long as the process.

    OpenVINO's CPU plug-in gives the thread that makes it a stack for signal handlers, and frees that stack in
    whatever thread the plug-in ends (2026.4). If that is another thread, the next signal that reaches the
    first one (Ctrl+C, the end of a child) kills the process. So the plug-in never ends.
    """
    with _MAKING_CORE:  # two made at once would be one too many
        return _make_core()


@cache
def _make_core() -> Any:
    with needs("Running a model in OpenVINO", extra="openvino"):
        import openvino
    return openvino.Core()


def _compile(file: Path, shapes: Mapping[str, list[int]], hint: str, threads: int | None) -> Any:
    core = openvino_core()
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    given = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(given) if given.isdigit() else 0)
    if count:
        settings["INFERENCE_NUM_THREADS"] = count
    try:
        model = core.read_model(str(file))
        model.reshape(dict(shapes))
        return core.compile_model(model, "CPU", settings)
    except Exception as error:  # RuntimeError of its C++ code, with a stack in its text
        reason = one_line(error)
        raise CheckpointError(f"OpenVINO cannot open {file}: {reason}.") from error
