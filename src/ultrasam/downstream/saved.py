"""Folders of fine-tuned models: ``NAME.safetensors``, and ``NAME.json`` with what it takes to use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ultrasam.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

M = TypeVar("M", bound="nn.Module")
CLASSIFIER, PROMPTED, INSTANCES = "classifier", "prompted", "instances"


def is_classifier(folder: Path) -> bool:
    """Whether `ultrasam.downstream.classifier.save_classifier` wrote here."""
    return (folder / f"{CLASSIFIER}.json").is_file()


def is_prompted(folder: Path) -> bool:
    """Whether `ultrasam.downstream.prompted.save_prompted` wrote here."""
    return (folder / f"{PROMPTED}.json").is_file()


def is_instances(folder: Path) -> bool:
    """Whether `ultrasam.downstream.instances.save_instances` wrote here."""
    return (folder / f"{INSTANCES}.json").is_file()


def write_model(model: nn.Module, folder: Path, name: str, about: dict[str, Any]) -> None:
    """Weights, and ``about`` beside them."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})
    text = json.dumps(about, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def read_model(folder: Path, name: str, build: Callable[[dict[str, Any]], M]) -> M:
    """A model of what `write_model` wrote, in evaluation mode; ``build`` makes it of ``about``.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    import safetensors
    from safetensors.torch import load_file

    try:
        model = build(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        model.load_state_dict(load_file(folder / f"{name}.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no readable model '{name}': {error}.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder}: {name}.safetensors is damaged: {error}.") from error
    return model.eval()
