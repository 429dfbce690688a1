"""Write a store's tables and manifest from its journal: filter instances, group duplicates, assign splits."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam._version import __version__
from ultrasam.datasets.file_tree import Skip, SkipCounts, count_skips, describe_failure
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.files import update_file
from ultrasam.store.duplicates import (
    DuplicateThresholds,
    Hashes,
    connected_groups,
    consecutive_pairs,
    similar_pairs,
)
from ultrasam.store.journal import load_shard
from ultrasam.store.migrations import SKIPPED, VERSION, upgrade_dataset
from ultrasam.store.splits import EXCLUDED, SplitFractions, assign_splits
from ultrasam.store.store import IMAGES, INSTANCES, write_table

with needs("Working with data sets", extra="data"):
    import pyarrow as pa

# The paper's zero-shot test sets (arXiv 2411.16222, section 4).
PAPER_TEST_SETS = ("bus_bra", "gist514", "mmotu_2d")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Settings of a build that apply after reading.

    Attributes:
        min_area: drop instances with fewer pixels.
        min_relative_area: drop instances smaller than this fraction of the largest in their image. The
            paper's code uses 0.95 on one test set, while the paper mentions 5%.
        split_fractions: fractions of subjects for validation and test, where the source assigns no split.
        test_datasets: ids of data sets used for testing only.
        duplicate_thresholds: when two images belong to one group.
    """

    min_area: int = 1
    min_relative_area: float = 0.0
    split_fractions: SplitFractions = field(default_factory=SplitFractions)
    test_datasets: tuple[str, ...] = ()
    duplicate_thresholds: DuplicateThresholds = field(default_factory=DuplicateThresholds)

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> BuildSettings:
        """The settings recorded in a store's manifest."""
        values = dict(manifest["settings"])
        return cls(
            **values
            | {
                "split_fractions": SplitFractions(**values["split_fractions"]),
                "duplicate_thresholds": DuplicateThresholds(**values["duplicate_thresholds"]),
                "test_datasets": tuple(values["test_datasets"]),
            }
        )


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """Counts of a store.

    Attributes:
        manifest: content of manifest.json.
        skips: for each data set, what was left out.
    """

    manifest: dict[str, Any]
    skips: dict[str, SkipCounts]


