"""Imports run downwards only, and importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "ultrasam"
FLOORS = (
    {"errors", "geometry", "hardware", "download", "plots"},
    {"images"},
    {"prompts"},
    {"model"},
    {"weights"},
    {"runtimes"},
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


def imported_files(path: Path) -> set[str]:
    """Modules of ours that a file imports, at its top or inside functions, but not for type checkers
    alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ultrasam."):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {str(node.module), *inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_two_files_of_the_network_and_its_users_import_each_other() -> None:
    rooms = ("model", "weights", "runtimes", "inference", "compat")
    files = {
        ".".join(("ultrasam", *p.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): p
        for room in rooms
        for p in (SOURCE / room).rglob("*.py")
    }
    graph = {name: imported_files(path) & set(files) - {name} for name, path in files.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_seam_knows_no_torch() -> None:
    """What stands above the backend, and what a runtime without PyTorch needs."""
    code = (
        "import sys, ultrasam.runtimes.backend, ultrasam.inference.predictor, ultrasam.prompts, "
        "ultrasam.model.preprocessing; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


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
