"""The leaderboard: a page that one command remakes, without paths or a machine's files."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ultrasam.evaluation.suite import load_suite
from ultrasam.training.shipped import recipe_path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "leaderboard.md"


@pytest.fixture
def leaderboard(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("leaderboard")


def test_the_pages_command_names_a_suite_that_ships(leaderboard: Any) -> None:
    (command,) = re.findall(r"```sh\n(.*?)\n```", PAGE.read_text(), flags=re.DOTALL)
    assert shlex.split(command) == leaderboard.evaluation("DIR", "leaderboard")
    load_suite(recipe_path(leaderboard.SUITE))
    assert "--no-cases" in command
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", PAGE.read_text())


def test_the_page_names_the_machine_in_place_of_its_paths(leaderboard: Any) -> None:
    command = leaderboard.evaluation("/data of mine/sets", "/scratch/leaderboard")
    report = f"# Leaderboard\n\n```sh\n{shlex.join(command)}\n```\n\nultrasam 0.\n"
    made = leaderboard.page(report, command, leaderboard.machine())
    assert "/data" not in made
    assert "/scratch" not in made
    assert re.search(r"Measured on \d+ CPU cores?, .+", made)
    assert made.endswith("\nultrasam 0.\n")
    with pytest.raises(SystemExit, match="is not of this evaluation"):
        leaderboard.page(report, leaderboard.evaluation("other", "leaderboard"), "a machine")


def test_the_makefile_remakes_the_page() -> None:
    text = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^leaderboard:.*\n((?:\t.*\n)+)", text, flags=re.MULTILINE)
    assert "benchmarks/leaderboard.py --data $(DATA)" in recipe


def test_no_page_of_the_documentation_is_html() -> None:
    """A page in HTML is made from Markdown; only its source is kept."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("git cannot list the files of this checkout")
    assert "docs/leaderboard.md" in listed.stdout.split()
    assert not [name for name in listed.stdout.split() if name.endswith((".html", ".htm"))]
