"""UltraSam: segment anything in an ultrasound image from a click or a box.

Importing the package is cheap; heavy modules load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ultrasam._version import __version__
from ultrasam.weights.tasks import (
    register_architecture,
    register_runtimes,
    register_servers,
    register_task,
)

if TYPE_CHECKING:
    from ultrasam.downstream.classification.model import load_classifier
    from ultrasam.downstream.instances.model import load_instance_segmenter
    from ultrasam.downstream.regions.model import load_region_classifier
    from ultrasam.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        DeviceError,
        EvaluationError,
        MissingDependencyError,
        PromptError,
        RecipeError,
        ScanError,
        UltraSamError,
    )
    from ultrasam.images.reading import read_scan
    from ultrasam.images.scan import Scan
    from ultrasam.inference.automatic import Regions, segment_everything
    from ultrasam.inference.predictor import Predictor
    from ultrasam.inference.segment import load_segmenter, segment
    from ultrasam.inference.tracking.keys import GONE
    from ultrasam.inference.tracking.track import Track, track
    from ultrasam.model.ultrasam import UltraSam
    from ultrasam.prompts import Prediction, Prompt
    from ultrasam.weights.hub import push_to_hub, save_pretrained
    from ultrasam.weights.load import load, load_model

_ERRORS = (
    "CheckpointError", "ConfigError", "DataError", "DeviceError", "EvaluationError",
    "MissingDependencyError", "PromptError", "RecipeError", "ScanError", "UltraSamError",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(_ERRORS, "ultrasam.errors"),
    "GONE": "ultrasam.inference.tracking.keys",
    "Prediction": "ultrasam.prompts",
    "Predictor": "ultrasam.inference.predictor",
    "Prompt": "ultrasam.prompts",
    "Regions": "ultrasam.inference.automatic",
    "Scan": "ultrasam.images.scan",
    "Track": "ultrasam.inference.tracking.track",
    "UltraSam": "ultrasam.model.ultrasam",
    "load": "ultrasam.weights.load",
    "load_classifier": "ultrasam.downstream.classification.model",
    "load_instance_segmenter": "ultrasam.downstream.instances.model",
    "load_model": "ultrasam.weights.load",
    "load_region_classifier": "ultrasam.downstream.regions.model",
    "load_segmenter": "ultrasam.inference.segment",
    "push_to_hub": "ultrasam.weights.hub",
    "read_scan": "ultrasam.images.reading",
    "save_pretrained": "ultrasam.weights.hub",
    "segment": "ultrasam.inference.segment",
    "segment_everything": "ultrasam.inference.automatic",
    "track": "ultrasam.inference.tracking.track",
}

__all__ = [
    "GONE",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "EvaluationError",
    "MissingDependencyError",
    "Prediction",
    "Predictor",
    "Prompt",
    "PromptError",
    "RecipeError",
    "Regions",
    "Scan",
    "ScanError",
    "Track",
    "UltraSam",
    "UltraSamError",
    "__version__",
    "load",
    "load_classifier",
    "load_instance_segmenter",
    "load_model",
    "load_region_classifier",
    "load_segmenter",
    "push_to_hub",
    "read_scan",
    "save_pretrained",
    "segment",
    "segment_everything",
    "track",
]

# What `load` opens besides promptable networks; these modules are imported on first use.
register_task("classifier", "ultrasam.downstream.classification.exported:open_classifier")
register_task("regions", "ultrasam.downstream.regions.exported:open_region_classifier")
register_task(
    "prompted", "ultrasam.downstream.regions.exported:open_region_classifier"
)  # earlier name
register_task("instances", "ultrasam.downstream.instances.exported:open_instance_segmenter")
register_runtimes("ultrasam.runtimes.opening:open_backend")
register_servers("ultrasam.client.remote:open_server")
register_architecture("resnet50", "ultrasam.downstream.resnet:open_resnet")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ultrasam' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
