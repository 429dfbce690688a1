"""Usage errors in one sentence, and the present names of earlier options and commands."""

from __future__ import annotations

import re
from typing import Any

_CLASSES = "repeat --class NAME"
_FRACTION = "use --test-fraction"
_TEST = "use --test-data"
# Earlier options, by command; None: of every command.
OPTIONS: dict[tuple[str | None, str], str] = {
    (None, "--quiet"): "write 'ultrasam --quiet COMMAND'",
    (None, "--verbose"): "write 'ultrasam --verbose COMMAND'",
    (None, "--debug"): "set ULTRASAM_DEBUG=1",
    ("predict", "--once"): "use --no-tta",
    ("predict", "--classify"): "leave it out, a classifier given as --model classifies",
    ("predict", "--score"): "use --min-score",
    ("measure", "--spacing"): "use --pixel-size",
    ("evaluate", "--prompts"): "repeat --prompt-type TYPE",
    ("evaluate", "--prompt-types"): "repeat --prompt-type TYPE",
    ("evaluate", "--compare"): "use 'ultrasam compare FILE FILE'",
    ("evaluate parity", "--weights"): "use --model",
    ("finetune promptable", "--name"): "use --out runs/promptable/NAME",
    ("finetune classify", "--classes"): _CLASSES,
    ("finetune classify", "--test"): _TEST,
    ("finetune regions", "--classes"): _CLASSES,
    ("finetune regions", "--held-out"): _FRACTION,
    ("finetune instances", "--classes"): _CLASSES,
    ("finetune instances", "--held-out"): _FRACTION,
    ("finetune instances", "--labels"): "use --class-from",
    ("finetune instances", "--test"): _TEST,
    ("data list", "--plain"): "use --json",
    ("data list", "--licence"): "use --license",
    ("data build", "--only"): "use --dataset",
    ("data build", "--val"): "use --val-fraction",
    ("data build", "--test"): "use --test-fraction",
    ("data build", "--least-area"): "use --min-area",
    ("data build", "--least-share"): "use --min-fraction",
}
# Earlier commands, by the group that they were in.
COMMANDS = {
    ("data", "check"): "ultrasam data validate",
    ("finetune", "prompted"): "ultrasam finetune regions",
    ("finetune", "segment"): "ultrasam finetune instances",
}


def explain(error: Any) -> str:
    """A usage error of click or Typer as one sentence, and where to read on."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ultrasam"
    command = path.removeprefix("ultrasam").strip()
    option = str(getattr(error, "option_name", ""))
    new = OPTIONS.get((command, option)) or OPTIONS.get((None, option))
    if new:
        return f"'{path}' has no option {option}; {new}."
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    found = re.match(r"No such command '([^']+)'", message)
    if found and (command, found[1]) in COMMANDS:
        return f"'{path} {found[1]}' is now called '{COMMANDS[command, found[1]]}'."
    # Pydantic's words, in recent versions of Typer.
    message = re.sub(
        r"Input should be a valid (\w+), unable to parse.*", r"not a valid \1", message
    )
    message = message.replace("Value error, ", "")
    # Typer's "Did you mean 'data'?" is a sentence of its own.
    end = f" See '{path} --help'." if message.endswith("?") else f"; see '{path} --help'."
    return message + end
