"""One name and one meaning for an option in all commands, and a page that lists them all."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.cli.commands import COMMANDS, earlier_table, option_table, options_of

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
# Options whose values differ from command to command: what is written, or would be, which layouts there are,
# the license that is searched or recorded, and the number format that is computed in or stored.
VARIED = {"--out", "--format", "--license", "--precision", "--dry-run"}


def test_an_option_means_the_same_in_every_command() -> None:
    meanings: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    for command in COMMANDS.values():
        for name, option in options_of(command).items():
            meanings[name].add((option.help, option.metavar, option.multiple, option.is_flag))
    varied = {name for name, found in meanings.items() if len(found) > 1}
    assert varied <= VARIED


def test_every_option_and_argument_has_a_help_text() -> None:
    missing = [
        f"{name} {param.name}"
        for name, command in COMMANDS.items()
        for param in command.params
        if not param.help
    ]
    assert not missing


def test_the_page_of_the_command_line_lists_every_command_option_and_earlier_name() -> None:
    """Where this fails: python -m tests.cli.commands prints the tables anew."""
    assert option_table() in PAGE
    assert earlier_table() in PAGE
    for name in COMMANDS:
        assert f"`{name}`" in PAGE, name


def test_an_earlier_name_is_not_in_use() -> None:
    from ultrasam.cli import usage

    for command, option in usage.OPTIONS:
        names = [command] if command else list(COMMANDS)
        for name in names:
            assert option not in options_of(COMMANDS[name]), (name, option)
