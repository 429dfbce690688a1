"""A store is complete, reproducible, and without leakage between its splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import Truth, disc, gray, picture, save
from ultrasam.datasets.catalogue import catalogue
from ultrasam.datasets.discover import find_datasets
from ultrasam.errors import DataError
from ultrasam.images.masks import components, encode_rle
from ultrasam.store.build import BuildResult, build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.splits import EXCLUDED
from ultrasam.store.store import Store, write_table
from ultrasam.store.validate import validate_store

SEVERAL = ("busi", "bus_bra", "camus", "echonet_dynamic", "fast_u_net", "hc18", "mup", "micro_seg")


def make(raw: Path, *names: str) -> dict[str, list[Truth]]:
    return {name: MAKERS[name](raw / name) for name in names}


def make_store(raw: Path, out: Path, *, workers: int = 0, **settings: object) -> BuildResult:
    return build_store(
        find_datasets([str(raw)]),
        out,
        settings=BuildSettings(**settings),
        workers=workers,  # type: ignore[arg-type]
    )


def contents(store: Path) -> dict[str, bytes]:
    return {
        p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, list[Truth]]]:
    base = tmp_path_factory.mktemp("several")
    truths = make(base / "raw", *SEVERAL)
    make_store(base / "raw", base / "store")
    return base / "raw", base / "store", truths


def test_a_store_holds_every_mask_as_annotated(
    several: tuple[Path, Path, dict[str, list[Truth]]],
) -> None:
    _, root, truths = several
    store = Store.open(root)
    assert len(store.images) == sum(map(len, truths.values()))
    wanted: list[tuple[str, str, bytes]] = []
    for name, found in truths.items():
        for truth in found:
            for structure, mask in truth.masks:
                parts = components(np.asarray(mask))
                wanted += [(name, structure, np.packbits(part).tobytes()) for part in parts]
    rows = range(len(store.instances))
    names = store.instances["dataset"].to_pylist()
    structures = store.instances["structure"].to_pylist()
    masks = [store.mask(row) for row in rows]
    have = [(names[r], structures[r], np.packbits(masks[r]).tobytes()) for r in rows]
    assert sorted(have) == sorted(wanted)
    assert [int(m.sum()) for m in masks] == store.column("area").tolist()


def test_pixels_come_back_as_they_were(several: tuple[Path, Path, dict[str, list[Truth]]]) -> None:
    _, root, truths = several
    store = Store.open(root)
    sources = store.images["source"].to_pylist()
    for truth in truths["hc18"]:
        row = next(i for i, s in enumerate(sources) if s.endswith(truth.source))
        assert np.array_equal(store.pixels(row), np.asarray(truth.pixels))
        spacing = (
            store.images["spacing_row"][row].as_py(),
            store.images["spacing_column"][row].as_py(),
        )
        assert spacing == truth.spacing


def test_a_sound_store_has_no_problem(several: tuple[Path, Path, dict[str, list[Truth]]]) -> None:
    assert list(validate_store(Store.open(several[1]))) == []


def test_a_second_build_changes_no_byte(several: tuple[Path, Path, dict[str, list[Truth]]]) -> None:
    raw, root, _ = several
    before = contents(root)
    times = {p: p.stat().st_mtime_ns for p in root.rglob("*.png")}
    make_store(raw, root)
    assert contents(root) == before
    assert times == {p: p.stat().st_mtime_ns for p in root.rglob("*.png")}


def test_processes_change_nothing(
    several: tuple[Path, Path, dict[str, list[Truth]]], tmp_path: Path
) -> None:
    raw, root, _ = several
    make_store(raw, tmp_path / "store", workers=2)
    assert contents(tmp_path / "store") == contents(root)


def test_data_sets_can_be_added_later(
    several: tuple[Path, Path, dict[str, list[Truth]]], tmp_path: Path
) -> None:
    raw, root, _ = several
    sources = find_datasets([str(raw)])
    build_store(sources[:3], tmp_path / "store", settings=BuildSettings())
    build_store(sources[3:], tmp_path / "store", settings=BuildSettings())
    assert contents(tmp_path / "store") == contents(root)


def test_source_splits_are_kept_and_shared_subjects_stay_together(
    several: tuple[Path, Path, dict[str, list[Truth]]],
) -> None:
    store = Store.open(several[1])
    splits: dict[str, set[str]] = {}
    columns = ("dataset", "subject", "split", "source_split")
    for dataset, subject, split, source_split in zip(
        *(store.images[c].to_pylist() for c in columns), strict=True
    ):
        if source_split == "test" or (source_split and dataset in ("camus", "hc18")):
            assert split == source_split
        elif source_split:
            # The uniform frames of the synthetic clips are similar, so training frames are excluded.
            assert split != "test"
        if dataset in ("mup", "micro_seg") and split != EXCLUDED:
            splits.setdefault(subject, set()).add(split)
    assert splits["test_01"] == {"test"}
    assert all(len(found) == 1 for found in splits.values())


def busi_like(raw: Path, count: int, start: int = 0) -> None:
    base = raw / "busi" / "Dataset_BUSI_with_GT" / "benign"
    for i in range(start, start + count):
        rng = np.random.default_rng(i)
        smooth = cv2.GaussianBlur(rng.integers(0, 255, (96, 128)).astype(np.uint8), (0, 0), 6)
        image = cv2.normalize(smooth, None, 0, 250, cv2.NORM_MINMAX)
        save(base / f"benign ({i}).png", np.asarray(image, np.uint8))
        mask = disc(30 + i % 40, 40, 9 + i % 7, 96, 128)
        save(base / f"benign ({i})_mask.png", gray(mask))


def test_a_damaged_file_is_reported_and_affects_no_other(tmp_path: Path) -> None:
    count = 200
    busi_like(tmp_path / "raw", count)
    make_store(tmp_path / "raw", tmp_path / "whole")
    files = sorted((tmp_path / "raw").rglob("*.png"))
    rng = np.random.default_rng(1)
    harmed: dict[str, Path] = {}
    kinds = ("truncate", "flip", "rename", "remove", "text", "empty")
    for kind, index in zip(kinds, rng.choice(len(files), len(kinds), replace=False), strict=True):
        file = files[index]
        data = bytearray(file.read_bytes())
        if kind == "truncate":
            file.write_bytes(data[: len(data) // 2])
        elif kind == "flip":
            data[len(data) * 2 // 3] ^= 16
            file.write_bytes(data)
        elif kind == "rename":
            file.rename(file.with_name("IMG_0001.png"))
        elif kind == "remove":
            file.unlink()
        elif kind == "text":
            file.write_text("404 not found")
        else:
            file.write_bytes(b"")
        harmed[kind] = file
    built = make_store(tmp_path / "raw", tmp_path / "store")
    lost = {f"benign/{f.stem.removesuffix('_mask')}" for f in harmed.values()}
    before, after = (
        set(Store.open(tmp_path / s).images["name"].to_pylist()) for s in ("whole", "store")
    )
    assert before - after == lost
    skipped = (tmp_path / "store" / "skipped.csv").read_text()
    for kind, file in harmed.items():
        stem = "IMG_0001" if kind == "rename" else file.stem.removesuffix("_mask")
        assert stem in skipped, kind
    assert sum(built.summary.skips["busi"]["image"].values()) >= len(kinds)
    assert list(validate_store(Store.open(tmp_path / "store"))) == []
    # Repaired data give the same store as data that were never damaged.
    shutil.rmtree(tmp_path / "raw")
    busi_like(tmp_path / "raw", count)
    make_store(tmp_path / "raw", tmp_path / "store")
    mended, whole = contents(tmp_path / "store"), contents(tmp_path / "whole")
    assert {k: v for k, v in mended.items() if "journal" not in k} == {
        k: v for k, v in whole.items() if "journal" not in k
    }


def test_a_data_set_that_cannot_be_listed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "raw" / "busi").mkdir(parents=True)
    (tmp_path / "raw" / "busi" / "notes.txt").write_text("nothing yet")
    with pytest.raises(DataError, match="No annotated image of BUSI found"):
        make_store(tmp_path / "raw", tmp_path / "store")
    busi_like(tmp_path / "raw", 3)
    (tmp_path / "raw" / "bus_bra" / "BUSBRA").mkdir(parents=True)
    built = make_store(tmp_path / "raw", tmp_path / "store")
    assert built.summary.manifest["images"] == 3
    assert "5-fold-cv.csv (pathology and folds) is missing" in built.failed["bus_bra"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    busi_like(tmp_path / "raw", 2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="contains other files"):
        make_store(tmp_path / "raw", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_data_set_in_two_folders_is_refused(tmp_path: Path) -> None:
    for place in ("a", "b"):
        busi_like(tmp_path / place, 1)
    with pytest.raises(DataError, match="choose one with busi=FOLDER"):
        find_datasets([str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(DataError, match="No known data set"):
        find_datasets([str(tmp_path / "a" / "busi" / "Dataset_BUSI_with_GT" / "benign")])
    odd = tmp_path / "a" / "busi" / "Dataset_BUSI_with_GT"
    assert find_datasets([f"busi={odd}"])[0][1] == odd


def test_duplicates_are_never_in_two_splits(tmp_path: Path) -> None:
    """The same image in two data sets, unchanged or JPEG-compressed; one of the data sets is for testing."""
    busi_like(tmp_path / "raw", 60)
    base = tmp_path / "raw" / "bus_bra" / "BUSBRA"
    rows = ["ID,Pathology,kFold"]
    originals = sorted((tmp_path / "raw" / "busi").rglob("benign (?).png"))
    for i, original in enumerate(originals):
        image = np.asarray(Image.open(original))
        if i % 2:
            pressed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
            image = np.asarray(cv2.imdecode(pressed, cv2.IMREAD_GRAYSCALE))
        save(base / "Images" / f"bus_{i:04d}-l.png", image)
        save(base / "Masks" / f"mask_{i:04d}-l.png", gray(disc(60, 40, 9, 96, 128)))
        rows.append(f"bus_{i:04d}-l,benign,1")
    (base / "5-fold-cv.csv").write_text("\n".join(rows))
    built = make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert built.summary.manifest["duplicates"]["exact"] == 5
    assert built.summary.manifest["duplicates"]["similar"] == 5
    split_of = dict(
        zip(store.images["name"].to_pylist(), store.images["split"].to_pylist(), strict=True)
    )
    for i in range(10):
        assert split_of[f"benign/benign ({i})"] == "test"
    assert list(validate_store(store)) == []


def test_different_images_are_not_taken_for_duplicates(tmp_path: Path) -> None:
    busi_like(tmp_path / "raw", 100)
    summary = make_store(tmp_path / "raw", tmp_path / "store").summary
    assert summary.manifest["duplicates"]["similar"] == 0


@pytest.mark.slow
def test_known_duplicates_of_busi_are_found(shared_data: Path, tmp_path: Path) -> None:
    sources = [(catalogue()["busi"], shared_data / "train" / "BUSI")]
    built = build_store(sources, tmp_path / "store", settings=BuildSettings())
    assert built.summary.manifest["images"] == 346
    duplicates = built.summary.manifest["duplicates"]
    assert duplicates["exact"] + duplicates["similar"] >= 8


@pytest.mark.parametrize(
    ("folder", "images", "instances"),
    [("train/BUSI", 346, None), ("train/HC18", 244, 244), ("train/USGRA-seg", 110, None),
     ("train/BUS-UCLM", 319, None), ("train/CCAUI", 182, 182), ("train/DL_Track", 192, None),
     ("dev/BUSI", 60, 63), ("dev/HC18", 48, 48), ("dev/USGRA-seg", 40, None),
     ("dev/STU-Hospital", 42, 42), ("dev/US_nerve", 55, 18), ("dev/CCAUI", 20, 20)],
)  # fmt: skip
@pytest.mark.slow
def test_real_data_are_built_whole(
    shared_data: Path, tmp_path: Path, folder: str, images: int, instances: int | None
) -> None:
    built = build_store(
        find_datasets([str(shared_data / folder)]), tmp_path / "store", settings=BuildSettings()
    )
    assert built.summary.manifest["images"] == images
    if instances is not None:
        assert built.summary.manifest["instances"] == instances
    assert not list(validate_store(Store.open(tmp_path / "store")))


def test_the_manifest_counts_dropped_instances(tmp_path: Path) -> None:
    base = tmp_path / "raw" / "busi" / "Dataset_BUSI_with_GT" / "benign"
    save(base / "benign (1).png", picture(1))
    big, small, tiny = disc(20, 20, 12), disc(60, 20, 4), disc(60, 50, 2)
    save(base / "benign (1)_mask.png", gray(big | small | tiny))
    built = make_store(tmp_path / "raw", tmp_path / "store", min_area=12, min_relative_area=0.5)
    assert built.summary.manifest["instances"] == 1
    assert built.summary.manifest["dropped_instances"] == {
        "below_min_area": 1,
        "below_min_relative_area": 1,
    }
    assert built.summary.manifest["settings"]["min_relative_area"] == 0.5
    assert make_store(tmp_path / "raw", tmp_path / "store").summary.manifest["instances"] == 3


def test_a_data_set_can_be_used_for_testing_only(tmp_path: Path) -> None:
    busi_like(tmp_path / "raw", 40)
    make_store(tmp_path / "raw", tmp_path / "store", test_datasets=("busi",))
    assert set(Store.open(tmp_path / "store").images["split"].to_pylist()) == {"test"}


def test_an_incomplete_or_unsupported_store_is_not_opened(tmp_path: Path) -> None:
    busi_like(tmp_path / "raw", 3)
    make_store(tmp_path / "raw", tmp_path / "store")
    with pytest.raises(DataError, match="is not a complete store"):
        Store.open(tmp_path / "raw")
    manifest = tmp_path / "store" / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(Store(tmp_path / "store").manifest["build"], "another"))
    with pytest.raises(DataError, match="was interrupted"):
        Store.open(tmp_path / "store")
    manifest.write_text(text.replace('"store_version": 4', '"store_version": 99'))
    with pytest.raises(DataError, match="version 99"):
        Store.open(tmp_path / "store")


def test_validation_names_every_kind_of_fault(tmp_path: Path) -> None:
    busi_like(tmp_path / "raw", 60)
    make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    build_id = store.manifest["build"]
    images, instances = store.images_df(), store.instances_df()
    files = images["file"].to_list()
    (tmp_path / "store" / files[0]).unlink()
    save(tmp_path / "store" / files[1], picture(1, 96, 128))
    save(tmp_path / "store" / files[2], picture(1, 50, 60))
    (tmp_path / "store" / files[3]).write_bytes(b"nothing")
    boxes = instances["x1"].to_list()
    boxes[4] = 500
    areas = instances["area"].to_list()
    areas[5] += 1
    masks = instances["rle"].to_list()
    masks[6] = str(encode_rle(np.zeros((96, 128), bool))["counts"]).encode()
    subjects = images["subject"].to_list()
    splits = images["split"].cast(pl.String).to_list()
    other = next(i for i, split in enumerate(splits) if split != splits[0])
    subjects[other] = subjects[0]
    changed = {"x1": boxes, "area": areas, "rle": masks}
    table = store.instances
    for name, values in changed.items():
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(at, field, pa.array(values, field.type))
    at = store.images.schema.get_field_index("subject")
    people = store.images.set_column(at, "subject", pa.array(subjects))
    write_table(tmp_path / "store" / "instances.arrow", table, build=build_id)
    write_table(tmp_path / "store" / "images.arrow", people, build=build_id)
    kinds = [p.kind for p in validate_store(Store.open(tmp_path / "store"))]
    assert sorted(kinds) == sorted(
        ["missing image", "hash mismatch", "image size", "corrupt image", "box out of bounds", "mask",
         "empty mask", "split leak"]
    )  # fmt: skip