def write_tables(store: Path, settings: BuildSettings) -> BuildSummary:
    """Write a store's tables and manifest from its journal, and delete image files that no row names.

    Args:
        store: folder of the store.
        settings: filters, split fractions and duplicate thresholds.

    Raises:
        DataError: The journal has no image.
    """
    indexes = {
        path.parent.name: upgrade_dataset(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((store / "journal").glob("*/index.json"))
    }
    table, skips = _read_journal(store, indexes)
    if not len(table):
        why = describe_failure([skip for listed in skips.values() for skip in listed])
        raise DataError(f"No image could be read. {why}".rstrip())
    order = np.argsort(np.array(table["dataset"].to_pylist()), kind="stable")
    table = table.take(pa.array(order))
    groups, duplicates = _groups(table, indexes, settings.duplicate_thresholds)
    test_datasets = set(settings.test_datasets)
    datasets, subjects = table["dataset"].to_pylist(), _subject_keys(table, indexes)
    source_splits = [
        "test" if dataset in test_datasets else source_split
        for dataset, source_split in zip(datasets, table["source_split"].to_pylist(), strict=True)
    ]
    splits = assign_splits(
        groups,
        [owner for owner, _ in subjects],
        [subject for _, subject in subjects],
        source_splits,
        settings.split_fractions,
    )
    images, instances, dropped = _tables(table, groups, splits, settings)
    digest = hashlib.sha256()
    for column in (*images.columns, *instances.columns):
        digest.update(repr(column.type).encode())
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                digest.update(buffer or b"-")
    build_id = digest.hexdigest()[:32]
    write_table(store / "instances.arrow", instances, build=build_id)
    write_table(store / "images.arrow", images, build=build_id)
    update_file(store / "skipped.csv", _skipped_csv(skips))
    counts = {name: count_skips(listed) for name, listed in skips.items()}
    empty = Counter(
        dataset
        for dataset, count in zip(datasets, images["instance_count"].to_pylist(), strict=True)
        if not count
    )
    manifest = {
        "store_version": VERSION,
        "build": build_id,
        "ultrasam_version": __version__,
        "settings": asdict(settings),
        "images": len(images),
        "instances": len(instances),
        "subjects": len(set(subjects)),
        "dropped_instances": dropped,
        "duplicates": duplicates,
        "splits": dict(sorted(Counter(splits).items())),
        "excluded_reason": "the group has images in the source's test or validation split",
        "datasets": {
            name: {
                **{k: v for k, v in index.items() if k not in ("shards", "skips")},
                "images": datasets.count(name),
                "images_without_objects": empty[name],
                **{key: dict(sorted(counts[name][what].items())) for key, what in SKIPPED.items()},
            }
            for name, index in indexes.items()
        },
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=False)
    update_file(store / "manifest.json", text.encode())
    _remove_orphans(store, set(images["file"].to_pylist()))
    return BuildSummary(manifest, counts)


def _read_journal(
    store: Path, indexes: dict[str, dict[str, Any]]
) -> tuple[pa.Table, dict[str, list[Skip]]]:
    tables, skips = [], {}
    for name, index in indexes.items():
        skips[name] = [Skip(*values) for values in index["skips"]]
        for key in index["shards"]:
            table, shard_skips = load_shard(store / "journal" / name / f"{key}.arrow")
            tables.append(table)
            skips[name] += shard_skips
    if not tables:
        raise DataError(f"The journal of {store} is empty; build the store again.")
    return pa.concat_tables(tables).combine_chunks(), skips


def _subject_keys(table: pa.Table, indexes: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """For each image, the data set that numbers its subjects, and the subject."""
    owner = {name: index.get("shares_subjects") or name for name, index in indexes.items()}
    pairs = zip(table["dataset"].to_pylist(), table["subject"].to_pylist(), strict=True)
    return [(owner[dataset], subject) for dataset, subject in pairs]


def _hashes(table: pa.Table, name: str) -> Hashes:
    column = _one_chunk(table[name])
    flat = np.frombuffer(
        column.buffers()[1], np.uint8, count=32 * len(table), offset=32 * column.offset
    )
    return flat.reshape(-1, 32)


def _groups(
    table: pa.Table, indexes: dict[str, dict[str, Any]], thresholds: DuplicateThresholds
) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Groups [N] of images that must stay in one split, and the number of links of each kind."""
    subjects, hashes = _subject_keys(table, indexes), table["sha256"].to_pylist()
    same_subject, same_pixels = _equal_pairs(subjects), _equal_pairs(hashes)
    shape, texture = _hashes(table, "shape_hash"), _hashes(table, "texture_hash")
    similar = similar_pairs(shape, texture, thresholds.similar)
    links = [same_subject, same_pixels, similar]
    datasets = np.array(table["dataset"].to_pylist())
    known = table["subject_known"].to_numpy(zero_copy_only=False)
    names = table["name"].to_pylist()
    consecutive = 0
    for name, index in indexes.items():
        rows = np.flatnonzero((datasets == name) & ~known)
        if len(rows) > 1:
            max_distance = thresholds.sequence if index["sequence"] else thresholds.consecutive
            pairs = consecutive_pairs([names[i] for i in rows], shape[rows], max_distance)
            links.append(rows[pairs])
            consecutive += len(pairs)
    groups = connected_groups(len(table), np.concatenate(links))
    _, sizes = np.unique(groups, return_counts=True)
    return groups, {
        "exact": len(same_pixels),
        "similar": len(similar) - sum(hashes[i] == hashes[j] for i, j in similar.tolist()),
        "consecutive": consecutive,
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
    }


def _equal_pairs(values: list[Any]) -> npt.NDArray[np.int64]:
    """Pairs [P, 2] of each item and the first item of equal value."""
    first: dict[Any, int] = {}
    pairs = [(first.setdefault(v, i), i) for i, v in enumerate(values)]
    return np.array([p for p in pairs if p[0] != p[1]], np.int64).reshape(-1, 2)


def _tables(
    table: pa.Table, groups: npt.NDArray[np.int64], splits: list[str], settings: BuildSettings
) -> tuple[pa.Table, pa.Table, dict[str, int]]:
    lists = _one_chunk(table["instances"])
    counts = np.asarray(lists.value_lengths().fill_null(0))
    owner = np.repeat(np.arange(len(table)), counts)
    flat = lists.flatten()
    area = np.asarray(flat.field("area"))
    largest = np.zeros(len(table), np.int64)
    np.maximum.at(largest, owner, area)
    large = area >= settings.min_area
    relatively_large = area >= settings.min_relative_area * largest[owner]
    dropped = {
        "below_min_area": int((~large).sum()),
        "below_min_relative_area": int((large & ~relatively_large).sum()),
    }
    rows = np.flatnonzero(large & relatively_large)
    owner, flat = owner[rows], flat.take(pa.array(rows))
    counts = np.bincount(owner, minlength=len(table)).astype(np.int32)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    columns = {name: table[name] for name in IMAGES.names if name in table.column_names}
    columns |= {
        "split": pa.array(splits),
        "group": pa.array(groups.astype(np.int32)),
        "first_instance": pa.array(first),
        "instance_count": pa.array(counts),
    }
    images = _table_of(columns, IMAGES)
    image_columns = table.select(
        ["dataset", "subject", "spacing_row", "spacing_column", "source", "sha256"]
    )
    repeated = image_columns.take(pa.array(owner))
    details = {
        name: flat.field(name) for name in ("structure", "x0", "y0", "x1", "y1", "area", "rle")
    }
    columns = {name: repeated[name] for name in repeated.column_names} | details
    columns |= {
        "image": pa.array(owner.astype(np.int32)),
        "split": images["split"].take(pa.array(owner)),
    }
    return images, _table_of(columns, INSTANCES), dropped


def _table_of(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """A table with the order and types of a schema, each column in one chunk."""
    arrays = []
    for schema_field in schema:
        column = columns[schema_field.name]
        array = _one_chunk(column)
        if pa.types.is_dictionary(schema_field.type) and not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        arrays.append(array.cast(schema_field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _one_chunk(column: Any) -> Any:
    """A column as a single array."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        return array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array


def _skipped_csv(skips: dict[str, list[Skip]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["dataset", "what", "where", "reason"])
    for name, listed in skips.items():
        writer.writerows([name, skip.what, skip.where, skip.reason] for skip in listed)
    return out.getvalue().encode()


def _remove_orphans(store: Path, known: set[str]) -> None:
    """Delete image files that no row names, and partial files of killed processes."""
    for path in (store / "images").rglob("*"):
        if path.is_file() and path.relative_to(store).as_posix() not in known:
            path.unlink()
    for path in store.rglob(".*.part"):
        path.unlink()


__all__ = ["EXCLUDED", "PAPER_TEST_SETS", "BuildSettings", "BuildSummary", "write_tables"]
