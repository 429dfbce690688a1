"""Exports agree with the libraries that read them; custom data sets are read mask by mask."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.datasets.layouts.truth import disc, gray, picture, rectangle, save
from ultrasam.datasets import custom
from ultrasam.datasets.annotated_image import SPLITS, AnnotatedImage
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.discover import find_datasets
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DataError
from ultrasam.images.masks import encode_rle
from ultrasam.store.build import build_store
from ultrasam.store.contact_sheet import contact_sheet
from ultrasam.store.export import export_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.stats import compute_statistics, markdown, write_pages
from ultrasam.store.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two structures, several objects per image, all three splits."""
    base = tmp_path_factory.mktemp("exchange")
    for i in range(60):
        values = np.zeros((64, 80, 3), np.uint8)
        values[rectangle(4, 4, 20 + i % 9, 30)] = (0, 255, 0)
        values[disc(50, 30, 6 + i % 7)] = (255, 0, 0)
        save(base / "raw" / "bus_uclm" / "images" / f"P{i:03d}_0.png", picture(i))
        save(base / "raw" / "bus_uclm" / "masks" / f"P{i:03d}_0.png", values)
    settings = BuildSettings()
    build_store(find_datasets([str(base / "raw")]), base / "store", settings=settings)
    return Store.open(base / "store")


def truth_of(store: Store, structure: str | None = None) -> dict[str, np.ndarray]:
    """Union of an image's masks, by the image's name."""
    out: dict[str, np.ndarray] = {}
    for row in range(len(store.images)):
        union = np.zeros((64, 80), bool)
        for i in store.instances_of(row):
            if structure in (None, store.instances["structure"][i].as_py()):
                union |= store.mask(i)
        out[store.images["name"][row].as_py()] = union
    return out


def names_by_file(store: Store) -> dict[str, str]:
    files, names = (store.images[c].to_pylist() for c in ("file", "name"))
    return {Path(file).stem: name for file, name in zip(files, names, strict=True)}


@pytest.mark.parametrize("agnostic", [False, True])
def test_coco_is_what_pycocotools_reads(store: Store, tmp_path: Path, agnostic: bool) -> None:
    counts = export_store(store, tmp_path / "out", "coco", class_agnostic=agnostic)
    assert sum(counts.values()) == 60
    assert all(counts.values())
    truth, seen = truth_of(store), 0
    names = {s: f"{s}.agnostic.coco.json" if agnostic else f"{s}.json" for s in SPLITS}
    for split in SPLITS:
        coco = COCO(str(tmp_path / "out" / names[split]))
        assert len(coco.imgs) == counts[split]
        wanted = ["object"] if agnostic else ["benign_breast_lesion", "malignant_breast_lesion"]
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == wanted
        for image in coco.imgs.values():
            pixels = np.asarray(Image.open(tmp_path / "out" / "images" / image["file_name"]))
            assert pixels.shape == (image["height"], image["width"])
            union = np.zeros(pixels.shape, bool)
            for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
                mask = coco.annToMask(annotation).astype(bool)
                assert mask.sum() == annotation["area"]
                x, y, w, h = annotation["bbox"]
                assert mask[y : y + h, x : x + w].sum() == mask.sum()
                union |= mask
                seen += 1
            row = image["id"] - 1
            assert np.array_equal(union, truth[store.images["name"][row].as_py()])
            assert np.array_equal(pixels, store.pixels(row))
    assert seen == len(store.instances)


def test_yolo_outlines_fill_to_the_masks(store: Store, tmp_path: Path) -> None:
    export_store(store, tmp_path / "out", "yolo")
    truth = truth_of(store)
    files = sorted((tmp_path / "out" / "labels").rglob("*.txt"))
    assert len(files) == 60
    by_file = names_by_file(store)
    for file in files:
        filled = np.zeros((64, 80), np.uint8)
        for line in file.read_text().splitlines():
            number, *points = line.split()
            assert number in ("0", "1")
            corners = np.array(points, float).reshape(-1, 2) * (80, 64) - 0.5
            cv2.fillPoly(filled, [np.rint(corners).astype(np.int32)], 1)
        wanted = truth[by_file[file.stem.split("__", 1)[1]]]
        assert np.array_equal(filled.astype(bool), wanted)
    assert '0: "benign_breast_lesion"' in (tmp_path / "out" / "data.yaml").read_text()


