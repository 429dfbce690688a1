"""A kill, the number of processes and sharding do not change a training run."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import processes
from tests.conftest import SMALL_NANO, randomized
from tests.crashes import kill_this_process_before
from tests.downstream.spots import save_pairs
from tests.store.test_store import busi_like
from ultrasam.processes import interrupts_held
from ultrasam.weights.hub import save_pretrained

RECIPE = """
name: whole
init: {init}
output: {output}
data: {{sources: [{{dataset: BUSI, path: {data}}}]}}
prompts: {{per_image: 2}}
interaction: {{rounds: 2, corrective: 0.5}}
optimizer: {{lr: 0.0001, warmup_steps: 5, clip: 1.0}}
trainer: {{max_steps: 20, batch: 4, precision: 32-true, workers: 0, checkpoint_every: 100,
  log_every: 1, accelerator: cpu}}
"""
Weights = dict[str, torch.Tensor]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    save_pretrained(randomized(SMALL_NANO), tmp_path / "init")
    busi_like(tmp_path, 20)
    places = {name: tmp_path / name for name in ("init", "output")}
    path.write_text(RECIPE.format(**places, data=tmp_path / "busi"))
    return path


def train(
    recipe: Path,
    name: str,
    *more: str,
    count: int = 1,
    before: processes.Before = processes.nothing,
) -> tuple[int, ...]:
    asked = ["train", recipe, f"name={name}", *more]
    if count > 1:
        asked.append(f"trainer.devices={count}")
    log = recipe.parent / f"{name}.log"
    return processes.run(*asked, log=log, processes=count, before=before)


def trained(recipe: Path, name: str, *more: str, count: int = 1) -> Weights:
    statuses = train(recipe, name, *more, count=count)
    assert not any(statuses), (recipe.parent / f"{name}.log").read_text()[-2000:]
    return weights(recipe, name)


def weights(recipe: Path, name: str) -> Weights:
    return load_file(recipe.parent / "output" / name / "model" / "model.safetensors")


def apart(a: Weights, b: Weights, *, keys: bool = True) -> float:
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
    one = trained(recipe, "one", "trainer.max_steps=10")
    half = ("trainer.max_steps=10", "trainer.batch=2")
    two = trained(recipe, "two", *half, count=2)
    assert apart(one, two, keys=False) < 1e-5
    sharded = trained(recipe, "sharded", *half, "trainer.strategy=fsdp", count=2)
    assert apart(two, sharded, keys=False) < 1e-4
    start = trained(recipe, "start", "trainer.max_steps=1")
    assert apart(start, one) > 3e-4  # there was something to agree on


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_run_goes_on_bit_for_bit(recipe: Path, count: int) -> None:
    """Killed as its third checkpoint was written, but not yet in its place: the second one is there."""
    settings = ("trainer.max_steps=5", "trainer.batch=2", "trainer.checkpoint_every=1")
    whole = trained(recipe, "whole", *settings, count=count)
    kill = partial(kill_this_process_before, "last.ckpt", 3)
    assert processes.killed(train(recipe, "cut", *settings, count=count, before=kill))
    last = recipe.parent / "output" / "cut" / "last.ckpt"
    assert torch.load(last, map_location="cpu", weights_only=False)["global_step"] == 2
    assert apart(whole, trained(recipe, "cut", *settings, "--resume", count=count)) == 0


@pytest.mark.slow
def test_torchrun_starts_a_run(recipe: Path) -> None:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    asked = ["-m", "ultrasam", "train", str(recipe), "trainer.max_steps=1", "trainer.devices=2"]
    done = subprocess.run([*start, *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert weights(recipe, "whole")


@pytest.mark.slow
def test_fine_tuning_in_two_processes_is_one_with_twice_the_batch(tmp_path: Path) -> None:
    save_pairs(tmp_path / "data", 6)
    found = []
    for count in (1, 2):
        out = tmp_path / f"out{count}"
        log = tmp_path / f"{count}.log"
        asked = ["finetune", "regions", "--data", tmp_path / "data", "-o", out, "--device", "cpu",
                 "trainer.max_steps=4", f"trainer.batch={4 // count}",
                 f"trainer.devices={count}"]  # fmt: skip
        assert not any(processes.run(*asked, log=log, processes=count)), log.read_text()[-2000:]
        found.append(load_file(out / "regions.safetensors"))
        assert (out / "README.md").exists()
    assert apart(*found, keys=False) < 1e-5


def test_an_interrupt_waits_until_what_must_not_be_cut_is_done() -> None:
    done = []

    def work() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    # A process that was started in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert done == ["all of it"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
