"""Stores of raw data sets, built when they are first trained on and kept in the cache folder.

Everything that trains reads a store. A recipe that names raw folders gets one for each of them: the first run
builds it, later runs find it, and a changed file is read again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from pathlib import Path

import platformdirs
from filelock import FileLock

from ultrasam.datasets.description import DatasetSpec
from ultrasam.errors import DataError
from ultrasam.progress import OnProgress, no_progress
from ultrasam.store.build import build
from ultrasam.store.index import Settings
from ultrasam.store.phantoms import phantom_dataset
from ultrasam.store.splits import SplitFractions
from ultrasam.store.store import Store

logger = logging.getLogger(__name__)


def cached_store(
    dataset: DatasetSpec,
    folder: Path,
    *,
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> Store:
    """The store of one raw data set, brought up to date with its folder.

    Several processes may ask for the same store: one builds, the others wait. Sides that the source assigns
    are kept; all other images are in ``train``.

    Args:
        workers: processes that read; 0 reads in this one.

    Raises:
        DataError: the folder is missing, or nothing in it can be used.
    """
    if not folder.is_dir():
        raise DataError(f"{dataset.info.id}: there is no folder {folder}; unpack the data there.")
    key = f"{dataset.info.id}|{folder.resolve()}"
    return _built(dataset, folder, key, workers, on_progress)


def phantom_store(
    count: int,
    *,
    seed: int,
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> Store:
    """A store of ``count`` phantoms that depend on ``seed`` alone."""
    empty = cache_folder() / "empty"  # a data set is read from a folder, and phantoms have none
    empty.mkdir(parents=True, exist_ok=True)
    key = f"phantoms|{count}|{seed}"
    return _built(phantom_dataset(count, seed=seed), empty, key, workers, on_progress)


def cache_folder() -> Path:
    """Where cached stores lie: ``stores`` in ULTRASAM_CACHE, or in the user's cache folder."""
    base = os.environ.get("ULTRASAM_CACHE") or platformdirs.user_cache_dir("ultrasam")
    return Path(base) / "stores"


def _built(
    dataset: DatasetSpec,
    folder: Path,
    key: str,
    workers: int,
    on_progress: OnProgress,
) -> Store:
    name = f"{dataset.info.id}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    root = cache_folder() / name
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")):
        settings = Settings(shares=SplitFractions(val=0, test=0))
        built = build(
            [(dataset, folder)], root, settings=settings, workers=workers, on_progress=on_progress
        )
    skips: Counter[str] = sum(built.summary.skips.values(), Counter())
    if skips:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in skips.most_common(3))
        logger.warning(
            "%s: %d files or images left out (%s). All are listed in %s.",
            dataset.info.id, sum(skips.values()), reasons, root / "skipped.csv",
        )  # fmt: skip
    for crash in built.crashed:
        logger.warning("%s: reading it ended the process; left out.", crash)
    return Store.open(root)
