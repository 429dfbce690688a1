"""Choose the fastest runtime for a model on this machine by a short probe, which the cache keeps."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.errors import MissingDependencyError
from ultrasam.files import write_json
from ultrasam.hardware import processor
from ultrasam.prompts import FOREGROUND, NOT_A_POINT, PromptArrays
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.backends import open_exported, open_torch
from ultrasam.weights.cache import cache_folder
from ultrasam.weights.exported import Exported
from ultrasam.weights.spec import ModelSpec

log = logging.getLogger(__name__)
NAMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
_PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
_SECONDS = 1.0  # of the probe, if each runtime has run twice by then
_MIN_ROUNDS = 2
Openers = dict[str, Callable[[], Backend]]


def open_fastest(
    spec: ModelSpec,
    exported: Exported | None,
    *,
    device: str | None = None,
    precision: str | None = None,
) -> Backend:
    """Open a model in the runtime that takes least time for an image with its first prompt, and log which.

    Args:
        exported: the folder that ``spec`` names, if it is one.
        device, precision: as in `ultrasam.load`. On another device than the CPU, there is no choice.

    Raises:
        CheckpointError: The model cannot be loaded.
        MissingDependencyError: No runtime for an exported folder is installed.
    """
    if exported is None and device not in (None, "cpu"):
        log.info("The model runs in PyTorch, the only runtime here for '%s'.", device)
        return open_torch(spec, device=device, precision=precision)
    torch_backend = None
    if exported is None:
        torch_backend = open_torch(spec, device=device, precision=precision)
        model = torch_backend.model  # type: ignore[attr-defined]
        if model.device.type != "cpu":
            log.info("The model runs in PyTorch, the only runtime here for '%s'.", model.device)
            return torch_backend
        from ultrasam.runtimes.cached_exports import find_cached_export

        graphs = find_cached_export(spec, model)
    else:
        graphs = exported
    openers = _openers(torch_backend, graphs, device, precision)
    if not openers:
        raise MissingDependencyError(
            f"Running {spec.text} needs the extra 'onnx' or 'openvino': pip install 'ultrasam[onnx]'."
        )
    if len(openers) == 1:
        ((name, opener),) = openers.items()
        why = "no other runtime is installed"
        if graphs is None:
            why = (
                "it has no graphs for other runtimes; 'ultrasam export' writes them, and --runtime onnx "
                "makes them once"
            )
        log.info("The model runs in %s: %s.", NAMES[name], why)
        return opener()
    key = _key(graphs, openers, precision)
    milliseconds = _remembered().get(key)
    opened: dict[str, Backend] = {}
    if milliseconds is None or set(milliseconds) != set(openers):
        opened = {name: opener() for name, opener in openers.items()}
        milliseconds = probe(opened)
        _remember(key, milliseconds)
    best, *others = sorted(milliseconds, key=lambda name: float(milliseconds[name]))
    slower = " and ".join(f"{milliseconds[name]:.0f} ms in {NAMES[name]}" for name in others)
    log.info(
        "The model runs in %s: %.0f ms for an image and its first prompt, against %s, on %s.",
        NAMES[best], milliseconds[best], slower, processor(),
    )  # fmt: skip
    return opened[best] if best in opened else openers[best]()


def _openers(
    torch_backend: Backend | None,
    graphs: Exported | None,
    device: str | None,
    precision: str | None,
) -> Openers:
    """What can run the model here, by runtime."""
    found: Openers = {}
    if torch_backend is not None:
        found["torch"] = lambda: torch_backend
    if graphs is None:
        return found

    def opener(runtime: str) -> Callable[[], Backend]:
        return lambda: open_exported(graphs, runtime, device=device, precision=precision)

    in_float32 = precision in (None, "float32", "fp32", "auto")
    if graphs.runtime == "onnx" and in_float32 and find_spec("onnxruntime") is not None:
        found["onnx"] = opener("onnx")
    if find_spec("openvino") is not None:
        found["openvino"] = opener("openvino")
    return found


def probe(backends: Mapping[str, Backend]) -> dict[str, float]:
    """The least time in ms of each backend for one image and its first prompt, in turns."""
    calls = {name: first_prompt(backend) for name, backend in backends.items()}
    for call in calls.values():
        call()  # the first run also prepares
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    rounds = 0
    while rounds < _MIN_ROUNDS or time.perf_counter() - start < _SECONDS:
        rounds += 1
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - before))
    return {name: min(values) for name, values in times.items()}


def first_prompt(backend: Backend) -> Callable[[], object]:
    """A call that encodes an image, in as many views as the weights average, and decodes a click on it."""
    size = backend.config.image_size
    views = 2 if backend.tta.flip else 1
    pixels = np.random.default_rng(0).normal(size=(views, 3, size, size)).astype(np.float32)
    coords = np.full((views, 2, 2), size / 2, np.float32)
    labels = np.tile(np.array([FOREGROUND, NOT_A_POINT]), (views, 1))
    prompts, index = PromptArrays(coords, labels), np.arange(views)
    return lambda: backend.decode(backend.encode(pixels), prompts, index, multimask=True)


def _key(graphs: Exported | None, openers: Openers, precision: str | None) -> str:
    """What the times depend on: the model's sizes, the processor, the runtimes' versions and the threads."""
    versions = []
    for name in openers:
        try:
            versions.append(f"{name} {version(_PACKAGES[name])}")
        except PackageNotFoundError:
            versions.append(name)
    assert graphs is not None
    about = (
        graphs.config.to_json(), graphs.runtime, graphs.is_int8, precision, processor(), os.cpu_count(),
        os.environ.get("OMP_NUM_THREADS"), versions,
    )  # fmt: skip
    return json.dumps(about)


def _file() -> Path:
    return cache_folder("runtimes") / "times.json"


def _remembered() -> dict[str, Any]:
    try:
        content = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(key: str, milliseconds: Mapping[str, float]) -> None:
    write_json(_file(), {**_remembered(), key: dict(milliseconds)})
