"""The manifest: every file of a job and the shard that it belongs to, as a Parquet table.

It is written once and never changed; workers read the rows of their shard only.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ultrasam.cluster.durable import create_once, sync_file
from ultrasam.cluster.inputs import Source, as_bytes, as_text
from ultrasam.cluster.job import JOB, Job, entries_as_json, entries_of_json, read_job
from ultrasam.errors import ConfigError, DataError, one_line
from ultrasam.extras import needs
from ultrasam.files import atomic_write
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry

_ROWS = 20_000  # in a row group: what a worker decodes to find its shard


@dataclass(frozen=True, slots=True)
class Shard:
    """The files of a shard.

    Attributes:
        number: of the shard.
        sources: its files, in the manifest's order.
        prompts: of the files; None if the job has none.
    """

    number: int
    sources: tuple[Source, ...]
    prompts: AssignedPrompts | None


def write_plan(
    out: Path, job: Job, sources: Sequence[Source], prompts: AssignedPrompts | None
) -> Job:
    """Write the manifest and then the job, which says that the plan is complete.

    Several processes may do so at once, as in an array of jobs: the first wins, and all go on with its plan.

    Args:
        out: the folder of the results.
        job: with the prompts that most files share.
        sources: the files.
        prompts: of the files, by `Source.path`; None without prompts.

    Returns:
        The job that holds.

    Raises:
        UltraSamError: The folder cannot be written.
    """
    data = _table(job, sources, prompts)
    name = f"manifest-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
    planned = replace(job, manifest=name, files=len(sources))
    atomic_write(out / name, data)
    sync_file(out / name)
    if not create_once(out / JOB, planned.as_json().encode()):
        planned = read_job(out)
        if planned.manifest != name:
            (out / name).unlink(missing_ok=True)
    return planned


def _table(job: Job, sources: Sequence[Source], prompts: AssignedPrompts | None) -> bytes:
    with needs("A sharded run", extra="data"):
        import polars as pl
    shared = None if job.prompts is None else [dict(entry) for entry in job.prompts]
    own, missing = [], []
    for source in sources:
        entries = None if prompts is None else entries_as_json(prompts.entries.get(source.path, ()))
        own.append(None if entries == shared else json.dumps(entries))
        missing.append(None if prompts is None else prompts.missing.get(source.path))
    table = pl.DataFrame(
        {
            "shard": [number // job.shard_size for number in range(len(sources))],
            "path": [as_bytes(source.path) for source in sources],
            "archive": [None if s.archive is None else as_bytes(s.archive) for s in sources],
            "member": [None if s.member is None else as_bytes(s.member) for s in sources],
            "prompts": own,
            "missing": missing,
        },
        schema={
            "shard": pl.Int64, "path": pl.Binary, "archive": pl.Binary, "member": pl.Binary,
            "prompts": pl.String, "missing": pl.String,
        },
    )  # fmt: skip
    file = io.BytesIO()
    table.write_parquet(file, row_group_size=_ROWS)
    return file.getvalue()


def read_shard(out: Path, job: Job, number: int) -> Shard:
    """The files of one shard.

    Raises:
        ConfigError: The job has no such shard.
        DataError: The manifest is missing or damaged.
    """
    with needs("A sharded run", extra="data"):
        import polars as pl
    if not 0 <= number < job.num_shards:
        raise ConfigError(f"{out} has {job.num_shards} shards, from 0; shard {number} is none.")
    path = out / job.manifest
    try:
        rows = pl.scan_parquet(path).filter(pl.col("shard") == number).collect().to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"Cannot read {path}: {one_line(error)}; begin anew with --overwrite."
        ) from error
    sources = tuple(
        Source(
            Path(as_text(row["path"])),
            None if row["archive"] is None else Path(as_text(row["archive"])),
            None if row["member"] is None else as_text(row["member"]),
        )
        for row in rows
    )
    if job.prompts is None:
        return Shard(number, sources, None)
    shared = entries_of_json(job.prompts)
    entries: dict[Path, list[PromptEntry]] = {}
    missing: dict[Path, str] = {}
    for source, row in zip(sources, rows, strict=True):
        if row["missing"] is not None:
            missing[source.path] = row["missing"]
        else:
            own = row["prompts"]
            entries[source.path] = shared if own is None else entries_of_json(json.loads(own))
    return Shard(number, sources, AssignedPrompts(entries, missing))
