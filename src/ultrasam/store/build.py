"""Raw data sets in, one store out: listed, read in parallel, checked for duplicates, split, written.

A build may be killed at any moment and run again: what was read is in the journal, every file is
written whole or not at all, and the manifest, which makes a store of it, comes last. Nothing in a store
depends on time, order or the number of workers.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from pathlib import Path

import cv2

from ultrasam._version import __version__
from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.archives import forget_unpacked
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DataError
from ultrasam.files import update_file
from ultrasam.progress import OnProgress, no_progress
from ultrasam.store.index import Settings, Summary, assemble
from ultrasam.store.journal import (
    JournalShard,
    shards_of,
    journal_folder,
    load_shard,
    read_shard,
    write_shard,
)

_SHOWN = 3


@dataclass(slots=True)
class Built:
    """What a build has done.

    Attributes:
        failed: data sets of which nothing could be read, with the reason.
        crashed: cases whose reading ended its process.
    """

    summary: Summary
    failed: dict[str, str] = field(default_factory=dict)
    crashed: list[str] = field(default_factory=list)


def build(
    sources: Sequence[tuple[DatasetSpec, Path]],
    store: Path,
    *,
    settings: Settings,
    extras: frozenset[str] = frozenset(),
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> Built:
    """Add data sets to a store, which is made if need be; those already there stay, or are renewed.

    Args:
        sources: data sets and their folders.
        extras: structures that are off by default, as ``id.structure``.
        workers: processes that read; 0 reads in this one.
        on_progress: called with the cases read and all of them, ``dataset`` and ``images`` so far.

    Raises:
        DataError: the store's folder holds something else, or nothing at all could be read.
    """
    _claim(store)
    failed: dict[str, str] = {}
    crashed: list[str] = []
    plans: list[tuple[DatasetSpec, list[JournalShard], list[Skip]]] = []
    for data, root in sources:
        prefix = f"{data.info.id}."
        wanted = frozenset(e.removeprefix(prefix) for e in extras if e.startswith(prefix))
        _check_extras(data, wanted)
        try:
            cases, report = data.list_cases(root, extras=wanted)
        except DataError as error:
            failed[data.info.id] = str(error)
            continue
        version = f"{data.info.id}|{data.version}|{sorted(wanted)}"
        plans.append((data, list(shards_of(cases, version=version)), report.skips))
    try:
        todo = [chunk for _, chunks, _ in plans for chunk in chunks]
        _read_all(todo, store, workers, on_progress, crashed)
    finally:
        forget_unpacked()
    for data, chunks, skips in plans:
        _write_index(data, chunks, skips, store)
    if not any((store / "journal").glob("*/index.json")):
        reasons = "; ".join(failed.values())
        raise DataError(f"Nothing could be built: {reasons}")
    return Built(assemble(store, settings), failed, crashed)


def _claim(store: Path) -> None:
    """The folder is a store, or empty, or not there yet."""
    if store.exists() and not store.is_dir():
        raise DataError(f"{store} is a file; give a folder for the store.")
    if store.is_dir() and any(store.iterdir()) and not (store / "journal").is_dir():
        raise DataError(
            f"{store} holds other files and is no store; give an empty or a new folder with -o."
        )
    (store / "journal").mkdir(parents=True, exist_ok=True)


def _check_extras(data: DatasetSpec, wanted: frozenset[str]) -> None:
    unknown = wanted - set(data.info.extras)
    if unknown:
        known = ", ".join(data.info.extras) or "none"
        raise DataError(
            f"{data.info.name} has no '{min(unknown)}' to add; there is {known} (--with)."
        )


def _read_all(
    chunks: Sequence[JournalShard],
    store: Path,
    workers: int,
    on_progress: OnProgress,
    crashed: list[str],
) -> None:
    total, done, images = sum(len(c.cases) for c in chunks), 0, 0
    todo: list[JournalShard] = []
    for chunk in chunks:
        known = _done_before(chunk, store)
        if known is None:
            todo.append(chunk)
        else:
            done, images = done + len(chunk.cases), images + known
    if chunks:
        on_progress(done, total, dataset=chunks[0].dataset, images=images)

    def tell(chunk: JournalShard, count: int) -> None:
        nonlocal done, images
        done, images = done + len(chunk.cases), images + count
        on_progress(done, total, dataset=chunk.dataset, images=images)

    if workers < 1:
        for chunk in todo:
            tell(chunk, read_shard(chunk, store)[0])
        return
    suspects = _in_pool(todo, store, workers, tell)
    for chunk in suspects:
        # One of these ended its process; alone, it can be told which.
        for case in chunk.cases:
            single = JournalShard(chunk.dataset, (case,), f"{chunk.mark}-{len(crashed)}")
            if _in_pool([single], store, 1, lambda _c, _n: None):
                crashed.append(f"{chunk.dataset}: {case.source}")
            single.file(store).unlink(missing_ok=True)
        tell(chunk, _read_around(chunk, store, {c.split(": ", 1)[1] for c in crashed}))


def _done_before(chunk: JournalShard, store: Path) -> int | None:
    """How many images an earlier build read of a chunk; None if any of them is gone or cut short."""
    file = chunk.file(store)
    if not file.exists():
        return None
    try:
        table, _ = load_shard(file)
    except Exception:
        return None  # written by another version, or damaged on disk: it is read again
    try:
        for path, size in zip(
            table["file"].to_pylist(), table["file_size"].to_pylist(), strict=True
        ):
            if (store / path).stat().st_size != size:
                return None
    except FileNotFoundError:
        return None
    return len(table)


def _in_pool(
    chunks: Iterable[JournalShard], store: Path, workers: int, tell: Callable[[JournalShard, int], None]
) -> list[JournalShard]:
    """Read chunks in processes; gives those that were being read when one of the processes died."""
    # A fork of a process that has threads may hang; a fresh one costs a second.
    fresh = multiprocessing.get_context("spawn")
    waiting = iter(chunks)
    suspects: list[JournalShard] = []
    while True:
        running: dict[Future[tuple[int, int]], JournalShard] = {}
        broken = False
        with ProcessPoolExecutor(workers, mp_context=fresh, initializer=_end_with_parent) as pool:
            while True:
                while not broken and len(running) < 2 * workers:
                    chunk = next(waiting, None)
                    if chunk is None:
                        break
                    try:
                        running[pool.submit(read_shard, chunk, store)] = chunk
                    except BrokenProcessPool:
                        suspects.append(chunk)
                        broken = True
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    chunk = running.pop(future)
                    try:
                        tell(chunk, future.result()[0])
                    except BrokenProcessPool:
                        suspects.append(chunk)
                        broken = True
        if not broken:
            return suspects


def _end_with_parent() -> None:
    """End this process when the one that started it does, also if that was killed."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_around(chunk: JournalShard, store: Path, crashed: set[str]) -> int:
    """Read a chunk without the cases that end their process."""
    good = tuple(case for case in chunk.cases if case.source not in crashed)
    bad: list[Case] = [case for case in chunk.cases if case.source in crashed]
    count, _ = read_shard(JournalShard(chunk.dataset, good, chunk.mark), store)
    table, skips = load_shard(chunk.file(store))
    skips += [Skip(case.source, "reading it ends the program: badly damaged") for case in bad]
    write_shard(chunk, store, table.to_pylist(), skips)
    return count


def _write_index(data: DatasetSpec, chunks: list[JournalShard], skips: list[Skip], store: Path) -> None:
    folder = journal_folder(store, data.info.id)
    index = {
        "name": data.info.name,
        "license": data.info.license,
        "url": data.info.url,
        "citation": data.info.citation,
        "reader_version": data.version,
        "shares_subjects": data.shares_subjects,
        "sequence": data.sequence,
        "chunks": [chunk.mark for chunk in chunks],
        "skips": [[skip.where, skip.reason] for skip in skips],
        "built_by": __version__,
    }
    text = json.dumps(index, indent=0, ensure_ascii=False)
    update_file(folder / "index.json", text.encode())
    kept = {f"{chunk.mark}.arrow" for chunk in chunks} | {"index.json"}
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()
