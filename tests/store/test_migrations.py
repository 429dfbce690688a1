"""A store that an earlier version wrote opens, reads the same, and can be extended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.datasets.layouts import MAKERS
from tests.store.test_store import make, make_store
from ultrasam.datasets.discover import find_datasets
from ultrasam.errors import DataError
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.migrations import VERSION
from ultrasam.store.splits import SplitFractions
from ultrasam.store.stats import compute_statistics, markdown
from ultrasam.store.store import Store, write_table
from ultrasam.store.validate import validate_store

SETTINGS = {
    "min_area": 2,
    "min_relative_area": 0.1,
    "split_fractions": SplitFractions(0.1, 0.2),
    "test_datasets": ("hc18",),
}


def rewrite_as_version_1(root: Path) -> None:
    """Rewrite a store with the columns and keys that version 1 wrote."""
    store = Store.open(root)
    build, manifest = store.manifest["build"], store.manifest
    images = store.images.drop_columns(["ignored_rle", "measurements"])
    columns = ["official_split" if n == "source_split" else n for n in images.column_names]
    instances = store.instances
    write_table(root / "images.arrow", images.rename_columns(columns), build=build)
    write_table(root / "instances.arrow", instances, build=build)
    settings, duplicates = manifest["settings"], manifest["duplicates"]
    old = {
        "store_version": 1,
        "build": build,
        "ultrasam": manifest["ultrasam_version"],
        "settings": {
            "least_area": settings["min_area"],
            "least_share": settings["min_relative_area"],
            "shares": settings["split_fractions"],
            "hold_out": settings["test_datasets"],
            "alike": {"near": 24, "following": 40, "sequence": 80},
        },
        "images": manifest["images"],
        "instances": manifest["instances"],
        "subjects": manifest["subjects"],
        "left_out_instances": {
            "under_least_area": manifest["dropped_instances"]["below_min_area"],
            "under_least_share": manifest["dropped_instances"]["below_min_relative_area"],
        },
        "alike": {
            "exact": duplicates["exact"],
            "near": duplicates["similar"],
            "following": duplicates["consecutive"],
            "groups": duplicates["groups"],
            "largest_group": duplicates["largest_group"],
        },
        "sides": manifest["splits"],
        "excluded_why": manifest["excluded_reason"],
        "datasets": {name: _old_dataset(d) for name, d in manifest["datasets"].items()},
    }
    (root / "manifest.json").write_text(json.dumps(old))
    for file in (root / "journal").rglob("index.json"):
        file.write_text(json.dumps(_old_dataset(json.loads(file.read_text()))))
    for file in (root / "journal").rglob("*.arrow"):
        table = pa.ipc.open_file(file.read_bytes()).read_all()
        table = table.drop_columns(["ignored_rle", "measurements"])
        names = ["official_split" if n == "source_split" else n for n in table.column_names]
        table = table.rename_columns(names).replace_schema_metadata(table.schema.metadata)
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)


def _old_dataset(values: dict[str, Any]) -> dict[str, Any]:
    names = {"license": "licence", "shards": "chunks"}
    return {names.get(key, key): value for key, value in values.items()}


def test_a_store_of_version_1_opens_and_reads_the_same(tmp_path: Path) -> None:
    make(tmp_path / "raw", "busi", "camus", "hc18")
    make_store(tmp_path / "raw", tmp_path / "store", **SETTINGS)
    new = Store.open(tmp_path / "store")
    images = [row | {"measurements": None} for row in new.images.to_pylist()]
    instances, manifest = new.instances.to_pylist(), new.manifest
    rewrite_as_version_1(tmp_path / "store")
    old = Store.open(tmp_path / "store")
    assert set(old.images.column_names) == set(new.images.column_names)
    assert old.images.to_pylist() == images
    assert old.instances.to_pylist() == instances
    assert old.manifest | {"store_version": VERSION} == manifest
    assert BuildSettings.from_manifest(old.manifest) == BuildSettings(**SETTINGS)
    assert old.image(0).split == new.image(0).split
    assert not list(validate_store(old))
    assert "hc18" in markdown(compute_statistics(old))


def test_a_store_of_version_1_is_extended_without_reading_its_files_again(tmp_path: Path) -> None:
    make(tmp_path / "raw", "busi", "mu_reg_pro")  # nothing was measured in them
    make_store(tmp_path / "raw", tmp_path / "store")
    rewrite_as_version_1(tmp_path / "store")
    journal = sorted((tmp_path / "store" / "journal").rglob("*.arrow"))
    written = [(file, file.stat().st_mtime_ns) for file in journal]
    MAKERS["hc18"](tmp_path / "raw" / "hc18")
    make_store(tmp_path / "raw", tmp_path / "store")
    make_store(tmp_path / "raw", tmp_path / "fresh")
    assert [(file, file.stat().st_mtime_ns) for file in journal] == written
    extended, fresh = Store.open(tmp_path / "store"), Store.open(tmp_path / "fresh")
    assert extended.manifest == fresh.manifest
    assert extended.images.equals(fresh.images)


def test_data_sets_of_version_1_stay_when_only_another_one_is_built(tmp_path: Path) -> None:
    make(tmp_path / "raw", "busi", "camus")
    make_store(tmp_path / "raw", tmp_path / "store")
    rewrite_as_version_1(tmp_path / "store")
    MAKERS["hc18"](tmp_path / "more" / "hc18")
    sources = find_datasets([str(tmp_path / "more")])
    build_store(sources, tmp_path / "store", settings=BuildSettings())
    store = Store.open(tmp_path / "store")
    assert sorted(store.manifest["datasets"]) == ["busi", "camus", "hc18"]
    assert store.manifest["datasets"]["busi"]["license"] == "CC BY 4.0"
    assert "shards" not in store.manifest["datasets"]["busi"]


def test_a_store_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"store_version": 5}')
    with pytest.raises(
        DataError, match="has store version 5, but this UltraSam reads versions 1 to 4"
    ):
        Store.open(tmp_path)
