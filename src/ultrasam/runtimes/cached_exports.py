"""Models that were exported once to run in another runtime, in the user's cache."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from ultrasam._version import __version__
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.export import export
from ultrasam.weights.cache import cache_folder
from ultrasam.weights.exported import Exported, is_exported, read_exported
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.load import load_model
from ultrasam.weights.model_card import card_of
from ultrasam.weights.spec import ModelSpec

log = logging.getLogger(__name__)


def cached_export(spec: ModelSpec) -> Exported:
    """The ONNX graphs of a model, which ONNX Runtime and OpenVINO run; exported if they are not in the cache.

    Raises:
        ExportError: The graphs' results differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
    """
    model = load_model(_as_torch(spec), device="cpu", precision="float32")
    folder = export_folder(model)
    if is_exported(folder):
        return read_exported(folder)
    log.info(
        "%s is exported once for other runtimes, to %s; this takes a minute.", spec.text, folder
    )
    return export(model, folder, card=card_of(spec))


def find_cached_export(spec: ModelSpec, model: UltraSam) -> Exported | None:
    """The ONNX graphs of a model, if they are in the cache.

    Args:
        model: the one that ``spec`` names, as it was opened; in bfloat16 it no longer tells which weights it
            had, and is read again.
    """
    if model.image_encoder.pos_embed.dtype != torch.float32:
        model = load_model(_as_torch(spec), device="cpu", precision="float32")
    folder = export_folder(model)
    return read_exported(folder) if is_exported(folder) else None


def export_folder(model: UltraSam) -> Path:
    """Where the cache keeps the ONNX graphs of a model: by its weights, its settings and our version."""
    settings = (
        __version__,
        weights_hash(model, exact=True),
        model.config.to_json(),
        model.preprocessor.to_dict(),
        model.tta.to_dict(),
        model.postprocessor.to_dict(),
    )
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    return cache_folder("exports") / f"{model.config.name}-{key}"


def _as_torch(spec: ModelSpec) -> ModelSpec:
    return replace(spec, runtime=None, precision=None, refine=False)
