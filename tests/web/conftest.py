"""The page with an exported model."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.export import export
from ultrasam.web.export import export_site, write_site
from ultrasam.weights.model_card import ModelCard


@pytest.fixture(scope="session")
def small_site(exported_nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with a small model of nano's design, which removes what cannot belong to a mask."""
    out = tmp_path_factory.mktemp("pages") / "small"
    write_site(exported_nano, out)
    return out


@pytest.fixture(scope="session")
def half_site(small_nano: UltraSam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the same model, its weights in float16."""
    folder = tmp_path_factory.mktemp("pages")
    card = ModelCard("small", "Apache-2.0", "# small\n")
    export(small_nano, folder / "model", precision="float16", card=card)
    write_site(folder / "model", folder / "half")
    return folder / "half"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with nano."""
    out = tmp_path_factory.mktemp("pages") / "nano"
    export_site("nano", out)
    return out
