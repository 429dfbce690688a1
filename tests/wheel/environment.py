"""Environments with the built wheel and only the packages that its metadata ask for.

No package is downloaded. pip installs the wheel, without what it depends on, into an empty environment;
beside it stand links to the packages of the test environment that its own metadata asks for, with all that
they ask for in turn, and no others. So an import that the metadata forget fails here as it would for a user.
"""

from __future__ import annotations

import importlib.metadata as metadata
import os
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "examples" / "phantom.png"
EXTRAS = (
    "dicom", "volumes", "outputs", "hub", "archives", "onnx", "openvino", "export", "data", "client",
    "dicomweb", "serve", "annotate", "train", "evaluate", "downstream", "cluster",
)  # fmt: skip
APART = ("cluster",)  # neither in 'all' nor in 'dev'


def closure(wanted: list[Requirement], own: list[Requirement]) -> set[str]:
    """Names of installed packages that requirements ask for, and those of theirs; ``own`` are ours."""
    found: set[tuple[str, str]] = set()
    left = [(r, extra) for r in wanted for extra in ("", *r.extras)]
    while left:
        requirement, extra = left.pop()
        key = (canonicalize_name(requirement.name), extra)
        if key in found:
            continue
        found.add(key)
        theirs = own
        if key[0] != "ultrasam":
            try:
                theirs = [Requirement(r) for r in metadata.requires(requirement.name) or ()]
            except metadata.PackageNotFoundError:
                # An optional part of someone's, such as a GPU's libraries, that this environment lacks.
                found.discard(key)
                continue
        for r in theirs:
            if r.marker is None or r.marker.evaluate({"extra": extra}):
                left += [(r, e) for e in ("", *r.extras)]
    return {name for name, _ in found if name != "ultrasam"}


def link(names: set[str], folder: Path) -> None:
    """Links in ``folder`` to all that these packages installed."""
    for name in names:
        for file in metadata.files(name) or ():
            top = file.parts[0]
            target = folder / top
            if top == ".." or top == "__pycache__" or target.exists():
                continue
            target.symlink_to(Path(str(metadata.distribution(name).locate_file(top))).resolve())


def installed(name: str) -> bool:
    return any(True for _ in metadata.distributions(name=name)) or name == "ultrasam"


def run(
    python: Path, *arguments: str | Path, folder: Path, also: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=folder, env=_environment(also),
    )  # fmt: skip


def serve(
    python: Path,
    *arguments: str | Path,
    paths: Sequence[str],
    folder: Path,
    also: Path | None = None,
) -> list[str]:
    """What a command that serves answers for paths below its address; it is ended afterwards."""
    with subprocess.Popen(
        [str(python), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=_environment(also),
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            pages = []
            for path in paths:
                with urllib.request.urlopen(address + path, timeout=60) as answer:
                    pages.append(answer.read().decode())
        finally:
            server.terminate()
            try:
                server.wait(timeout=60)
            except subprocess.TimeoutExpired:
                server.kill()
                raise
    return pages


def _environment(also: Path | None) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    environment["HF_HUB_OFFLINE"] = "1"
    if also is not None:
        environment["PYTHONPATH"] = str(also)
    return environment
