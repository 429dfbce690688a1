"""Read the manifests, tables and journals that earlier versions wrote, under today's names.

Version 1 had other names for columns and keys; its contents are the same. Version 2 had no regions to ignore,
and counted left-out images, annotations and other files together. Version 3 had no measurements.
"""

from __future__ import annotations

from typing import Any

from ultrasam.datasets.file_tree import Left
from ultrasam.errors import DataError
from ultrasam.extras import needs

with needs("Working with data sets", extra="data"):
    import pyarrow as pa

VERSION = 4
_READABLE = (1, 2, 3, 4)

# Keys of the manifest that count by reason what was left out, and notes.
SKIPPED: dict[str, Left] = {
    "skipped": "image",
    "skipped_annotations": "annotation",
    "skipped_files": "file",
    "notes": "note",
}

_COLUMNS = {"official_split": "source_split"}
# Columns of images that earlier versions lack; their images have none.
_ADDED = {"ignored_rle": pa.binary(), "measurements": pa.string()}
_MANIFEST = {
    "ultrasam": "ultrasam_version",
    "left_out_instances": "dropped_instances",
    "alike": "duplicates",
    "sides": "splits",
    "excluded_why": "excluded_reason",
}
_SETTINGS = {
    "least_area": "min_area",
    "least_share": "min_relative_area",
    "shares": "split_fractions",
    "hold_out": "test_datasets",
    "alike": "duplicate_thresholds",
}
_DROPPED = {
    "under_least_area": "below_min_area",
    "under_least_share": "below_min_relative_area",
}
_DUPLICATES = {"near": "similar", "following": "consecutive"}
_DATASET = {"licence": "license", "chunks": "shards"}


def upgrade_manifest(manifest: dict[str, Any], *, where: object) -> dict[str, Any]:
    """A manifest of any readable version, with today's keys.

    Args:
        manifest: the content of manifest.json.
        where: the store, for the error message.

    Raises:
        DataError: Another version of UltraSam wrote the store in a format that this one cannot read.
    """
    version = manifest.get("store_version")
    if version not in _READABLE:
        raise DataError(
            f"{where} has store version {version}, but this UltraSam reads versions "
            f"{_READABLE[0]} to {_READABLE[-1]}; build the store again."
        )
    if version == VERSION:
        return manifest
    upgraded = _renamed(manifest, _MANIFEST)
    for key, names in (("dropped_instances", _DROPPED), ("duplicates", _DUPLICATES)):
        if key in upgraded:
            upgraded[key] = _renamed(upgraded[key], names)
    if "settings" in upgraded:
        settings = _renamed(upgraded["settings"], _SETTINGS)
        settings["duplicate_thresholds"] = _renamed(settings["duplicate_thresholds"], _DUPLICATES)
        upgraded["settings"] = settings
    if "datasets" in upgraded:
        datasets = upgraded["datasets"].items()
        upgraded["datasets"] = {name: upgrade_dataset(values) for name, values in datasets}
    return upgraded


def upgrade_dataset(values: dict[str, Any]) -> dict[str, Any]:
    """The description of one data set, in a manifest or a journal, with today's keys."""
    return _renamed(values, _DATASET)


def upgrade_columns(table: pa.Table) -> pa.Table:
    """A table with today's columns. Data are shared, not copied, and metadata are kept."""
    names = [_COLUMNS.get(name, name) for name in table.column_names]
    if names != table.column_names:
        table = table.rename_columns(names).replace_schema_metadata(table.schema.metadata)
    if "file" in names:
        for name, kind in _ADDED.items():
            if name not in names:
                table = table.append_column(name, pa.nulls(len(table), kind))
    return table


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}
