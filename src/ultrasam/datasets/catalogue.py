"""The catalogue: every data set that has a reader, by id, and how to find one by its name or folder."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from functools import cache

from ultrasam.datasets import us43d
from ultrasam.datasets.custom import coco_file, labelme_files, paired_folders, via_files
from ultrasam.datasets.description import RawDataset
from ultrasam.errors import DataError


@cache
def catalogue() -> dict[str, RawDataset]:
    """US-43d: the paper's 43 data sets, and further ones whose `Info.part_of_paper` is false, by id."""
    found = {}
    for module in pkgutil.iter_modules(us43d.__path__):
        raw: RawDataset = importlib.import_module(f"{us43d.__name__}.{module.name}").DATASET
        found[raw.info.id] = raw
    return dict(sorted(found.items()))


@cache
def _others() -> dict[str, RawDataset]:
    """The layouts of people's own data."""
    return {
        _plain(raw.info.id): raw
        for raw in (
            paired_folders("own_masks", structure="object"),
            coco_file("own_coco"),
            via_files("own_via"),
            labelme_files("own_labelme"),
        )
    }


def dataset(name: str) -> RawDataset:
    """The data set of an id, a name or a usual folder's name, in any case.

    Raises:
        DataError: there is none of that name.
    """
    by_name = _by_name()
    plain = _plain(name)
    if plain in by_name:
        return by_name[plain]
    if plain in _others():
        return _others()[plain]
    near = difflib.get_close_matches(plain, by_name, n=1)
    hint = f"did you mean {by_name[near[0]].info.id}?" if near else "see ultrasam data list."
    raise DataError(
        f"No data set is called '{name}'; {hint} Some of them: busi, camus, hc18, tn3k, us_nerve."
    )


def recognise(folder_name: str) -> RawDataset | None:
    """The data set that a folder or archive of this name holds, if the name tells."""
    return _by_name().get(_plain(folder_name))


@cache
def _by_name() -> dict[str, RawDataset]:
    names: dict[str, RawDataset] = {}
    for raw in catalogue().values():
        for name in (raw.info.id, raw.info.name, *raw.info.folders):
            names.setdefault(_plain(name), raw)
    return names


def _plain(name: str) -> str:
    name = re.sub(r"\.(zip|tar|tar\.gz|tgz|rar|7z|change2zip)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", name.casefold())
