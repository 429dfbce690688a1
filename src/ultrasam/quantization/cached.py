"""Models that were quantized once to be timed, in the user's cache."""

from __future__ import annotations

import logging

from ultrasam.quantization.export import quantize_unchecked
from ultrasam.runtimes.cached_exports import cached_export
from ultrasam.weights.exported import Exported, is_exported, read_exported
from ultrasam.weights.spec import ModelSpec

log = logging.getLogger(__name__)


def cached_int8(spec: ModelSpec) -> Exported:
    """The ONNX graphs of a model with the encoder in int8, whose Dice nothing has measured; quantized if they
    are not in the cache.

    Raises:
        ExportError: The float32 graphs' results differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
    """
    exported = cached_export(spec)
    folder = exported.folder.with_name(f"{exported.folder.name}-int8")
    if is_exported(folder):
        return read_exported(folder)
    log.info("%s is quantized once, to %s; this takes minutes.", spec.text, folder)
    return quantize_unchecked(exported, folder)
