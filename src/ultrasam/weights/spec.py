"""ModelSpec parses model names: ``NAME[+OPTION…]``.

NAME is a registered name, ``random:SIZE``, ``imagenet[:REPOSITORY]``, another registered architecture, a
path, or ``owner/repository`` on the Hugging Face hub.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ultrasam.errors import CheckpointError, ConfigError, UltraSamWarning
from ultrasam.model.config import CONFIGS, SIZE_ALIASES
from ultrasam.weights.folders import SUFFIXES
from ultrasam.weights.registry import ALIASES, PREPROCESSING, REGISTRY, known_names
from ultrasam.weights.tasks import ARCHITECTURES

Kind = Literal["registered", "random", "imagenet", "architecture", "path", "hub"]

_RANDOM = ("random", "untrained", "scratch")  # the last two are deprecated
RUNTIMES = ("torch", "onnx", "openvino")
_OPTIONS = "+bf16, +fp32, +auto, +refine, +no-tta, +onnx, +openvino and +preprocessing=NAME"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model and the options for using it.

    Attributes:
        kind: the source of the weights.
        name: a registered name, a size (``random``), a repository (``imagenet``, ``hub``) or a path.
        precision: of the image encoder, ``float32``, ``bfloat16`` or ``auto``; None if not specified.
        refine: decode twice, feeding the first mask back (arXiv 2411.16222, 3.2).
        tta: use the weights' test-time augmentation, if they have one.
        preprocessing: a key of `ultrasam.weights.registry.PREPROCESSING` that replaces the checkpoint's.
        runtime: what the network runs in, one of ``RUNTIMES``; None if not specified.
        text: the original text.
    """

    kind: Kind
    name: str
    precision: str | None = None
    refine: bool = False
    tta: bool = True
    preprocessing: str | None = None
    runtime: str | None = None
    text: str = ""

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> ModelSpec:
        """Parse a model name without loading anything; only checks whether a path exists.

        Raises:
            ConfigError: An option or size is unknown.
            CheckpointError: The name is neither known, nor an existing path, nor a possible repository.

        Example:
            >>> spec = ModelSpec.parse("medsam+bf16")
            >>> spec.name, spec.precision
            ('medsam', 'bfloat16')
        """
        full_text = os.fspath(text)
        base, options = _split(full_text)
        kind, name = _source(base)
        spec: dict[str, object] = {}
        for option in options:
            spec |= _option(option, full_text)
        return replace(cls(kind, name, text=full_text), **spec)  # type: ignore[arg-type]

    @property
    def has_options(self) -> bool:
        """Whether any option is set."""
        return self != ModelSpec(self.kind, self.name, text=self.text)

    @property
    def path(self) -> Path:
        """``name`` as a path, for specs of kind ``path``."""
        return Path(self.name).expanduser()


def _split(text: str) -> tuple[str, list[str]]:
    """Split a name from its options; file names may themselves contain a plus sign."""
    parts = text.split("+")
    if parts[0] not in REGISTRY and parts[0] not in ALIASES:
        for count in range(len(parts), 1, -1):
            base = "+".join(parts[:count])
            if Path(base).expanduser().exists():
                return base, parts[count:]
    return parts[0], parts[1:]


def _source(base: str) -> tuple[Kind, str]:
    if base in ALIASES:
        warnings.warn(
            f"The model name '{base}' is deprecated; use '{ALIASES[base]}'.",
            UltraSamWarning,
            stacklevel=4,
        )
        return "registered", ALIASES[base]
    if base in REGISTRY:
        return "registered", base
    prefix, _, rest = base.partition(":")
    if prefix in _RANDOM:
        return "random", _size(prefix, rest)
    if prefix == "imagenet":
        return "imagenet", rest or "google/vit-base-patch16-224-in21k"
    if prefix in ARCHITECTURES:
        return "architecture", base
    path = Path(base).expanduser()
    if path.exists():
        return "path", base
    weights_file = path.name.lower().endswith((*SUFFIXES, ".json", ".tar", ".zip"))
    if base.count("/") == 1 and not weights_file and not base.startswith((".", "/", "~")):
        return "hub", base
    raise CheckpointError(
        f"'{base}' is neither a file nor a known model ({', '.join(known_names())}, random:SIZE)."
    )


def _size(prefix: str, size: str) -> str:
    name = SIZE_ALIASES.get(size or "nano", size or "nano")
    if name not in CONFIGS and name not in ARCHITECTURES:
        raise ConfigError(
            f"'{prefix}:{size}': unknown size; use {', '.join((*CONFIGS, *ARCHITECTURES))}."
        )
    if prefix != "random" or name != (size or "nano"):
        warnings.warn(
            f"The model name '{prefix}:{size}' is deprecated; use 'random:{name}'.",
            UltraSamWarning,
            stacklevel=5,
        )
    return name


def _option(option: str, text: str) -> dict[str, object]:
    key, _, value = option.partition("=")
    if option in ("bf16", "bfloat16", "fp32", "float32", "auto"):
        return {"precision": {"bf16": "bfloat16", "fp32": "float32"}.get(option, option)}
    if option in RUNTIMES:
        return {"runtime": option}
    if option == "refine":
        return {"refine": True}
    if option in ("no-tta", "once"):
        return {"tta": False}
    if key == "preprocessing" and value in PREPROCESSING:
        return {"preprocessing": value}
    if key == "preprocessing":
        raise ConfigError(
            f"'{text}': unknown preprocessing '{value}'; use {', '.join(PREPROCESSING)}."
        )
    raise ConfigError(f"'{text}': unknown option '+{option}'; the options are {_OPTIONS}.")
