"""What a source measured reaches an image alike from its files and through a store."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.store.test_store import make, make_store
from ultrasam.datasets.catalogue import dataset
from ultrasam.errors import DataError
from ultrasam.store.measurements import from_json, to_json
from ultrasam.store.store import Store, write_table
from ultrasam.store.validate import validate_store

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(), finite))
def test_a_cell_gives_back_every_measurement(measurements: dict[str, float]) -> None:
    cell = to_json(measurements)
    assert (cell is None) == (not measurements)
    assert from_json(cell, where="store") == measurements


@pytest.mark.parametrize("cell", ["", "[1]", "{", '{"a": "1"}', '{"a": NaN}', '{"a": true}'])
def test_a_damaged_cell_is_refused(cell: str) -> None:
    with pytest.raises(DataError, match="has damaged measurements"):
        from_json(cell, where="store")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_that_is_no_number_is_not_written(value: float) -> None:
    with pytest.raises(DataError, match="The measurement depth_mm is"):
        to_json({"depth_mm": value})


def test_measurements_are_the_same_from_files_and_a_store(tmp_path: Path) -> None:
    make(tmp_path / "raw", "busi", "hc18")
    make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert not list(validate_store(store))
    for name in ("busi", "hc18"):
        raw = {image.name: image for image in dataset(name).images(tmp_path / "raw" / name)}
        rows = store.select(datasets=[name])
        stored = {image.name: image for image in store.annotated_images(rows.tolist())}
        assert stored.keys() == raw.keys()
        for key, image in stored.items():
            assert image.measurements == raw[key].measurements
            assert image.loaded().measurements == raw[key].measurements
            assert pickle.loads(pickle.dumps(image)).measurements == raw[key].measurements
    assert {image.measurements["head_circumference_mm"] for image in stored.values()} == {
        12.57, 31.4, 8.8
    }  # fmt: skip


def test_a_store_of_version_3_has_no_measurements(tmp_path: Path) -> None:
    make(tmp_path / "raw", "hc18")
    make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    build = store.manifest["build"]
    write_table(
        tmp_path / "store" / "images.arrow", store.images.drop_columns("measurements"), build=build
    )
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"store_version": 4', '"store_version": 3'))
    old = Store.open(tmp_path / "store")
    assert [image.measurements for image in old.annotated_images(range(3))] == [{}, {}, {}]
    assert not list(validate_store(old))


def test_damaged_measurements_are_found_by_validation(tmp_path: Path) -> None:
    make(tmp_path / "raw", "hc18")
    make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    place = store.images.column_names.index("measurements")
    broken = store.images.set_column(place, "measurements", pa.array(["{", None, None]))
    write_table(tmp_path / "store" / "images.arrow", broken, build=store.manifest["build"])
    problems = list(validate_store(Store.open(tmp_path / "store")))
    assert [(p.kind, p.detail) for p in problems] == [("table", "the measurements are damaged")]


def test_a_table_without_circumferences_costs_no_image(tmp_path: Path) -> None:
    make(tmp_path, "hc18")
    table = next(tmp_path.rglob("training_set*.csv"))
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines))
    cases, report = dataset("hc18").list_cases(tmp_path)
    assert len(cases) == 3
    assert any("has no column 'head circumference (mm)'" in skip.reason for skip in report.skips)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_the_real_head_circumferences_are_read(part: str) -> None:
    folder = SHARED / part / "HC18"
    if not folder.is_dir():
        pytest.skip("the shared data are not here")
    lines = next(folder.glob("*.csv")).read_text().splitlines()[1:]
    listed = {line.split(",")[0].removesuffix(".png"): float(line.split(",")[2]) for line in lines}
    cases, _ = dataset("hc18").list_cases(folder)
    cases = cases[:12]
    for case in cases:
        (image,) = case.images()
        name = case.source.rsplit("/", 1)[-1].removesuffix(".png")
        assert image.measurements == {"head_circumference_mm": listed[name]}  # type: ignore[union-attr]