def test_nnunet_labels_hold_every_structure(store: Store, tmp_path: Path) -> None:
    counts = export_store(store, tmp_path / "out", "nnunet")
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description["numTraining"] == counts["train"] + counts["val"]
    assert len(list((tmp_path / "out" / "imagesTr").iterdir())) == description["numTraining"]
    by_file = names_by_file(store)
    for structure, value in description["labels"].items():
        if structure == "background":
            continue
        truth = truth_of(store, structure)
        for file in (tmp_path / "out" / "labelsTs").iterdir():
            values = np.asarray(Image.open(file))
            assert np.array_equal(values == value, truth[by_file[file.stem.split("__", 1)[1]]])
    folds = json.loads((tmp_path / "out" / "splits_final.json").read_text())[0]
    assert not set(folds["train"]) & set(folds["val"])


def test_hugging_face_metadata_names_every_file(store: Store, tmp_path: Path) -> None:
    export_store(store, tmp_path / "out", "hf")
    for split in ("train", "validation", "test"):
        lines = [
            json.loads(x)
            for x in (tmp_path / "out" / split / "metadata.jsonl").read_text().splitlines()
        ]
        assert {x["file_name"] for x in lines} == {
            p.name for p in (tmp_path / "out" / split).glob("*.png")
        }
        assert all(len(x["objects"]["bbox"]) == len(x["objects"]["category"]) for x in lines)


def test_shards_are_the_same_each_time_and_whole(store: Store, tmp_path: Path) -> None:
    for place in ("a", "b"):
        export_store(store, tmp_path / place, "webdataset")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == [f"{s}-00000.tar" for s in sorted(SPLITS)]
    count = 0
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        with tarfile.open(tmp_path / "a" / file) as shard:
            for image, note in zip(*[iter(shard.getmembers())] * 2, strict=True):
                assert image.name.removesuffix(".png") == note.name.removesuffix(".json")
                opened = shard.extractfile(image)
                assert opened is not None
                assert np.asarray(Image.open(io.BytesIO(opened.read()))).shape == (64, 80)
                count += 1
    assert count == 60


def test_an_export_never_writes_over_anything(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    with pytest.raises(DataError, match="already exists"):
        export_store(store, tmp_path, "coco")
    with pytest.raises(DataError, match="Unknown format"):
        export_store(store, tmp_path / "new", "pascal")


def read(data: DatasetSpec, folder: Path) -> tuple[list[AnnotatedImage], list[Skip]]:
    skips: list[Skip] = []
    return list(data.images(folder, skipped=skips.append)), skips


def test_an_exported_store_can_be_imported_again(store: Store, tmp_path: Path) -> None:
    export_store(store, tmp_path / "out", "coco")
    samples, skips = read(custom.coco_file("mine"), tmp_path / "out")
    assert len(samples) == 60
    assert not skips
    truth = truth_of(store)
    by_file = names_by_file(store)
    for sample in samples:
        union = np.any([i.mask for i in sample.instances], axis=0)
        assert np.array_equal(union, truth[by_file[sample.name.split("__", 1)[1]]])
        assert sample.subject


def test_coco_polygons_and_all_kinds_of_rle_are_read(tmp_path: Path) -> None:
    save(tmp_path / "imgs" / "a.png", picture(1))
    box, blob, other = rectangle(5, 6, 20, 30), disc(50, 30, 9), disc(30, 50, 6)
    flat = np.asfortranarray(blob).ravel(order="F")
    change = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    counts = np.diff(np.concatenate([[0], change, [len(flat)]])).tolist()
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 80},
                   {"id": 2, "file_name": "gone.png", "height": 64, "width": 80}],
        "categories": [{"id": 9, "name": "cyst"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 9, "segmentation": [[5, 6, 20, 6, 20, 30, 5, 30]]},
            {"id": 2, "image_id": 1, "category_id": 9, "segmentation": {"size": [64, 80], "counts": counts}},
            {"id": 3, "image_id": 1, "category_id": 9, "segmentation": encode_rle(other)},
        ],
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(content))
    samples, skips = read(custom.coco_file("mine"), tmp_path)
    assert [i.name for i in samples[0].instances] == ["cyst"] * 3
    for instance, wanted in zip(samples[0].instances, (box, blob, other), strict=True):
        assert np.array_equal(instance.mask, wanted)
    assert [s.where for s in skips] == ["gone.png"]


def test_masks_that_are_neither_polygons_nor_rle_are_reported(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(1))
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cyst"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": "mask.png"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    samples, skips = read(custom.coco_file("mine"), tmp_path)
    assert not samples
    assert "neither polygons nor RLE" in skips[0].reason


