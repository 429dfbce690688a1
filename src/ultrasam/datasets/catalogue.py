"""The catalog of data sets: look up a data set by id, name or folder name."""

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
        DataError: No data set has this name, or several have, or it has no reader.
    """
    key = _normalized(_FORMER_IDS.get(name, name))
    known = _by_name().get(key, ())
    if len(known) > 1:
        ids = " or ".join(info.id for info in known)
        raise DataError(f"Several data sets have folders named '{name}'; use {ids}.")
    if known:
        return _spec(known[0])
    if key in _custom_layouts():
        return _custom_layouts()[key]
    similar = difflib.get_close_matches(key, _by_name(), n=1)
    if similar:
        hint = f"Did you mean {_by_name()[similar[0]][0].id}?"
    else:
        hint = "List all data sets with: ultrasam data list --all"
    raise DataError(f"Unknown data set '{name}'. {hint}")


def dataset_id(name: str) -> str:
    """Id of a data set, by any of its names; for a custom data set, its name."""
    try:
        return dataset(name).info.id
    except DataError:
        return name  # a custom data set


def find_facts(name: str) -> DatasetInfo:
    """Look up what is known of a data set, with or without a reader, by the names that `dataset` takes.

    Raises:
        DataError: No data set has this name, or several have.
    """
    known = _by_name().get(_normalized(name), ())
    return known[0] if len(known) == 1 else dataset(name).info


def _spec(info: DatasetInfo) -> DatasetSpec:
    if not has_reader(info):
        raise DataError(f"{beyond.no_reader(info)}.")
    return catalogue()[info.id]


def has_reader(info: DatasetInfo) -> bool:
    """Whether UltraSam reads a data set."""
    return info.id not in beyond.rows()


def without_reader(folder: Path) -> DatasetInfo | None:
    """The data set without a reader that is published under this folder's name; None if there is none."""
    known = _by_name().get(_normalized(folder.resolve().name), ())
    return next((info for info in known if not has_reader(info)), None)


def recognize(folder: Path) -> DatasetSpec | None:
    """The data set that is published under the name of this folder or archive; None if there is none.

    A data set without a reader is none (see `without_reader`). A name that other folders may have as well
    counts only if the data set's reader finds an image there.
    """
    key = _normalized(folder.resolve().name)
    for info in filter(has_reader, _by_name().get(key, ())):
        spec = _spec(info)
        if key not in map(_normalized, info.generic_folders):
            return spec
        try:
            spec.list_cases(folder)
        except UltraSamError:
            continue
        return spec
    return None


@cache
def _by_name() -> dict[str, tuple[DatasetInfo, ...]]:
    """The data sets of a normalized name: one by its id, name or folder, or all with this generic folder."""
    own: dict[str, tuple[DatasetInfo, ...]] = {}
    for info in sorted(facts().values(), key=lambda info: not has_reader(info)):
        for name in (info.id, info.name, *info.folders):
            own.setdefault(_normalized(name), (info,))
    shared: dict[str, tuple[DatasetInfo, ...]] = {}
    for info in facts().values():
        for key in {_normalized(name) for name in info.generic_folders}:
            shared[key] = (*shared.get(key, ()), info)
    return shared | own


def _normalized(name: str) -> str:
    name = re.sub(r"\.(zip|tar|tar\.gz|tgz|rar|7z|change2zip)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", name.casefold())
