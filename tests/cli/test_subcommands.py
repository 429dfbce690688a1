"""A command beside its own subcommands: which of them runs, and what their help and errors say."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ultrasam.cli.subcommands import CommandWithSubcommands, complete_subcommands


def _app() -> typer.Typer:
    group = typer.Typer(cls=CommandWithSubcommands, invoke_without_command=True)

    @group.callback()
    def weigh(
        things: Annotated[list[str], typer.Argument(autocompletion=complete_subcommands)],
        unit: Annotated[str, typer.Option()] = "kg",
    ) -> None:
        """Weigh things."""
        print("weigh", *things, unit)

    @group.command("against")
    def against(reference: str, exact: bool = False) -> None:
        """Compare with a reference."""
        print("against", reference, exact)

    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
    app.add_typer(group, name="weigh")
    app.command("other")(lambda: None)
    return app


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("weigh apple", "weigh apple kg"),
        ("weigh apple --unit g pear", "weigh apple pear g"),
        ("weigh --unit g against", "weigh against g"),
        ("weigh apple against", "weigh apple against kg"),
        ("weigh ./against", "weigh ./against kg"),
        ("weigh against gold", "against gold False"),
        ("weigh against --exact gold", "against gold True"),
    ],
)
def test_the_first_argument_decides_which_command_runs(line: str, expected: str) -> None:
    done = CliRunner().invoke(_app(), line.split())
    assert (done.exit_code, done.output.strip()) == (0, expected)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("weigh", "Missing argument 'things"),
        ("weigh apple --size 3", "No such option: --size"),
        ("weigh against", "Missing argument 'reference"),
        ("weigh against gold --unit g", "No such option: --unit"),
        ("weigh against gold silver", "unexpected extra argument"),
    ],
)
def test_a_mistake_is_that_of_the_command_meant(line: str, words: str) -> None:
    done = CliRunner().invoke(_app(), line.split())
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())


def test_the_help_has_the_commands_own_options_and_names_its_subcommands() -> None:
    shown = CliRunner().invoke(_app(), ["weigh", "-h"]).output
    assert all(words in shown for words in ("--unit", "against", "Compare with a reference."))
    assert "COMMAND [ARGS]" not in shown
    shown = CliRunner().invoke(_app(), ["weigh", "against", "-h"]).output
    assert "weigh against" in shown
    assert "--exact" in shown
    assert "--unit" not in shown


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("weigh ag", ["against"]),
        ("weigh apple ag", []),
        ("weigh --un", ["--unit"]),
        ("weigh against --ex", ["--exact"]),
    ],
)
def test_the_shell_completes_subcommands_where_they_may_stand(
    words: str, completed: list[str]
) -> None:
    line = ["root", *words.split()]
    done = CliRunner().invoke(
        _app(),
        prog_name="root",
        env={
            "_ROOT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": str(len(line) - 1),
        },
    )
    assert done.output.split() == completed
