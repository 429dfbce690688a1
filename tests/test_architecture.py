"""Imports run downwards only and in no circles, no file grows long, and importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "ultrasam"
# From the ground up; rooms on one floor may import each other, as long as no files do.
FLOORS = (
    {
        "_version",
        "errors",
        "extras",
        "files",
        "geometry",
        "closing",
        "morphology",
        "resampling",
        "hardware",
        "download",
        "processes",
        "progress",
        "settings",
        "text",
    },
    {"images", "reporting"},
    {"prompts", "prompt_simulation"},
    {"model"},
    {"weights"},
    {"runtimes"},
    {"inference", "compat", "lite", "measure", "web", "dicomweb"},
    {"datasets", "phantom"},
    {"store"},
    {"evaluation"},  # training validates by the protocol; an evaluation knows nothing of training
    {"training", "benchmark", "quantization"},
    {"downstream"},
    {"serve"},  # the annotator's server is one of the same kind
    {"annotate"},
    {"cluster"},
    {"client"},
    {"napari"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: index for index, rooms in enumerate(FLOORS) for room in rooms}
LONGEST = 400
# Files that are longer, each with the reason.
LONG: dict[str, str] = {}


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("ultrasam", *parts)).removesuffix(".__init__")


FILES = {module_of(path): path for path in SOURCE.rglob("*.py")}


@cache
def imports_of(path: Path) -> set[str]:
    """Modules of ours that a file imports, at its top, inside functions or for type checkers alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ultrasam":
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & set(FILES)) or {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "ultrasam"}
    return found - {module_of(path)}


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_every_room_has_its_floor() -> None:
    assert {room_of(module) for module in FILES} - {"__init__"} <= set(FLOOR)


def test_imports_run_downwards_only() -> None:
    """Imports inside functions and for type checkers count: who needs what doesn't depend on when.

    The package's root only hands on what the rooms hold, so nothing may import it from below.
    """
    wrong = [
        f"{module} imports {other}"
        for module, path in FILES.items()
        if module != "ultrasam"
        for other in imports_of(path)
        if FLOOR.get(room_of(other), len(FLOORS)) > FLOOR[room_of(module)]
    ]
    assert not wrong


def test_no_files_import_each_other() -> None:
    """Neither at their top nor inside functions; the package's root is left out, as it imports lazily."""
    graph = {module: imports_of(path) & set(FILES) for module, path in FILES.items()}
    del graph["ultrasam"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_model_knows_no_files_of_images_and_images_no_model() -> None:
    for room, other in (("model", "images"), ("images", "model")):
        for module, path in FILES.items():
            if room_of(module) == room:
                assert other not in {room_of(m) for m in imports_of(path)}, module


def test_the_seam_knows_no_torch() -> None:
    """What stands above the backend, and what a runtime without PyTorch needs."""
    code = (
        "import sys, ultrasam.runtimes.backend, ultrasam.inference.predictor, ultrasam.prompts, "
        "ultrasam.model.preprocessing, ultrasam.runtimes.openvino_backend, ultrasam.runtimes.opening, "
        "ultrasam.lite; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "cv2", "SimpleITK", "lightning", "transformers", "pydicom", "typer")
    code = f"import sys, ultrasam; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_file_grows_past_four_hundred_lines() -> None:
    long = {
        module: count
        for module, path in FILES.items()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert not set(long) - set(LONG), long
