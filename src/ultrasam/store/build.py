"""Build raw data sets into one store: list, read in parallel, find duplicates, assign splits, write.

A build may be killed at any time and resumed: the journal records what was read, every file is written
atomically, and the manifest, which completes the store, comes last. The contents of a store do not depend on
time, order or the number of workers.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from ultrasam._version import __version__
from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.archives import forget_unpacked
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DataError
from ultrasam.files import update_file
from ultrasam.processes import exit_with_parent
from ultrasam.progress import OnProgress, no_progress
from ultrasam.store.index import BuildSettings, BuildSummary, write_tables
from ultrasam.store.journal import (
    JournalShard,
    as_json,
    journal_folder,
    load_shard,
    read_shard,
    shards_of,
    write_shard,
)


@dataclass(slots=True)
class BuildResult:
    """Outcome of a build.

    Attributes:
        summary: counts of the store.
        failed: data sets that could not be listed, with the reason.
        crashed: cases that crashed the process that read them, as ``dataset: file``.
        notes: for each data set, how its files were understood (see `SkipReport`).
    """

    summary: BuildSummary
    failed: dict[str, str] = field(default_factory=dict)
    crashed: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)


def build_store(
    sources: Sequence[tuple[DatasetSpec, Path]],
    store: Path,
    *,
    settings: BuildSettings,
    include: frozenset[str] = frozenset(),
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> BuildResult:
    """Create a store from data sets, or add them to an existing one; those already there are updated.

    Args:
        sources: data sets and their folders.
        store: folder of the store.
        settings: filters, split fractions and duplicate thresholds.
        include: optional structures to read as well, as ``id.structure``.
        workers: number of processes that read; 0 reads in this process.
        on_progress: called with the number of cases read and their total, the current ``dataset``, and the
            number of ``images`` so far.

    Raises:
        DataError: The folder contains other files, or no data set could be read.
    """
    _create_folder(store)
    failed: dict[str, str] = {}
    crashed: list[str] = []
    notes: dict[str, list[str]] = {}
    listed: list[tuple[DatasetSpec, list[JournalShard], list[Skip]]] = []
    for spec, root in sources:
        prefix = f"{spec.info.id}."
        optional = frozenset(s.removeprefix(prefix) for s in include if s.startswith(prefix))
        _require_known(spec, optional)
        try:
            cases, report = spec.list_cases(root, include=optional)
        except DataError as error:
            failed[spec.info.id] = str(error)
            continue
        notes[spec.info.id] = report.notes
        version = f"{spec.info.id}|{spec.version}|{sorted(optional)}"
        listed.append((spec, list(shards_of(cases, version=version)), report.skips))
    try:
        all_shards = [shard for _, shards, _ in listed for shard in shards]
        _read_all(all_shards, store, workers, on_progress, crashed)
    finally:
        forget_unpacked()
    for spec, shards, skips in listed:
        _write_index(spec, shards, skips, store)
    if not any((store / "journal").glob("*/index.json")):
        raise DataError(f"No data set could be read: {'; '.join(failed.values())}")
    return BuildResult(write_tables(store, settings), failed, crashed, notes)


def _create_folder(store: Path) -> None:
    """Create the folder unless it is a store or empty; refuse anything else."""
    if store.exists() and not store.is_dir():
        raise DataError(f"{store} is a file; give a folder for the store.")
    if store.is_dir() and any(store.iterdir()) and not (store / "journal").is_dir():
        raise DataError(
            f"{store} is not a store and contains other files; give an empty or new folder."
        )
    (store / "journal").mkdir(parents=True, exist_ok=True)


def _require_known(spec: DatasetSpec, optional: frozenset[str]) -> None:
    unknown = optional - set(spec.info.optional_structures)
    if unknown:
        known = ", ".join(spec.info.optional_structures) or "none"
        raise DataError(
            f"{spec.info.name} has no optional structure '{min(unknown)}' (available: {known})."
        )


def _read_all(
    shards: Sequence[JournalShard],
    store: Path,
    workers: int,
    on_progress: OnProgress,
    crashed: list[str],
) -> None:
    total, done, images = sum(len(s.cases) for s in shards), 0, 0
    pending: list[JournalShard] = []
    for shard in shards:
        count = _count_read(shard, store)
        if count is None:
            pending.append(shard)
        else:
            done, images = done + len(shard.cases), images + count
    if shards:
        on_progress(done, total, dataset=shards[0].dataset, images=images)

    def advance(shard: JournalShard, count: int) -> None:
        nonlocal done, images
        done, images = done + len(shard.cases), images + count
        on_progress(done, total, dataset=shard.dataset, images=images)

    if workers < 1:
        for shard in pending:
            advance(shard, read_shard(shard, store)[0])
        return
    suspects = _read_in_pool(pending, store, workers, advance)
    for shard in suspects:
        # One of these cases crashed the process; read each in its own process to find out which.
        bad: set[str] = set()
        for case in shard.cases:
            single = JournalShard(shard.dataset, (case,), f"{shard.key}-{len(crashed)}")
            if _read_in_pool([single], store, 1, lambda _shard, _count: None):
                bad.add(case.key)
                crashed.append(f"{shard.dataset}: {case.source}")
            single.file(store).unlink(missing_ok=True)
        advance(shard, _read_without(shard, store, bad))


def _count_read(shard: JournalShard, store: Path) -> int | None:
    """The number of images that an earlier build read from a shard; None if any is missing or incomplete."""
    file = shard.file(store)
    if not file.exists():
        return None
    try:
        table, _ = load_shard(file)
    except Exception:
        return None  # written by another version, or damaged: read it again
    try:
        for path, size in zip(
            table["file"].to_pylist(), table["file_size"].to_pylist(), strict=True
        ):
            if (store / path).stat().st_size != size:
                return None
    except FileNotFoundError:
        return None
    return len(table)


def _read_in_pool(
    shards: Iterable[JournalShard],
    store: Path,
    workers: int,
    advance: Callable[[JournalShard, int], None],
) -> list[JournalShard]:
    """Read shards in worker processes; return those being read when a process crashed."""
    # Forking a process with threads may hang; spawning one takes a second.
    spawn = multiprocessing.get_context("spawn")
    waiting = iter(shards)
    suspects: list[JournalShard] = []
    while True:
        running: dict[Future[tuple[int, int]], JournalShard] = {}
        broken = False
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker) as pool:
            _check_that_workers_start(pool)
            while True:
                while not broken and len(running) < 2 * workers:
                    shard = next(waiting, None)
                    if shard is None:
                        break
                    try:
                        running[pool.submit(read_shard, shard, store)] = shard
                    except BrokenProcessPool:
                        suspects.append(shard)
                        broken = True
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    shard = running.pop(future)
                    try:
                        advance(shard, future.result()[0])
                    except BrokenProcessPool:
                        suspects.append(shard)
                        broken = True
        if not broken:
            return suspects


def _check_that_workers_start(pool: ProcessPoolExecutor) -> None:
    """Tell processes that cannot start at all from those that a file has crashed.

    Raises:
        DataError: They cannot.
    """
    try:
        pool.submit(_nothing).result()
    except (BrokenProcessPool, BrokenPipeError) as error:
        # Click would take a pipe to a process that has died for a reader of our output that has left, and
        # end without a word.
        raise DataError(
            "The processes that read images cannot start; the reason is above. Use 0 workers, or, in a "
            "script, put its work under: if __name__ == '__main__':"
        ) from error


def _nothing() -> None:
    """Nothing: reaching it shows that a process has started."""


def _start_worker() -> None:
    cv2.setNumThreads(1)  # the worker processes already use all cores
    exit_with_parent()


def _read_without(shard: JournalShard, store: Path, crashed: set[str]) -> int:
    """Read a shard without the cases that crash the process; return the number of images.

    Args:
        shard: the shard.
        store: folder of the store.
        crashed: keys of those cases; their files may hold other cases as well.
    """
    good = tuple(case for case in shard.cases if case.key not in crashed)
    bad: list[Case] = [case for case in shard.cases if case.key in crashed]
    count, _ = read_shard(JournalShard(shard.dataset, good, shard.key), store)
    table, skips = load_shard(shard.file(store))
    skips += [
        Skip(case.source, "damaged: reading it crashes the process", damage=True) for case in bad
    ]
    write_shard(shard, store, table.to_pylist(), skips)
    return count


def _write_index(
    spec: DatasetSpec, shards: list[JournalShard], skips: list[Skip], store: Path
) -> None:
    folder = journal_folder(store, spec.info.id)
    index = {
        "name": spec.info.name,
        "license": spec.info.license,
        "url": spec.info.url,
        "citation": spec.info.citation,
        "reader_version": spec.version,
        "shares_subjects": spec.shares_subjects,
        "sequence": spec.sequence,
        "shards": [shard.key for shard in shards],
        "skips": [as_json(skip) for skip in skips],
        "built_by": __version__,
    }
    text = json.dumps(index, indent=0, ensure_ascii=False)
    update_file(folder / "index.json", text.encode())
    current = {f"{shard.key}.arrow" for shard in shards} | {"index.json"}
    for file in folder.iterdir():
        if file.name not in current:
            file.unlink()
