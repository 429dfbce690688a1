"""Save and load fine-tuned models as folders.

A folder contains the weights (``TASK.safetensors``), a description from which the model is rebuilt
(``TASK.json``), and a model card (``README.md``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ultrasam._version import __version__
from ultrasam.errors import CheckpointError, one_line
from ultrasam.files import atomic_write, write_json
from ultrasam.hardware import default_device, place
from ultrasam.reporting.markdown import table
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.formats import current_key

if TYPE_CHECKING:
    from torch import nn

    from ultrasam.model.preprocessing import Preprocessor

M = TypeVar("M", bound="nn.Module")
CLASSIFIER, REGIONS, INSTANCES = "classifier", "regions", "instances"
# File names of earlier versions.
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
    """Write the weights, the description and the model card.

    Args:
        name: the task's.
        classes: names, in the order of the logits.
        config: configuration of the backbone, as JSON.
        preprocessor: preprocessing of the backbone.
        about: other keys of the description: what the task needs to rebuild the model, and ``init``,
            ``data``, ``how``, ``recipe`` and ``figures`` for the model card, if known.

    Raises:
        DiskFullError: The disk is full.
    """
    from safetensors.torch import save

    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    atomic_write(folder / f"{name}.safetensors", save(state, metadata={"format": "pt"}))
    description = {
        "classes": list(classes),
        "config": json.loads(config),
        "preprocessing": preprocessor.to_dict(),
        **about,
    }
    # The description comes last: a folder without it is not a model.
    atomic_write(folder / "README.md", card(name, description))
    write_json(folder / f"{name}.json", description)


_TASKS = {
    CLASSIFIER: ("Image classifier", "predict([pixels])  # probabilities [1, classes]"),
    REGIONS: (
        "Region classifier: segments and classifies the object at a click or in a box",
        "set_image(pixels); model.classify([ultrasam.Prompt(box=(40, 30, 120, 90))])",
    ),
    INSTANCES: (
        "Instance segmenter: finds, segments and classifies all objects",
        "find(pixels)  # masks, labels, scores",
    ),
}


def card(name: str, about: dict[str, Any]) -> str:
    """Model card in Markdown: purpose, origin and usage."""
    title, usage = _TASKS[name]
    lines = [
        f"# {title}\n",
        f"Classes: {', '.join(about['classes'])}. Fine-tuned with UltraSam {__version__} from "
        f"`{about.get('init', 'unknown')}` (`{about['config']['name']}`). The license of those weights and "
        "the terms of the training data apply.\n",
        "```python", "import ultrasam", "", 'model = ultrasam.load("this folder")',
        'pixels = ultrasam.read_scan("scan.png").frame(0)', f"model.{usage}", "```\n",
    ]  # fmt: skip
    for title, key in (("Data", "data"), ("Evaluation", "how")):
        if about.get(key):
            text = about[key] if isinstance(about[key], str) else ", ".join(about[key])
            lines.append(f"{title}: {text}\n")
    steps = ", ".join(f"{key} {value}" for key, value in about["preprocessing"].items())
    lines.append(f"Preprocessing: {steps}.\n")
    for title, key in (("Results", "figures"), ("Settings", "recipe")):
        if about.get(key):
            lines += [f"## {title}\n", table(("", ""), about[key].items()), ""]
    lines.append("For research use only; not a medical device.")
    return "\n".join(lines) + "\n"


def read_model(
    folder: Path, name: str, build: Callable[[dict[str, Any]], M], *, device: str | None
) -> M:
    """Load a model that `write_model` saved, in evaluation mode.

    Args:
        build: creates the model from the description.
        device: None for the default device.

    Raises:
        CheckpointError: The folder contains no such model, or it is damaged.
        DeviceError: The device is not available.
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
        raise CheckpointError(
            f"Cannot read model '{name}' in {folder}: {one_line(error)}."
        ) from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{folder / name}.safetensors is damaged: {one_line(error)}."
        ) from error
    device = default_device(device)
    set_attention(model, device)
    return place(model.eval(), device)
