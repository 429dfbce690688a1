"""UltraSam: segment anything in an ultrasound image from a click or a box.

Importing the package is light; what is heavy loads when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ultrasam.downstream.loading import load
    from ultrasam.errors import UltraSamError
    from ultrasam.images.scan import Scan, read_scan
    from ultrasam.inference.predictor import Predictor
    from ultrasam.model.ultrasam import UltraSam
    from ultrasam.prompts import Prediction, Prompt

_HOMES = {
    "Prediction": "ultrasam.prompts",
    "Predictor": "ultrasam.inference.predictor",
    "Prompt": "ultrasam.prompts",
    "Scan": "ultrasam.images.scan",
    "UltraSam": "ultrasam.model.ultrasam",
    "UltraSamError": "ultrasam.errors",
    "load": "ultrasam.downstream.loading",
    "read_scan": "ultrasam.images.scan",
}

__all__ = [
    "Prediction",
    "Predictor",
    "Prompt",
    "Scan",
    "UltraSam",
    "UltraSamError",
    "__version__",
    "load",
    "read_scan",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ultrasam' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
