"""Phantoms as a data set, so that they are made once, in several processes, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case, Instance, CaseImage
from ultrasam.datasets.description import DatasetInfo, DatasetSpec
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.phantom.acquisition import simulate

ID = "phantoms"
# Runs with different seeds draw from ranges that do not overlap.
_SEEDS_PER_RUN = 10**7


def phantom_dataset(count: int, *, seed: int) -> DatasetSpec:
    """``count`` phantoms that depend on ``seed`` alone; its folder is not looked at."""
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


def _read(seed: int) -> Iterable[CaseImage]:
    phantom = simulate(seed)
    instances = tuple(
        Instance(name, mask) for name, mask in zip(phantom.names, phantom.masks, strict=True)
    )
    return [CaseImage(phantom.pixels, instances, spacing=(phantom.spacing, phantom.spacing))]
