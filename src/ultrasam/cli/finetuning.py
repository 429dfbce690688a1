"""What the commands of `ultrasam finetune` check before they import the heavy libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultrasam.errors import DataError, MissingDependencyError

_PACKAGES = ("lightning", "markdown_it", "peft", "polars", "pydantic", "sklearn", "transformers")


class ModeName(StrEnum):
    """What of the encoder a classifier trains."""

    linear = "linear"
    attention = "attention"
    full = "full"
    lora = "lora"
    adapter = "adapter"


class LabelSource(StrEnum):
    """What names an object's class."""

    structure = "structure"
    image = "image"


def require() -> None:
    """Check that the packages of the extra are installed, without importing them.

    Raises:
        MissingDependencyError: one is not.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"Fine-tuning needs {', '.join(missing)}: pip install 'ultrasam[downstream]'"
        )


def settings(
    task: str, given: Mapping[str, Any], overrides: Sequence[str] | None, device: str | None
) -> Any:
    """The checked settings of a task.

    Raises:
        RecipeError: a key is unknown or a value is not allowed.
    """
    require()
    from ultrasam.downstream.settings import RENAMED, SETTINGS
    from ultrasam.settings import deep_merge, parse_overrides, validate
    from ultrasam.training.run_settings import on_device

    content = deep_merge(given, parse_overrides(overrides or []))
    checked = validate(SETTINGS[task], content, source="settings", renamed=RENAMED)
    return on_device(checked, device)


def check_paths(paths: Sequence[str]) -> None:
    """Refuse a path that does not exist.

    Raises:
        DataError: one does not.
    """
    for text in paths:
        path = Path(text).expanduser()
        if not path.exists() and not Path(text.partition("=")[2] or text).expanduser().exists():
            raise DataError(f"There is no {text}; --data takes a folder, a store or a file.")


def split_names(text: str | None) -> list[str] | None:
    """``A,B`` as a list."""
    return [name.strip() for name in text.split(",")] if text else None
