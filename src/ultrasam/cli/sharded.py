"""Commands on more files than one process should hold: shards, workers, and going on after an end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import EngineName
from ultrasam.cli.outputs import earlier_results, remove
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.prompts import assign_and_report
from ultrasam.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    InterruptedRunError,
    PromptError,
    UltraSamError,
)
from ultrasam.extras import require
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.cluster.job import Job
    from ultrasam.cluster.run import Outcome
    from ultrasam.inference.prompts_file import PromptsFile

logger = logging.getLogger(__name__)

_JOB = "job.json"  # `ultrasam.cluster.job.JOB`, whose import costs seconds
_SHOWN = 3  # reasons that are printed


@dataclass(frozen=True, slots=True)
class Sharding:
    """The options of a sharded run, as given."""

    workers: int | None = None
    engine: EngineName | None = None
    address: str | None = None
    shard_size: int | None = None
    shards: str | None = None
    resume: bool = False

    @property
    def wanted(self) -> bool:
        """Whether files are to be cut into shards."""
        return self != Sharding()

    def check(self, out: Path) -> None:
        """Refuse options that mean nothing together, and, without shards, a folder of a sharded run.

        Raises:
            MissingDependencyError: The extra 'data' or 'cluster' is not installed.
            UltraSamError: They do not fit.
        """
        if not self.wanted:
            if holds_run(out):
                raise UltraSamError(
                    f"{out} holds a sharded run; go on with --workers and --resume, begin anew with "
                    "--workers and --overwrite, or choose another -o."
                )
            return
        require("A sharded run", "polars", extra="data")
        if self.engine is EngineName.ray:
            require("The engine ray", "ray", extra="cluster")
            if not self.workers:
                raise UltraSamError("--engine ray needs --workers of at least 1.")
        elif self.address is not None:
            raise UltraSamError("--address is that of a Ray cluster; add --engine ray.")


def holds_run(out: Path) -> bool:
    """Whether a folder holds a sharded run."""
    return (out / _JOB).exists()


def refuse_with_shards(given: dict[str, Any]) -> None:
    """Refuse options that a sharded run has no use for.

    Raises:
        PromptError: One is given.
    """
    useless = sorted(name for name, value in given.items() if value not in (None, False))
    if useless:
        raise PromptError(
            f"{' and '.join(useless)} {'is' if len(useless) == 1 else 'are'} not for sharded runs; leave "
            "--workers and its like out."
        )


def run_sharded(
    how: Sharding,
    out: Path,
    settings: dict[str, Any],
    prompts: PromptsFile | None,
    *,
    overwrite: bool,
    written: Sequence[str] = (),
) -> None:
    """Plan a job unless it is planned, do its shards, and tell what failed.

    Args:
        how: the options.
        out: the folder of the results.
        settings: of `ultrasam.cluster.job.Job`.
        prompts: of the files; None without prompts.
        overwrite: remove a run that is there.
        written: patterns of what a run without shards writes, and of what is collected from all shards.

    Raises:
        InterruptedRunError: Ctrl-C; what is done stays done.
        UltraSamError: The folder holds another run, or the job cannot be done.
    """
    from ultrasam.cluster.run import (
        Share,
        any_done,
        check_same,
        earlier_run,
        remove_run,
        run_shards,
    )

    share = None if how.shards is None else Share.parse(how.shards)
    if share is not None and overwrite:
        raise UltraSamError(
            "--overwrite is not for --shards, whose runs would remove each other's results; use another -o."
        )
    if how.resume and overwrite:
        raise UltraSamError(
            "--resume goes on with a run and --overwrite removes it; leave one of them out."
        )
    job = _job(settings, prompts, how)
    found = None if overwrite and share is None else earlier_run(out)
    if found is None:
        if how.resume and share is None:
            raise UltraSamError(f"{out} holds no sharded run to go on with; leave --resume out.")
        earlier = earlier_results(out, written, overwrite=overwrite)
        # Another task of an array may have planned meanwhile: its plan holds.
        check_same(out, _plan(job, out, prompts, earlier, overwrite=overwrite), job)
    else:
        if how.shard_size is None:
            job = replace(job, shard_size=found.shard_size)
        check_same(out, found, job)
        if not how.resume and share is None:
            raise UltraSamError(
                f"{out} holds a run already; go on with --resume, or begin anew with --overwrite."
            )
    try:
        with progress_bar("shards") as on_progress:
            outcome = run_shards(
                out, workers=how.workers or 0, engine=(how.engine or EngineName.local).value,
                address=how.address, share=share, on_progress=on_progress,
                on_damaged=lambda shard: logger.warning(
                    "Shard %d has changed since it was written; it is done again.", shard
                ),
            )  # fmt: skip
    except KeyboardInterrupt as error:
        raise InterruptedRunError("Interrupted; --resume goes on with what is left.") from error
    except (CheckpointError, ConfigError, DeviceError):
        if found is None and share is None and not any_done(out):
            remove_run(out)  # the next command names another model, and so would be refused
        raise
    _report(out, outcome)
    if prompts is not None and prompts.refused:
        raise typer.Exit(1)  # each was told when the file was read


def _job(settings: dict[str, Any], prompts: PromptsFile | None, how: Sharding) -> Job:
    from ultrasam.cluster.job import DEFAULT_SHARD_SIZE, Job, entries_as_json, hash_of

    if prompts is not None:
        shared = prompts.entries.get("*", ())
        every = {name: entries_as_json(one) for name, one in prompts.entries.items()}
        settings = {
            **settings, "prompts": tuple(entries_as_json(shared)), "prompts_hash": hash_of(every),
        }  # fmt: skip
    return Job(**settings, shard_size=how.shard_size or DEFAULT_SHARD_SIZE)


def _plan(
    job: Job,
    out: Path,
    prompts: PromptsFile | None,
    earlier: Sequence[Path],
    *,
    overwrite: bool,
) -> Job:
    from ultrasam.cluster.inputs import find_sources
    from ultrasam.cluster.manifest import write_plan
    from ultrasam.cluster.run import remove_run

    sources = find_sources(job.inputs)
    checks.check_inputs([source.path for source in sources if source.archive is None])
    paths = [source.path for source in sources]
    assigned = None if prompts is None else assign_and_report(prompts, paths)
    remove(earlier)
    if overwrite:
        # Never without being asked: another task of an array may have planned by now.
        remove_run(out)
    planned = write_plan(out, job, sources, assigned)
    logger.info(
        "%s in %s.",
        counted(len(sources), "file"),
        counted(-(-len(sources) // job.shard_size), "shard"),
    )
    return planned


def _report(out: Path, outcome: Outcome) -> None:
    print(out / "shards" / "*" / "results.parquet")
    if outcome.table is not None:
        print(outcome.table)
    if outcome.left:
        logger.info(
            "%s of other shares not done yet.", counted(outcome.left, "shard is", "shards are")
        )
    doubtful = sum(one.doubtful for one in outcome.done)
    if doubtful:
        total = sum(one.rows - one.failed for one in outcome.done)
        logger.warning("%d of %d masks are empty or have low confidence.", doubtful, total)
    noted = sum(one.noted for one in outcome.done)
    if noted:
        logger.warning(
            "Something should be known of %s; the column note of the tables says what.",
            counted(noted, "file"),
        )
    failed = sum(one.failed for one in outcome.done)
    if failed:
        for reason in _reasons(out, outcome):
            logger.error("%s", reason)
        logger.error(
            "%s failed; the column error of the tables says why.",
            counted(failed, "file, frame or prompt", "files, frames or prompts"),
        )
        raise typer.Exit(1)


def _reasons(out: Path, outcome: Outcome) -> list[str]:
    """The first few sentences of the column ``error``."""
    import polars as pl

    found: list[str] = []
    for one in outcome.done:
        if one.failed and len(found) < _SHOWN:
            table = out / "shards" / f"{one.shard:06d}" / "results.parquet"
            rows = pl.read_parquet(table, columns=["path", "error"]).drop_nulls("error")
            found += [
                error if path in error else f"{path}: {error}" for path, error in rows.iter_rows()
            ]
    return found[:_SHOWN]
