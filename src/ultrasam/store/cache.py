"""Cached stores of raw data sets, built on first use.

All training reads stores. A recipe that names raw folders gets one store for each: the first run builds it,
and later runs reuse it and read only the files that changed.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from filelock import FileLock

from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import describe_skips
from ultrasam.errors import DataError
from ultrasam.processes import is_starting
from ultrasam.progress import OnProgress, no_progress
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.phantoms import phantom_dataset, simulator_hash
from ultrasam.store.splits import SplitFractions
from ultrasam.store.store import Store
from ultrasam.weights.cache import cache_folder

logger = logging.getLogger(__name__)


def cached_store(
    dataset: DatasetSpec,
    folder: Path,
    *,
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> Store:
    """The cached store of a raw data set, updated to the current contents of its folder.

    If several processes request the same store, one builds it and the others wait. Images keep the split that
    the source assigns; all others are in ``train``.

    Args:
        dataset: the data set.
        folder: folder with its files.
        workers: number of processes that read; 0 reads in this process.
        on_progress: see `build_store`.

    Raises:
        DataError: The folder does not exist or contains no readable image.
    """
    if not folder.is_dir():
        raise DataError(
            f"{dataset.info.id}: folder {folder} does not exist; unpack the data there."
        )
    key = f"{dataset.info.id}|{folder.resolve()}"
    # The catalog imports all readers, which phantoms and an existing store do not need.
    from ultrasam.datasets.catalogue import called

    return _built(dataset, folder, key, workers, on_progress, called(dataset, folder))


def phantom_store(
    count: int,
    *,
    seed: int,
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> Store:
    """A cached store of ``count`` phantoms determined by ``seed``.

    Args:
        count: number of phantoms.
        seed: different seeds give different phantoms.
        workers: number of processes that simulate; 0 simulates in this process.
        on_progress: see `build_store`.
    """
    # A data set needs a folder, but phantoms have no files.
    empty = cache_folder("stores") / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    key = f"phantoms|{count}|{seed}|{simulator_hash()}"
    phantoms = phantom_dataset(count, seed=seed)
    return _built(phantoms, empty, key, workers, on_progress, phantoms.info.id)


def _built(
    dataset: DatasetSpec,
    folder: Path,
    key: str,
    workers: int,
    on_progress: OnProgress,
    title: str,
) -> Store:
    if is_starting():  # would wait for the process that waits for this one
        raise DataError(
            "A worker process cannot start, because the script runs its work when it is imported; put the "
            "work of the script under: if __name__ == '__main__':"
        )
    name = f"{dataset.info.id}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    root = cache_folder("stores") / name
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")):
        settings = BuildSettings(split_fractions=SplitFractions(val=0, test=0))
        result = build_store(
            [(dataset, folder)], root, settings=settings, workers=workers, on_progress=on_progress
        )
    for name, counts in result.summary.skips.items():
        lines = describe_skips(counts, most=3)
        if lines:
            logger.warning("%s: %s See %s.", title, " ".join(lines), root / "skipped.csv")
        for note in result.notes.get(name, ()):
            logger.debug("%s: %s", title, note)
    logger.debug("%s is read from the cached store %s.", title, root)
    for crash in result.crashed:
        logger.warning("%s: skipped, because reading it crashed the process.", crash)
    return Store.open(root)
