"""Folders of fine-tuned models: weights, a JSON file with what it takes to use them, and a card.

``NAME.safetensors``, ``NAME.json`` and ``README.md``, where NAME is the task's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ultrasam._version import __version__
from ultrasam.errors import CheckpointError
from ultrasam.hardware import default_device, place
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.formats import current_key

if TYPE_CHECKING:
    from torch import nn

    from ultrasam.model.preprocessing import Preprocessor

M = TypeVar("M", bound="nn.Module")
CLASSIFIER, REGIONS, INSTANCES = "classifier", "regions", "instances"
# What files of earlier versions are called.
_EARLIER = {REGIONS: "prompted"}


def write_model(
    model: nn.Module,
    folder: Path,
    name: str,
    *,
    classes: Sequence[str],
    config: str,
    preprocessor: Preprocessor,
    about: dict[str, Any],
) -> None:
    """Weights, what it takes to use them beside them, and a card that says the same to people.

    Args:
        classes: names, in the order of the logits.
        config: of the model that it was made from, as JSON.
        preprocessor: of that model.
        about: what else the task needs to build it, and ``init``, ``data``, ``how``, ``recipe`` and
            ``figures`` as far as they are known.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})
    said = {
        "classes": list(classes),
        "config": json.loads(config),
        "preprocessing": preprocessor.to_dict(),
        **about,
    }
    text = json.dumps(said, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(card(name, said), encoding="utf-8")


_TASKS = {
    CLASSIFIER: ("Classifies images", "predict([pixels])  # probabilities [1, classes]"),
    REGIONS: (
        "Segments what a click or a box points at and tells its class",
        "set_image(pixels); model.classify([ultrasam.Prompt(box=(40, 30, 120, 90))])",
    ),
    INSTANCES: ("Finds and names all objects", "find(pixels)  # masks, labels, scores"),
}


def card(name: str, about: dict[str, Any]) -> str:
    """What a saved model is, what it was made from, and how it is used; in Markdown."""
    what, use = _TASKS[name]
    lines = [
        f"# {what}\n",
        f"Classes: {', '.join(about['classes'])}. Made with UltraSam {__version__} from "
        f"`{about.get('init', 'unknown')}` (`{about['config']['name']}`), whose licence "
        "goes on to it, as do the terms of the data.\n",
        "```python", "import ultrasam", "", 'model = ultrasam.load("this folder")',
        'pixels = ultrasam.read_scan("scan.png").frame(0)', f"model.{use}", "```\n",
    ]  # fmt: skip
    for title, key in (("Data", "data"), ("How it was judged", "how")):
        if about.get(key):
            text = about[key] if isinstance(about[key], str) else ", ".join(about[key])
            lines.append(f"{title}: {text}\n")
    how = ", ".join(f"{key} {value}" for key, value in about["preprocessing"].items())
    lines.append(f"Preprocessing: {how}.\n")
    for title, key in (("Figures", "figures"), ("Settings", "recipe")):
        if about.get(key):
            lines += [f"## {title}\n", "| | |", "|---|---|"]
            lines += [f"| {k} | {v} |" for k, v in about[key].items()]
            lines.append("")
    lines.append("For research; not a medical device.")
    return "\n".join(lines) + "\n"


def read_model(
    folder: Path, name: str, build: Callable[[dict[str, Any]], M], *, device: str | None
) -> M:
    """A model of what `write_model` wrote, in evaluation mode on a device; ``build`` makes it of ``about``.

    Raises:
        CheckpointError: there is none, or it is damaged.
        DeviceError: the device is not available.
    """
    import safetensors
    from safetensors.torch import load_file

    if not (folder / f"{name}.json").exists() and name in _EARLIER:
        name = _EARLIER[name]
    try:
        model = build(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        state = load_file(folder / f"{name}.safetensors")
        model.load_state_dict({current_key(key): tensor for key, tensor in state.items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{folder} holds no readable model '{name}': {error}.") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder}: {name}.safetensors is damaged: {error}.") from error
    device = default_device(device)
    set_attention(model, device)
    return place(model.eval(), device)
