"""What rooms above register here, so that ``load`` opens it without importing them: fine-tuned models by the
name of their JSON file, and other architectures by name. Each is named as ``module:function`` and imported
when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

TASKS: dict[str, str] = {}
ARCHITECTURES: dict[str, str] = {}


def register_task(key: str, loader: str) -> None:
    """Open folders that hold ``<key>.json`` with ``loader(folder, device)``."""
    TASKS[key] = loader


def register_architecture(name: str, loader: str) -> None:
    """Open ``NAME``, ``NAME:ARGUMENT`` and ``random:NAME`` with ``loader(argument | None, pretrained)``."""
    ARCHITECTURES[name] = loader


def detect_task(folder: Path) -> str | None:
    """The task whose JSON file a folder holds, or None."""
    return next((key for key in TASKS if (folder / f"{key}.json").is_file()), None)


def resolve(loader: str) -> Any:
    """The function that a ``module:function`` names."""
    module, _, function = loader.partition(":")
    return getattr(import_module(module), function)
