"""ModelSpec: the one way to read a model's name.

``NAME[+OPTION…]``, where NAME is a registered name, ``random:SIZE``, ``imagenet[:REPOSITORY]``, another
registered architecture, a path, or ``owner/repository`` on the Hugging Face hub.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ultrasam.errors import CheckpointError, ConfigError, UltraSamWarning
from ultrasam.model.config import CONFIGS, SIZE_ALIASES
from ultrasam.weights.registry import ALIASES, PREPROCESSING, REGISTRY, known_names
from ultrasam.weights.tasks import ARCHITECTURES

Kind = Literal["registered", "random", "imagenet", "architecture", "path", "hub"]

_RANDOM = ("random", "untrained", "scratch")  # the last two are earlier names
_OPTIONS = "+bf16, +fp32, +auto, +refine, +no-tta and +preprocessing=NAME"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model and how it is used.

    Attributes:
        kind: where its weights come from.
        name: of a registered entry, a size (``random``), a repository (``imagenet``, ``hub``) or a path.
        precision: of the image encoder, ``float32``, ``bfloat16`` or ``auto``; None where the name does not
            say.
        refine: decode twice, the mask fed back (arXiv 2411.16222, 3.2).
        tta: test-time augmentation, where the weights have it.
        preprocessing: a key of `ultrasam.weights.registry.PREPROCESSING` in place of the checkpoint's own.
        text: the name as it was given.
    """

    kind: Kind
    name: str
    precision: str | None = None
    refine: bool = False
    tta: bool = True
    preprocessing: str | None = None
    text: str = ""

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> ModelSpec:
        """Read a name; nothing is opened, downloaded or looked up but whether a path exists.

        Raises:
            ConfigError: an unknown option or size.
            CheckpointError: it is neither a known name, nor a path, nor looks like a repository.

        Example:
            >>> spec = ModelSpec.parse("medsam+bf16")
            >>> spec.name, spec.precision
            ('medsam', 'bfloat16')
        """
        whole = os.fspath(text)
        base, options = _split(whole)
        kind, name = _source(base)
        spec: dict[str, object] = {}
        for option in options:
            spec |= _option(option, whole)
        return replace(cls(kind, name, text=whole), **spec)  # type: ignore[arg-type]

    @property
    def has_options(self) -> bool:
        """Anything but a name was given."""
        return self != ModelSpec(self.kind, self.name, text=self.text)

    @property
    def path(self) -> Path:
        """The path, of a spec of this kind."""
        return Path(self.name).expanduser()


def _split(text: str) -> tuple[str, list[str]]:
    """A name and its options; the name of a file may hold a plus sign itself."""
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
    weights_file = path.suffix.lower() in (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".json")
    if base.count("/") == 1 and not weights_file and not base.startswith((".", "/", "~")):
        return "hub", base
    raise CheckpointError(
        f"'{base}' is neither a file nor a known model ({', '.join(known_names())}, random:SIZE)."
    )


def _size(prefix: str, size: str) -> str:
    name = SIZE_ALIASES.get(size or "nano", size or "nano")
    if name not in CONFIGS and name not in ARCHITECTURES:
        raise ConfigError(
            f"'{prefix}:{size}': there is no such size; use {', '.join((*CONFIGS, *ARCHITECTURES))}."
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
