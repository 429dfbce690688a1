"""Writes each data set that has a reader as it lies on disk, in miniature, with the truth beside it.

Written from the description of the data sets, not from the readers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.datasets.layouts import arrays, others, stills, tables, volumes
from tests.datasets.layouts.truth import Truth

Maker = Callable[[Path], list[Truth]]

MAKERS: dict[str, Maker] = {
    name: function
    for module in (stills, tables, volumes, arrays, others)
    for name, function in module.MAKERS.items()
}
