"""Phantoms as a data set, so that they are made once, in several processes, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case, Instance, Picture
from ultrasam.datasets.description import Info, RawDataset
from ultrasam.datasets.file_tree import Entry, RawTree, Report
from ultrasam.phantom.acquisition import simulate

ID = "phantoms"
# Runs with different seeds draw from ranges that do not overlap.
_SEEDS_PER_RUN = 10**7


def phantom_dataset(count: int, *, seed: int) -> RawDataset:
    """``count`` phantoms that depend on ``seed`` alone; its folder is not looked at."""
    info = Info(
        id=ID,
        name=ID,
        url="simulated",
        access="open",
        organ="none",
        structures=(),
        kind="still",
        size=f"{count} images",
        layout="none",
        licence="Apache-2.0",
        part_of_paper=False,
    )

    def cases(_tree: RawTree, _report: Report) -> Iterator[Case]:
        first = seed * _SEEDS_PER_RUN
        for number in range(first, first + count):
            name = f"{number:09d}"
            entry = Entry(name, ("",), 0, 0)
            yield Case(ID, name, (entry,), partial(_read, number))

    return RawDataset(info, cases)


def _read(seed: int) -> Iterable[Picture]:
    phantom = simulate(seed)
    instances = tuple(
        Instance(name, mask) for name, mask in zip(phantom.names, phantom.masks, strict=True)
    )
    return [Picture(phantom.pixels, instances, spacing=(phantom.spacing, phantom.spacing))]
