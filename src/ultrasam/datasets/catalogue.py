"""The catalogue of data sets: look up a data set by id, name or folder name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path

from ultrasam.datasets import beyond, others, us43d
from ultrasam.datasets.custom import (
    coco_file,
    cvat_files,
    image_mask_folder,
    labelme_files,
    labelstudio_files,
    via_files,
)
from ultrasam.datasets.description import DatasetInfo, DatasetSpec
from ultrasam.errors import DataError, UltraSamError


@cache
def catalogue() -> dict[str, DatasetSpec]:
    """All data sets that have a reader, by id: the 43 of US-43d, and others (`part_of_paper` is false)."""
    specs = {}
    for package in (us43d, others):
        for module in pkgutil.iter_modules(package.__path__):
            spec: DatasetSpec = importlib.import_module(f"{package.__name__}.{module.name}").DATASET
            specs[spec.info.id] = spec
    return dict(sorted(specs.items()))


@cache
def facts() -> dict[str, DatasetInfo]:
    """Facts about all data sets by id: those of `catalogue`, and those without a reader."""
    read = {id_: spec.info for id_, spec in catalogue().items()}
    return dict(sorted((beyond.rows() | read).items()))


@cache
def _custom_layouts() -> dict[str, DatasetSpec]:
    """The layouts of custom data sets (see `detect_layout`), by normalized id."""
    specs = (
        image_mask_folder("image_mask_folder", structure="object"),
        coco_file("coco"),
        via_files("via"),
        labelme_files("labelme"),
        cvat_files("cvat"),
        labelstudio_files("labelstudio"),
    )
    return {_normalized(spec.info.id): spec for spec in specs}


def called(spec: DatasetSpec, folder: Path) -> str:
    """The name of a data set in messages: its id, or a custom data set's folder (its id is the layout's)."""
    return str(folder) if _normalized(spec.info.id) in _custom_layouts() else spec.info.id


# Ids of custom layouts in recipes of earlier versions.
_FORMER_IDS = {
    "own_masks": "image_mask_folder",
    "own_coco": "coco",
    "own_via": "via",
    "own_labelme": "labelme",
}


def dataset(name: str) -> DatasetSpec:
    """Look up a data set by id, name or usual folder name, ignoring case; or a custom layout by id.

    Raises:
        DataError: No data set has this name, or it has no reader.
    """
    by_name = _by_name()
    key = _normalized(_FORMER_IDS.get(name, name))
    if key in by_name:
        return by_name[key]
    if key in _custom_layouts():
        return _custom_layouts()[key]
    if key in _facts_by_name():
        raise DataError(f"{beyond.no_reader(_facts_by_name()[key])}.")
    similar = difflib.get_close_matches(key, _facts_by_name(), n=1)
    if similar:
        hint = f"Did you mean {_facts_by_name()[similar[0]].id}?"
    else:
        hint = "List all data sets with: ultrasam data list --all"
    raise DataError(f"Unknown data set '{name}'. {hint}")


def find_facts(name: str) -> DatasetInfo:
    """Look up what is known of a data set, with or without a reader, as `dataset` looks up the reader.

    Raises:
        DataError: No data set has this name.
    """
    known = _facts_by_name().get(_normalized(name))
    return dataset(name).info if known is None else known


def has_reader(info: DatasetInfo) -> bool:
    """Whether UltraSam reads a data set."""
    return info.id not in beyond.rows()


def without_reader(folder: Path) -> DatasetInfo | None:
    """The data set without a reader that is published under this folder's name; None if there is none."""
    info = _facts_by_name().get(_normalized(folder.resolve().name))
    return None if info is None or has_reader(info) else info


def recognize(folder: Path) -> DatasetSpec | None:
    """The data set that is published under the name of this folder or archive; None if there is none.

    A data set without a reader is none (see `without_reader`). A name that other folders may have as well
    counts only if the data set's reader finds an image there.
    """
    key = _normalized(folder.resolve().name)
    spec = _by_name().get(key)
    if spec is None or key not in map(_normalized, spec.info.generic_folders):
        return spec
    try:
        spec.list_cases(folder)
    except UltraSamError:
        return None
    return spec


@cache
def _by_name() -> dict[str, DatasetSpec]:
    read = catalogue()
    return {name: read[info.id] for name, info in _facts_by_name().items() if info.id in read}


@cache
def _facts_by_name() -> dict[str, DatasetInfo]:
    """By id, name and folder name; where two share a name, the one that has a reader."""
    names: dict[str, DatasetInfo] = {}
    for info in sorted(facts().values(), key=lambda info: not has_reader(info)):
        for name in (info.id, info.name, *info.folders, *info.generic_folders):
            names.setdefault(_normalized(name), info)
    return names


def _normalized(name: str) -> str:
    name = re.sub(r"\.(zip|tar|tar\.gz|tgz|rar|7z|change2zip)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", name.casefold())
