"""Phantoms as a data set, so that worker processes simulate them once and a store keeps them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ultrasam import phantom
from ultrasam.datasets.annotated_image import Case, CaseImage, Instance
from ultrasam.datasets.description import DatasetInfo, DatasetSpec
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.phantom.acquisition import simulate

ID = "phantoms"
# Different seeds use ranges of phantoms that do not overlap.
_SEEDS_PER_RUN = 10**7


def phantom_dataset(count: int, *, seed: int) -> DatasetSpec:
    """A data set of ``count`` phantoms determined by ``seed``; its reader ignores the folder."""
    info = DatasetInfo(
        id=ID,
        name=ID,
        url="simulated",
        access="open",
        organ="none",
        structures=(),
        kind="still",
        size=f"{count} images",
        layout="none",
        license="Apache-2.0",
        part_of_paper=False,
    )

    def cases(_tree: FileTree, _report: SkipReport) -> Iterator[Case]:
        first = seed * _SEEDS_PER_RUN
        for number in range(first, first + count):
            name = f"{number:09d}"
            entry = FileEntry(name, ("",), 0, 0)
            yield Case(ID, name, (entry,), partial(_read, number))

    return DatasetSpec(info, cases)


def simulator_hash() -> str:
    """A hash of the simulator's code: another version gives other phantoms for a seed."""
    digest = hashlib.sha256()
    for file in sorted(Path(phantom.__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _read(seed: int) -> Iterable[CaseImage]:
    found = simulate(seed)
    instances = tuple(
        Instance(name, mask) for name, mask in zip(found.names, found.masks, strict=True)
    )
    return [CaseImage(found.pixels, instances, spacing=found.spacing)]
