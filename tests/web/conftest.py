"""nano, exported once for the tests of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultrasam.web.export import write_site


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano as ONNX graphs."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the packages of the extra 'export' are not installed")
    export = pytest.importorskip("ultrasam.runtimes.export").export
    folder = tmp_path_factory.mktemp("exported") / "nano"
    export("nano", folder)
    return folder


@pytest.fixture(scope="session")
def site(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with nano."""
    out = tmp_path_factory.mktemp("site")
    write_site(exported, out)
    return out
