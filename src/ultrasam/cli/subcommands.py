"""A command that has subcommands: `ultrasam evaluate MODEL …` beside `ultrasam evaluate parity …`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class CommandWithSubcommands(TyperGroup):
    """Runs a subcommand if the first argument names one, and otherwise itself, with all its arguments.

    Use it as ``typer.Typer(cls=CommandWithSubcommands, invoke_without_command=True)``; the app's callback is
    the command. A value that has the name of a subcommand can be written as a path (./parity).
    """

    allow_extra_args = False
    allow_interspersed_args = True  # options may follow the arguments, as in any command

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context of the subcommand that ``args`` starts with, or of the command itself."""
        command = self.commands.get(args[0]) if args else None
        if command is None:
            return super().make_context(info_name, args, parent=parent, **extra)
        # No context of its own for this command, whose arguments click would put into the subcommand's usage.
        return command.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage of the command itself; the help lists the subcommands."""
        pieces: list[str] = super().collect_usage_pieces(ctx)
        return pieces[:-1]


def complete_subcommands(context: typer.Context, incomplete: str) -> list[str]:
    """Names of subcommands that a first argument may mean; completes the command's own argument."""
    if any(
        context.params.get(param.name or "")
        for param in context.command.params
        if param.nargs == -1
    ):
        return []
    names = getattr(context.command, "commands", {})
    return [name for name in names if name.startswith(incomplete)]
