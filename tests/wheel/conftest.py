"""The wheel, built once, and the environments it is installed in."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.wheel.environment import APART, EXTRAS, ROOT, closure, installed, link


@pytest.fixture(scope="package")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        str(folder),
        str(ROOT),
    ]
    try:
        import hatchling.build  # noqa: F401

        command.append("--no-build-isolation")
    except ImportError:
        pass  # pip fetches it
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode and "connection" in built.stderr.lower():
        pytest.skip("hatchling is not installed, and the package index cannot be reached")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="package")
def requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    return [Requirement(line.removeprefix("Requires-Dist: ")) for line in lines if line.startswith("Req"
        "uires-Dist: ")]  # fmt: skip


@pytest.fixture(scope="package")
def base(
    wheel: Path, requirements: list[Requirement], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The Python of an environment with the wheel and the packages of the base install."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*command, str(wheel)], check=True)
    wanted = [r for r in requirements if r.marker is None]
    assert {canonicalize_name(r.name) for r in wanted} <= closure(wanted, requirements)
    link(closure(wanted, requirements), site)
    return python


@pytest.fixture(scope="package")
def extra_folder(
    base: Path, requirements: list[Requirement], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Of each extra that is installed, a folder with what it adds, to be put on PYTHONPATH."""
    folders = {}
    for extra in EXTRAS:
        wanted = [r for r in requirements if r.marker and r.marker.evaluate({"extra": extra})]
        missing = [r.name for r in wanted if not installed(r.name)]
        if missing and extra in APART:
            continue
        if missing:
            pytest.fail(f"the test environment lacks {', '.join(missing)}: pip install -e '.[dev]'")
        folders[extra] = tmp_path_factory.mktemp(extra)
        link(closure(wanted, requirements), folders[extra])
    return folders
