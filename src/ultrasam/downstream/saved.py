"""Folders of fine-tuned models: weights, a JSON file with what it takes to use them, and a card.

``NAME.safetensors``, ``NAME.json`` and ``README.md``, where NAME is the task's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ultrasam import __version__
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
    """Weights, ``about`` beside them, and a card that says the same to people."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})
    text = json.dumps(about, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(card(name, about), encoding="utf-8")


_TASKS = {
    CLASSIFIER: ("Classifies images", "predict([pixels])  # probabilities [1, classes]"),
    PROMPTED: (
        "Segments what a click or a box points at and tells its class",
        "set_image(pixels); model.classes_of([ultrasam.Prompt(box=(40, 30, 120, 90))])",
    ),
    INSTANCES: ("Finds and names all objects", "find(pixels)  # masks, labels, scores"),
}


def card(name: str, about: dict[str, Any]) -> str:
    """What a saved model is, what it was made from, and how it is used; in Markdown."""
    what, use = _TASKS[name]
    classes = (about.get("head") or about.get("plan") or about)["classes"]
    lines = [
        f"# {what}\n",
        f"Classes: {', '.join(classes)}. Made with UltraSam {__version__} from "
        f"`{about.get('init', 'unknown')}` (`{about['config']['name']}`), whose licence "
        "goes on to it, as do the terms of the data.\n",
        "```python", "import ultrasam", "", 'model = ultrasam.load("this folder")',
        'pixels = ultrasam.read_scan("scan.png").frame(0)', f"model.{use}", "```\n",
    ]  # fmt: skip
    for title, key in (("Data", "data"), ("How it was judged", "how")):
        if about.get(key):
            text = about[key] if isinstance(about[key], str) else ", ".join(about[key])
            lines.append(f"{title}: {text}\n")
    if "preprocessing" in about:
        lines.append(f"Preprocessing: {about['preprocessing']}.\n")
    for title, key in (("Figures", "figures"), ("Settings", "recipe")):
        if about.get(key):
            lines += [f"## {title}\n", "| | |", "|---|---|"]
            lines += [f"| {k} | {v} |" for k, v in about[key].items()]
            lines.append("")
    lines.append("For research; not a medical device.")
    return "\n".join(lines) + "\n"


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
