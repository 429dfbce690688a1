"""Register loaders of fine-tuned models and other architectures, so ``load`` can open them without importing
them.

A fine-tuned model is identified by the name of its JSON file. A loader is given as ``module:function`` and
imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

TASKS: dict[str, str] = {}
OPENERS: list[str] = []
SERVERS: list[str] = []
ARCHITECTURES: dict[str, str] = {}


def register_task(key: str, loader: str) -> None:
    """Open folders that contain ``<key>.json`` with ``loader(folder, device)``."""
    TASKS[key] = loader


def register_architecture(name: str, loader: str) -> None:
    """Open ``NAME``, ``NAME:ARGUMENT`` and ``random:NAME`` with ``loader(argument | None, pretrained)``."""
    ARCHITECTURES[name] = loader


def register_runtimes(opener: str) -> None:
    """Open models for other runtimes than PyTorch, and exported folders, with
    ``opener(spec, runtime=, device=, precision=)``."""
    OPENERS[:] = [opener]


def register_servers(opener: str) -> None:
    """Open addresses of servers with ``opener(address, device=, precision=, runtime=)``."""
    SERVERS[:] = [opener]


def is_address(spec: object) -> bool:
    """Whether a model is named by the address of a server."""
    return isinstance(spec, str) and spec.startswith(("http://", "https://"))


def detect_task(folder: Path) -> str | None:
    """The task of a fine-tuned folder, from its JSON file or, once exported, its description; None for any
    other path."""
    from ultrasam.weights.exported import exported_task

    known = (key for key in TASKS if (folder / f"{key}.json").is_file())
    return next(known, None) or exported_task(folder)


def resolve(loader: str) -> Any:
    """Import the function named by ``module:function``."""
    module, _, function = loader.partition(":")
    return getattr(import_module(module), function)
