"""What doesn't change a training run: a kill, the number of processes, and how they hold the model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

RECIPE = """
name: whole
model: nano
output: {output}
data:
  phantoms: {{count: 20, weight: 1}}
prompts: {{per_image: 2}}
interaction: {{rounds: 2, corrective: 0.5}}
optimizer: {{lr: 0.0001, warmup_steps: 5, clip: 1.0}}
trainer: {{max_steps: 20, batch: 4, precision: 32-true, workers: 0, checkpoint_every: 1,
  log_every: 1, accelerator: cpu}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(output=tmp_path / "runs"))
    return path


def command(recipe: Path, *overrides: str, processes: int = 1) -> list[str]:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0",
                  "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m"]  # fmt: skip
        overrides = (*overrides, f"trainer.devices={processes}")
    return [*start, "ultrasam", "train", str(recipe), *overrides]


def run(recipe: Path, name: str, *overrides: str, processes: int = 1) -> dict[str, torch.Tensor]:
    full = command(recipe, f"name={name}", *overrides, processes=processes)
    done = subprocess.run(full, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return weights(recipe, name)


def weights(recipe: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(recipe.parent / "runs" / name / "model" / "model.safetensors")


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, keys: bool = True) -> float:
    """The largest difference; without ``keys``, not of the biases of attention's keys: they add the same to
    every score of a query, so their gradients are rounding alone, which Adam makes as large as any."""
    assert a.keys() == b.keys()
    worst = 0.0
    for name in a:
        difference = (a[name] - b[name]).abs()
        if not keys and name.endswith("qkv.bias"):
            queries, _, values = difference.chunk(3)
            difference = torch.cat([queries, values])
        if keys or not name.endswith("k_proj.bias"):
            worst = max(worst, float(difference.max()))
    return worst


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch_and_shards_change_nothing(recipe: Path) -> None:
    one = run(recipe, "one", "trainer.checkpoint_every=100")
    two = run(recipe, "two", "trainer.batch=2", "trainer.checkpoint_every=100", processes=2)
    assert apart(one, two, keys=False) < 1e-5
    sharded = run(
        recipe, "sharded", "trainer.batch=2", "trainer.strategy=fsdp", "trainer.checkpoint_every=100",
        processes=2,
    )  # fmt: skip
    assert apart(two, sharded, keys=False) < 1e-4
    start = run(recipe, "start", "trainer.max_steps=1", "trainer.checkpoint_every=100")
    assert apart(start, one) > 1e-3  # there was something to agree on


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_bit_for_bit(recipe: Path, processes: int) -> None:
    settings = ("trainer.max_steps=8", "trainer.batch=2")
    whole = run(recipe, "whole", *settings, processes=processes)
    full = command(recipe, "name=cut", *settings, processes=processes)
    running = subprocess.Popen(
        full, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    last = recipe.parent / "runs" / "cut" / "last.ckpt"
    until = time.monotonic() + 120
    while not last.exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert last.exists()
    step = torch.load(last, map_location="cpu", weights_only=False)["global_step"]
    assert 0 < step < 8
    done = subprocess.run([*full, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert apart(whole, weights(recipe, "cut")) == 0
