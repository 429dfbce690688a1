"""Claim: with 200 files in a shard, 1,000 unreliable workers lose less than 10 % of the ideal throughput.

Simulates the driver of `ultrasam.cluster.driver`: workers take the next shard when they are free, and a lost
worker's shard is repeated. The peer is the ideal: the same workers, all at their own speed, none ever lost or
idle, and shards that cost nothing but their frames. What is simulated:

- stragglers: each worker's speed is log-normal (sigma 0.15), and 2 % of the workers are 4 times slower;
- frames differ: a file's cost is log-normal (sigma 0.5) about the mean;
- pre-emption: a worker is taken away after an exponential time, and another one comes after a while;
- crashes: a shard in so many thousand ends its worker, which starts again at once;
- the driver hands out so many shards in a second, one after the other; a shard costs its worker a constant.

Nothing is run twice at the same time to catch stragglers, as the driver does not do so, either.

    python benchmarks/stragglers.py [--seconds 0.1] [--frames 10000000]
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cluster:
    """What is assumed; times in seconds.

    Attributes:
        workers: their number.
        frame: mean cost of a frame.
        overhead: of a shard, in its worker: manifest, table, hashes, syncs, rename.
        dispatch: of a shard, in the driver.
        start: of a worker, until its model is open.
        preempted: mean time until a worker is taken away; 0 for never.
        gone: until another one is there.
        crash: share of shards that end their worker.
    """

    workers: int
    frame: float
    overhead: float = 0.1
    dispatch: float = 0.0025  # measured with 1,000 workers
    start: float = 15.0
    preempted: float = 6 * 3600.0
    gone: float = 120.0
    crash: float = 0.001


@dataclass(frozen=True)
class Simulated:
    """What came of it.

    Attributes:
        hours: until the last shard was done.
        efficiency: ideal time / time.
        repeated: share of the work that was done again.
        tail: share of the time in which some workers had nothing left to do.
    """

    hours: float
    efficiency: float
    repeated: float
    tail: float


def simulate(cluster: Cluster, frames: int, size: int, seed: int) -> Simulated:
    """One run over all frames in shards of ``size``."""
    rng = np.random.default_rng(seed)
    speed = rng.lognormal(0, 0.15, cluster.workers)
    speed[rng.random(cluster.workers) < 0.02] /= 4
    count = -(-frames // size)
    # The cost of a shard is a sum of many log-normal costs: normal, with the variance of the sum.
    spread = np.sqrt(np.expm1(0.5**2) / size)
    cost = size * cluster.frame * np.maximum(0.2, rng.normal(1, spread, count))
    cost[-1] *= (frames - (count - 1) * size) / size
    crashes = rng.random(count) < cluster.crash

    free = [(cluster.start, worker) for worker in range(cluster.workers)]
    heapq.heapify(free)
    driver, wasted, first_idle, end = 0.0, 0.0, None, 0.0
    next_loss = _losses(rng, cluster, cluster.workers)
    left, shard = [], 0
    while left or shard < count:
        now, worker = heapq.heappop(free)
        if left:
            number = left.pop()
        else:
            number, shard = shard, shard + 1
        driver = max(driver, now) + cluster.dispatch
        needed = cost[number] / speed[worker] + cluster.overhead
        finish = driver + needed
        if finish > next_loss[worker]:
            at = max(next_loss[worker], driver)
            wasted += (at - driver) * speed[worker]
            back = at + cluster.gone + cluster.start
            next_loss[worker] = back + _losses(rng, cluster, 1)[0]
            left.append(number)
            heapq.heappush(free, (back, worker))
            continue
        if crashes[number]:
            crashes[number] = False
            wasted += needed / 2 * speed[worker]
            left.append(number)
            heapq.heappush(free, (driver + needed / 2 + cluster.start, worker))
            continue
        end = max(end, finish)
        heapq.heappush(free, (finish, worker))
        if shard == count and first_idle is None:
            first_idle = now
    ideal = frames * cluster.frame / speed.sum()
    tail = 0.0 if first_idle is None else (end - first_idle) / end
    return Simulated(end / 3600, ideal / end, wasted / (frames * cluster.frame), tail)


def _losses(rng: np.random.Generator, cluster: Cluster, count: int) -> np.ndarray:
    if not cluster.preempted:
        return np.full(count, np.inf)
    return rng.exponential(cluster.preempted, count)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=0.1, help="a frame costs a worker")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100, 200, 500, 1000, 5000])
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--preempted", type=float, default=6.0, help="mean hours until a loss")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(
        f"{given.frames:,} frames of {given.seconds:g} s; a worker is lost every {given.preempted:g} h"
    )
    print(
        f"{'workers':>8} {'shard':>6} {'hours':>8} {'efficiency':>10} {'repeated':>9} {'tail':>6}"
    )
    for workers in given.workers:
        for size in given.sizes:
            cluster = Cluster(workers, given.seconds, preempted=given.preempted * 3600)
            runs = [simulate(cluster, given.frames, size, seed) for seed in range(given.seeds)]
            hours, efficiency, repeated, tail = (
                float(np.mean([getattr(run, name) for run in runs]))
                for name in ("hours", "efficiency", "repeated", "tail")
            )
            print(
                f"{workers:>8} {size:>6} {hours:>8.2f} {efficiency:>10.3f} {repeated:>9.2%} {tail:>6.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
