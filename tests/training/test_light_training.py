"""A run on a store needs only what trains: neither the query engine nor the readers of raw data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ultrasam.evaluation.models.trained_on import trained_on
from ultrasam.store.cache import phantom_store
from ultrasam.training.recipe import load_recipe

pytestmark = pytest.mark.slow

RECIPE = """
name: light
model: nano
data: {store: {path: STORE}}
prompts: {per_image: 1}
interaction: {rounds: 1}
trainer: {max_steps: 1, batch: 1, workers: 0, precision: 32-true, accelerator: cpu}
validation: {every: 0}
"""
CODE = """
import sys
for name in ("polars", "pydicom", "SimpleITK", "archi", "av"):
    sys.modules[name] = None
sys.argv = ["ultrasam", *sys.argv[1:]]
from ultrasam.cli.main import run
run()
"""


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`ultrasam train` in a process that lacks the packages."""
    (folder / "light.yaml").write_text(RECIPE)
    return subprocess.run(
        [sys.executable, "-c", CODE, "train", "light.yaml", *overrides],
        cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip


def test_training_on_a_store_needs_neither_polars_nor_readers(tmp_path: Path) -> None:
    store = phantom_store(2, seed=5).root
    done = train(tmp_path, f"data.store.path={store}")
    assert done.returncode == 0, done.stderr
    model = tmp_path / "runs" / "train" / "light" / "model"
    assert (model / "model.safetensors").exists()
    # The recipe names no data set; what the store had is kept with the weights.
    assert load_recipe(model / "recipe.yaml").data.store.datasets == ("phantoms",)  # type: ignore[union-attr]
    assert trained_on(str(model)) == {"phantoms"}


def test_raw_folders_still_name_the_extra_that_reads_them(tmp_path: Path) -> None:
    done = train(tmp_path, "data.store=null", "data.sources=[{dataset: busi, path: .}]")
    assert done.returncode == 1
    assert "pip install 'ultrasam[data]'" in done.stderr
