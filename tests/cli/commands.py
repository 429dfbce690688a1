"""The command line as a tree: its commands, each with its options, and the tables of docs/cli.md.

``python -m tests.cli.commands`` prints the tables.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import typer

from ultrasam.cli import usage
from ultrasam.cli.main import app
from ultrasam.cli.subcommands import CommandWithSubcommands


def _leaves(command: Any, path: str = "") -> dict[str, Any]:
    children = getattr(command, "commands", None)
    if children is None:
        return {path: command}
    # A command that has subcommands runs by itself, too.
    both = isinstance(command, CommandWithSubcommands)
    found: dict[str, Any] = {path: command} if both else {}
    for name, child in children.items():
        if child.hidden:
            continue  # another spelling
        found |= _leaves(child, f"{path} {name}".strip())
    return found


COMMANDS = _leaves(typer.main.get_command(app))


def options_of(command: Any) -> dict[str, Any]:
    """A command's options by their long names."""
    return {
        opt: param
        for param in command.params
        for opt in param.opts
        if opt.startswith("--") and param.name != "help"
    }


def option_table() -> str:
    """Every option, what it means, and the commands that have it."""
    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, command in COMMANDS.items():
        for option, param in options_of(command).items():
            rows[option][param.help].append(f"`{name}`")
    lines = ["| option | meaning | commands |", "|---|---|---|"]
    for option in sorted(rows):
        for text, names in rows[option].items():
            lines.append(f"| `{option}` | {text.replace('|', '&#124;')} | {', '.join(names)} |")
    return "\n".join(lines)


def earlier_table() -> str:
    """Earlier options and commands, and what to write now."""
    lines = ["| command | earlier | now |", "|---|---|---|"]
    for (name, option), now in usage.OPTIONS.items():
        lines.append(f"| {f'`{name}`' if name else 'any'} | `{option}` | {now} |")
    for (group, name), now in usage.COMMANDS.items():
        lines.append(f"| `{group}` | `{name}` | `{now}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(option_table(), earlier_table(), sep="\n\n")
