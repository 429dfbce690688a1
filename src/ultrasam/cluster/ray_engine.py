"""Workers on Ray: actors that hold the model and run the same shard function, here or on a cluster.

Ray's own retries are off: what is lost is repeated by `ultrasam.cluster.driver`, and what is written counts
once because a shard is committed by renaming it. So no state of Ray, and no checkpoint of Ray Data, matters.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ultrasam.cluster.driver import Worker
from ultrasam.cluster.job import read_job
from ultrasam.cluster.local_engine import num_cores
from ultrasam.cluster.shards import ShardDone, ShardRunner
from ultrasam.errors import UltraSamError, one_line
from ultrasam.extras import needs


def ray_workers(out: Path, count: int, address: str | None = None) -> Sequence[Worker]:
    """Actors on Ray, which share its processors; each gets a GPU if the cluster has some and the job may.

    Args:
        out: the folder of the results; on a cluster, on a disk that all its machines see.
        count: number of actors.
        address: of a cluster, as ``ray.init`` takes it; None starts Ray on this machine.

    Raises:
        MissingDependencyError: Ray is not installed.
        UltraSamError: There is no cluster at the address, or it is too small for so many actors.
    """
    with needs("The engine ray", extra="cluster"):
        import ray
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is not None:
            ray.init(address=address, ignore_reinit_error=True, **quiet)
        elif not ray.is_initialized():
            # Ray's own choice, the priority 15, starves workers on a machine that others use.
            settings = {"worker_niceness": 0}
            ray.init(
                num_cpus=max(count, num_cores()), include_dashboard=False, _system_config=settings,
                **quiet,
            )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray"
        raise UltraSamError(f"Cannot reach {where}: {one_line(error)}.") from error
    has = ray.cluster_resources()
    cores = int(has.get("CPU", 0))
    if cores < count:
        raise UltraSamError(
            f"The Ray cluster has {cores} processors, too few for {count} workers; use fewer --workers."
        )
    on_gpu = has.get("GPU", 0) >= count and read_job(out).device != "cpu"
    needed = {"num_cpus": cores // count, "num_gpus": 1 if on_gpu else 0}
    threads = max(1, num_cores() // count) if address is None else cores // count
    return [RayActor(ray, out.absolute(), threads, needed) for _ in range(count)]


class RayActor:
    """Runs shards in an actor on Ray; a new one takes its place if it is lost."""

    def __init__(self, ray: Any, out: Path, threads: int, needed: Mapping[str, int]) -> None:
        self.lost: tuple[type[BaseException], ...] = (
            ray.exceptions.RayActorError,
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
        )
        self._ray, self._out, self._threads = ray, out, threads
        # An actor or a task that Ray repeats by itself would hide a loss from the driver.
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **needed)(_ShardActor)
        self._actor: Any = None

    def start(self, shard: int, *, careful: bool, refused: Mapping[str, str]) -> Future[ShardDone]:
        """As in `Worker`."""
        if self._actor is None:
            self._actor = self._class.remote(self._out, self._threads)
        future: Future[ShardDone] = self._actor.run.remote(shard, careful, dict(refused)).future()
        return future

    def replace(self) -> None:
        """As in `Worker`."""
        self.close()

    def close(self) -> None:
        """As in `Worker`."""
        actor, self._actor = self._actor, None
        if actor is not None:
            self._ray.kill(actor, no_restart=True)


class _ShardActor:
    """A `ShardRunner` as Ray starts it."""

    def __init__(self, out: Path, threads: int) -> None:
        logging.getLogger("ultrasam").setLevel(logging.ERROR)
        self._runner = ShardRunner(out, threads=threads)
        folder = Path(self._runner.job.folder)
        if folder.is_dir():
            os.chdir(folder)  # a model may be given by a relative path

    def run(self, shard: int, careful: bool, refused: Mapping[str, str]) -> ShardDone:
        return self._runner.run(shard, careful=careful, refused=refused)
