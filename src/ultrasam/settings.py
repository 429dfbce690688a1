"""Validated settings: YAML files, defaults by section, and KEY=VALUE overrides.

Every recipe is a `StrictModel`. If a file gives only part of a section, the rest keeps the recipe's defaults,
not those of the section's class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from ultrasam.errors import RecipeError, UltraSamError
from ultrasam.extras import needs

with needs("Recipes", extra="train"):
    import yaml
    from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

M = TypeVar("M", bound="StrictModel")


class StrictModel(BaseModel):
    """A section of settings: immutable; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        merged = dict(content)
        for name, field in cls.model_fields.items():
            default = field.default
            if isinstance(default, BaseModel):
                default = default.model_dump()
            elif is_dataclass(default) and not isinstance(default, type):
                default = asdict(default)
            if isinstance(default, dict) and isinstance(merged.get(name), Mapping):
                merged[name] = deep_merge(default, merged[name])
        return merged


def validate(
    kind: type[M],
    content: Mapping[str, Any],
    *,
    source: str,
    error: type[UltraSamError] = RecipeError,
    renamed: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> M:
    """Validate ``content`` as a ``kind``.

    Args:
        source: origin of the content, for the error message.
        error: class of the error to raise.
        renamed: full names (``a.b``) of keys of earlier versions, and their current names.
        overrides: the ``key=value`` texts that changed the content; an error of theirs names them instead of
            the origin.

    Raises:
        error: A key is unknown, or a value has the wrong type or is out of range.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as failure:
        location = ".".join(str(part) for part in failure.errors()[0]["loc"])
        for text in overrides:
            key = text.partition("=")[0]
            if f"{location}.".startswith(f"{key}."):
                source = f"'{text}'"
        raise error(f"{source}: {_explain(failure, kind, renamed or {})}") from failure


def read_yaml(path: Path, *, what: str, error: type[UltraSamError] = RecipeError) -> dict[str, Any]:
    """Read a YAML file of keys and values.

    Args:
        what: what the file is, for the error message: "recipe", "suite".

    Raises:
        error: The file is missing, is not YAML, or holds no keys.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as failure:
        raise error(f"The {what} {path} does not exist.") from failure
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        text = " ".join(str(failure).split())
        raise error(f"{path} is not a YAML file: {text}.") from failure
    if not isinstance(content, dict):
        raise error(f"{path} is not a {what}; a {what} is a YAML file of keys and values.")
    return content


def deep_merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into a copy of ``base``, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = deep_merge(merged[key], value) if nested else value
    return merged


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Parse ``key.sub=value`` texts into nested keys; values are YAML.

    Raises:
        RecipeError: A text is not ``key=value``.
    """
    content: dict[str, Any] = {}
    for text in texts:
        override(content, text)
    return content


def override(content: dict[str, Any], text: str) -> None:
    """Set one key of ``content`` in place, from ``key.sub=value``.

    Raises:
        RecipeError: The text is not ``key=value``, or a parent key holds a value.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{text}' is not KEY=VALUE; write, for example, trainer.batch=4.")
    *parents, last = key.split(".")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as failure:
        raise RecipeError(f"The value of '{text}' is not valid YAML.") from failure
    for parent in parents:
        if content.get(parent) is None:  # an optional section that is not set is an empty one
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise RecipeError(f"'{text}': '{parent}' is a value, not a section.")
    content[last] = parsed


def _explain(failure: ValidationError, kind: type[BaseModel], renamed: Mapping[str, str]) -> str:
    """The first validation error as one sentence."""
    first = failure.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        message = message.partition(", unable to parse")[0]
        return f"{location or 'the file'}: {message}."
    if location in renamed:
        return f"'{location}' is now called '{renamed[location]}'."
    known = list(_known_keys(kind, [str(part) for part in first["loc"][:-1]]))
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
    return f"unknown key '{location}'; {hint}"


def _known_keys(kind: Any, path: Sequence[str]) -> Iterator[str]:
    for part in path:
        field = getattr(kind, "model_fields", {}).get(part)
        kind = field.annotation if field else None
        # Unwrap Optional[Section].
        kind = next((a for a in get_args(kind) if hasattr(a, "model_fields")), kind)
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    yield from fields
