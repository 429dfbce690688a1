"""Imports run downwards only, and importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "ultrasam"
FLOORS = (
    {"errors", "geometry", "prompts", "transfer", "plots"},
    {"images", "model"},
    {"data", "inference", "compat"},
    {"training", "evaluation"},
    {"downstream", "annotate"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: index for index, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "ultrasam":
                names = [f"ultrasam.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("ultrasam.")}
    return rooms - {"__version__"}


def test_imports_run_downwards_only() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported_rooms(path):
            if FLOOR[other] > FLOOR[room]:
                wrong.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert not wrong


def test_the_model_knows_no_files_of_images_and_images_no_model() -> None:
    for room, other in (("model", "images"), ("images", "model")):
        for path in (SOURCE / room).rglob("*.py"):
            assert other not in imported_rooms(path), path


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "cv2", "SimpleITK", "lightning", "transformers", "pydicom", "av", "typer")
    code = f"import sys, ultrasam; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_source_file_grows_past_four_hundred_and_fifty_lines() -> None:
    long = {
        str(p.relative_to(SOURCE)): n
        for p in SOURCE.rglob("*.py")
        if (n := len(p.read_text().splitlines())) > 450
    }
    assert not long