def test_via_regions_become_masks(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", picture(1))
    regions = [
        {"shape_attributes": {"name": "rect", "x": 5, "y": 6, "width": 15, "height": 24},
         "region_attributes": {"name": "cyst"}},
        {"shape_attributes": {"name": "polygon", "all_points_x": [40, 60, 60, 40],
                              "all_points_y": [10, 10, 50, 50]}, "region_attributes": {"name": "vessel"}},
        {"shape_attributes": {"name": "circle", "cx": 70, "cy": 20, "r": 6}, "region_attributes": {}},
        {"shape_attributes": {"name": "point", "cx": 1, "cy": 2}, "region_attributes": {}},
    ]  # fmt: skip
    project = {
        "_via_img_metadata": {"a.jpg123": {"filename": "a.jpg", "size": 1, "regions": regions}}
    }
    (tmp_path / "via.json").write_text(json.dumps(project))
    samples, skips = read(custom.via_files("mine"), tmp_path)
    found = samples[0].instances
    assert [i.name for i in found] == ["cyst", "vessel", "mine"]
    assert np.array_equal(found[0].mask, rectangle(5, 6, 20, 30))
    assert np.array_equal(found[1].mask, rectangle(40, 10, 60, 50))
    y, x = np.mgrid[0:64, 0:80] + 0.5
    ideal = np.hypot(x - 70, y - 20) < 6
    assert np.logical_xor(found[2].mask, ideal).sum() < 0.1 * ideal.sum()
    assert "shape without area" in skips[0].reason


def test_labelme_and_mask_folders_are_read(tmp_path: Path) -> None:
    save(tmp_path / "lm" / "x" / "a.jpg", picture(1))
    shapes = [{"label": "cyst", "shape_type": "rectangle", "points": [[5, 6], [20, 30]]},
              {"label": "line", "shape_type": "line", "points": [[5, 6], [20, 30]]}]  # fmt: skip
    (tmp_path / "lm" / "x" / "a.json").write_text(json.dumps({"shapes": shapes}))
    samples, skips = read(custom.labelme_files("mine"), tmp_path / "lm")
    # LabelMe's shapes include their outline.
    assert np.array_equal(samples[0].instances[0].mask, rectangle(5, 6, 21, 31))
    assert "shape without area" in skips[0].reason
    for what, mask in (("cyst", disc(20, 20, 8)), ("vessel", disc(50, 30, 6))):
        save(tmp_path / "pm" / "masks" / what / "a.png", gray(mask))
    save(tmp_path / "pm" / "images" / "a.png", picture(1))
    samples, _ = read(custom.image_mask_folder("mine"), tmp_path / "pm")
    assert {i.name: int(i.mask.sum()) for i in samples[0].instances} == {
        "cyst": int(disc(20, 20, 8).sum()), "vessel": int(disc(50, 30, 6).sum()),
    }  # fmt: skip


def test_counts_and_pages_agree_with_the_store(store: Store, tmp_path: Path) -> None:
    statistics = compute_statistics(store)
    assert statistics.datasets["images"].sum() == 60
    assert statistics.datasets["masks"].sum() == len(store.instances)
    assert dict(statistics.structures.select("structure", "masks").iter_rows()) == {
        "benign_breast_lesion": 60, "malignant_breast_lesion": 60,
    }  # fmt: skip
    text, web = write_pages(store, tmp_path)
    assert text.read_text() == markdown(statistics)
    page = web.read_text()
    assert page.count('<svg role="img"') == 4
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_contact_sheet_shows_each_image_with_its_masks(store: Store, tmp_path: Path) -> None:
    contact_sheet(store, [0, 1, 2], tmp_path / "sheet.png", columns=3, tile=120)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (154, 360, 3)
    colored = (sheet.max(axis=2).astype(int) - sheet.min(axis=2)) > 60
    assert all(colored[:120, 120 * k : 120 * (k + 1)].any() for k in range(3))


def test_what_a_rule_leaves_out_stops_no_training_but_damage_does(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", picture(1))
    shapes = [{"label": "cyst", "shape_type": "rectangle", "points": [[5, 6], [20, 30]]},
              {"label": "line", "shape_type": "line", "points": [[5, 6], [20, 30]]}]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}))
    data = custom.labelme_files("mine")
    assert len(list(data.images(tmp_path))) == 1
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    with pytest.raises(DataError, match="is damaged"):
        list(data.images(tmp_path))
