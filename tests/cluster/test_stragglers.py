"""The simulation of unreliable workers against cases that can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.stragglers import Cluster, simulate

PERFECT = Cluster(
    workers=8, frame=0.1, overhead=0, dispatch=0, start=0, preempted=0, gone=0, crash=0
)


def test_without_costs_and_losses_only_the_tail_is_lost() -> None:
    run = simulate(PERFECT, 80_000, 10, seed=0)
    assert run.repeated == 0
    # The last shard of the slowest worker, 4 / exp(-0.45) times as slow at most, is all that others wait for.
    longest = 10 * 0.1 * 6.5 * 2 / 3600
    ideal = run.efficiency * run.hours
    assert ideal <= run.hours <= ideal + longest + 0.01 * ideal


def test_one_worker_pays_each_overhead_once() -> None:
    cluster = replace(PERFECT, workers=1, overhead=0.5, dispatch=0.25, start=3)
    with_costs, without = (
        simulate(one, 1000, 10, seed=1) for one in (cluster, replace(PERFECT, workers=1))
    )
    assert (with_costs.hours - without.hours) * 3600 == pytest.approx(3 + 100 * 0.75)


def test_a_driver_that_is_slow_bounds_the_throughput() -> None:
    run = simulate(replace(PERFECT, workers=1000, dispatch=0.1), 20_000, 10, seed=0)
    assert run.hours * 3600 == pytest.approx(2000 * 0.1, rel=0.1)


def test_each_crash_repeats_half_a_shard_on_average() -> None:
    run = simulate(replace(PERFECT, crash=0.2), 100_000, 10, seed=0)
    assert run.repeated == pytest.approx(0.1, rel=0.1)


def test_losses_repeat_more_the_longer_shards_are() -> None:
    cluster = replace(PERFECT, preempted=600, gone=10)
    repeated = [
        np.mean([simulate(cluster, 200_000, size, seed).repeated for seed in range(4)])
        for size in (20, 1000)
    ]
    assert repeated[0] < 0.01 < 0.05 < repeated[1]
