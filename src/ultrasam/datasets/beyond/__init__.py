"""Data sets beyond the 43 that have no reader: what is known of them, one row each, a module per region.

A data set that gets a reader moves to `ultrasam.datasets.others`.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache

from ultrasam.datasets.description import UNKNOWN, DatasetInfo


@cache
def rows() -> dict[str, DatasetInfo]:
    """All data sets without a reader, by id."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for info in importlib.import_module(f"{__name__}.{module.name}").ROWS:
            found[info.id] = replace(info, part_of_paper=False)
    return dict(sorted(found.items()))


def what_to_do(info: DatasetInfo) -> str:
    """How to use a data set that UltraSam does not read, as the end of a sentence."""
    if info.annotation == "boxes":
        return "it has boxes without outlines, and UltraSam needs masks"
    command = f"ultrasam data import FOLDER --format masks --name {info.id} -o STORE"
    masks = {
        "masks": "masks",
        "lines": "masks drawn from its lines",
        UNKNOWN: "masks, if it has any",
    }[info.annotation]
    parts = {"cine": "frames", "volume": "slices"}.get(info.kind)
    if parts is None:
        return f"import its images and {masks} with: {command}"
    return f"save its {parts} as images, and import them and their {masks} with: {command}"


def no_reader(info: DatasetInfo) -> str:
    """That UltraSam does not read a data set, and what to do, in one sentence."""
    return f"UltraSam has no reader for {info.name}; {what_to_do(info)}"
