"""The page with an exported model."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultrasam.web.export import export_site, write_site


@pytest.fixture(scope="session")
def small_site(exported_nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with a small model of nano's design, which removes what cannot belong to a mask."""
    out = tmp_path_factory.mktemp("pages") / "small"
    write_site(exported_nano, out)
    return out


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with nano."""
    out = tmp_path_factory.mktemp("pages") / "nano"
    export_site("nano", out)
    return out
