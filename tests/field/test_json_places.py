"""Which image an annotation file means, and which annotation files a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.field.annotation_files import (
    SQUARE,
    coco,
    labelme,
    left_of,
    objects,
    one,
    outline,
    picture,
    read,
    reasons,
    via_region,
    write,
)
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.custom import (
    annotations_at,
    coco_file,
    detect_layout,
    labelme_files,
    via_files,
)
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import open_evaluation_datasets, raw_datasets


@pytest.mark.parametrize(
    ("tables", "listed", "folder"),
    [
        (("task_1/ann.json", "task_2/ann.json"), "frame_000000.png", "task_{}"),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), "f.png", ("train", "valid")),
        (("p1/annotations/default.json", "p2/annotations/default.json"), "f.png", "p{}/images"),
        (("p1/annotations/default.json", "p2/annotations/default.json"), "f.png", "p{}/images/default"),
        (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), "f.png",
         ("train2017", "val2017")),
        (("annotations/train.json", "annotations/test.json"), "f.png", ("images/train", "images/test")),
        (("labels/p1.json", "labels/p2.json"), "p{}/f.png", "images/p{}"),
        (("p1.json", "instances_p2.json"), "f.png", "p{}"),
        (("annotations/task_1.json", "annotations/task_2.json"), "f.png", "task_{}/images"),
        (("p1.json", "p2.json"), "/home/someone/study/p{}/f.png", "p{}"),
        (("p1.json", "p2.json"), "C:\\study\\p{}\\f.png", "p{}"),
        (("annotations/P1.json", "annotations/p2.json"), "f.png", "images/p{}"),
        (("annotations/p1.json", "annotations/p2.json"), "f.png", "images/p{}/deeper"),
        (("annotations_p1.json", "annotations_p2.json"), "f.png", "images_p{}"),
        (("annotations/p1/ann.json", "annotations/p2/ann.json"), "f.png", "images/p{}"),
        (("labels/p1/ann.json", "labels/p2/ann.json"), "f.png", "p{}/images"),
        (("train.json", "val.json"), "f.png", ("train/p1", "val/p1")),
    ],
)  # fmt: skip
def test_each_files_outlines_are_on_its_own_images(
    tables: tuple[str, str], listed: str, folder: str | tuple[str, str], tmp_path: Path
) -> None:
    expected = {}
    for k, (table, gray, x) in enumerate(zip(tables, (50, 150), (10, 60), strict=True)):
        place = folder[k] if isinstance(folder, tuple) else folder.format(k + 1)
        name = listed.format(k + 1)
        source = f"{place}/{name.replace(chr(92), '/').rsplit('/', 1)[-1]}"
        picture(tmp_path / source, gray)
        images = [{"id": 0, "file_name": name, "height": 100, "width": 120}]
        write(
            tmp_path / table,
            coco({"image_id": 0, "segmentation": [outline(x, 10, 10)]}, images=images),
        )
        expected[source] = (gray, x)
    images_read, skips = read(coco_file("own"), tmp_path)
    found = {s: (int(i.pixels[0, 0]), left_of(i)) for s, i in images_read.items()}
    assert found == expected
    assert skips == []


@pytest.mark.parametrize(
    ("table", "listed", "present"),
    [
        ("task_2/ann.json", "f.png", ["task_1/f.png"]),  # task_2's own is missing
        ("task_2/annotations/ann.json", "f.png", ["task_1/images/f.png"]),
        ("ann.json", "p2/f.png", ["p1/f.png"]),
        ("ann.json", "train/f.png", ["test/f.png"]),
        ("annotations/instances_val2017.json", "f.png", ["train2017/f.png"]),
        ("ann.json", "f.png", ["p1/f.png", "p2/f.png"]),  # either
        ("labels_p2/ann.json", "f.png", ["images_p1/f.png"]),
        ("olivia/ann.json", "f.png", ["anna/f.png"]),
        ("deeper/ann.json", "f.png", ["f.png"]),
        ("annotations/p2/ann.json", "f.png", ["images/p1/f.png"]),
        ("annotations/p1.json", "f.png", ["images/p10/f.png", "images/p1/g.png"]),
    ],
)
def test_an_image_is_never_taken_for_another_one(
    table: str, listed: str, present: list[str], tmp_path: Path
) -> None:
    for source in present:
        picture(tmp_path / source)
    picture(tmp_path / Path(table).parent / "other.png")
    images = [{"id": 1, "file_name": listed}, {"id": 2, "file_name": "other.png"}]
    write(tmp_path / table, coco({}, {"image_id": 2}, images=images))
    _, skips = read(coco_file("own"), tmp_path)
    assert sorted(s.where for s in skips if s.what == "image") == sorted(present)


def test_a_file_named_after_a_folder_means_the_images_in_it(tmp_path: Path) -> None:
    picture(tmp_path / "p1/f.png")
    picture(tmp_path / "p2/g.png")
    listed = [{"id": 1, "file_name": "f.png"}, {"id": 2, "file_name": "g.png"}]
    write(tmp_path / "annotations/p2.json", coco({}, {"image_id": 2}, images=listed))
    images, skips = read(coco_file("own"), tmp_path)
    assert list(images) == ["p2/g.png"]
    assert [(s.where, s.what) for s in skips] == [("f.png", "file"), ("p1/f.png", "image")]


def test_only_the_image_beside_the_file_is_annotated(tmp_path: Path) -> None:
    picture(tmp_path / "task_1/f.png", 50)
    picture(tmp_path / "task_2/f.png", 150)
    write(tmp_path / "task_2/ann.json", coco({}, images=[{"id": 1, "file_name": "f.png"}]))
    images, skips = read(coco_file("own"), tmp_path)
    assert list(images) == ["task_2/f.png"]
    assert [(s.where, s.what) for s in skips] == [("task_1/f.png", "image")]


def test_labelme_files_in_a_tree_of_their_own(tmp_path: Path) -> None:
    shape = {"label": "cyst", "points": SQUARE, "shape_type": "polygon"}
    for k, patient in enumerate(("p1", "p2")):
        picture(tmp_path / f"images/{patient}/a.png", 50 + 100 * k)
        moved = shape | {"points": [[x + 10 * k, y] for x, y in SQUARE]}
        write(tmp_path / f"labels/{patient}/a.json", labelme(moved))
    images, skips = read(labelme_files("own"), tmp_path)
    assert {s: left_of(i) for s, i in images.items()} == {
        "images/p1/a.png": 20,
        "images/p2/a.png": 30,
    }
    assert skips == []


def test_two_images_of_one_stem_are_both_read(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.bmp", 40)
    listed = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.bmp"}]
    write(tmp_path / "ann.json", coco({}, {"image_id": 2}, images=listed))
    images, skips = read(coco_file("own"), tmp_path)
    assert {s: i.name for s, i in images.items()} == {"a.png": "a.png", "a.bmp": "a.bmp"}
    assert skips == []


def test_an_image_annotated_differently_twice_is_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    both = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    write(tmp_path / "v1.json", coco({}, {"image_id": 2}, images=both))
    write(tmp_path / "v2.json", coco({"id": 99}, images=both[:1]))  # the same but for its id
    assert objects(read(coco_file("own"), tmp_path)[0]["a.png"]) == [("cyst", 1600)]
    other = {"segmentation": [outline(50, 50, 10)]}
    write(tmp_path / "v2.json", coco(other, images=both[:1]))
    images, skips = read(coco_file("own"), tmp_path)
    assert list(images) == ["b.png"]
    assert reasons(skips, "image") == ["listed several times, with different annotations"]


def test_via_files_of_one_image_name_are_kept_apart(tmp_path: Path) -> None:
    for k in (1, 2):
        picture(tmp_path / f"task_{k}/f.png", 50 * k)
        region = via_region([10 * k, 10 * k + 30], "cyst")
        write(tmp_path / f"task_{k}/via.json", {"f": {"filename": "f.png", "regions": [region]}})
    images, skips = read(via_files("own"), tmp_path)
    assert {s: left_of(i) for s, i in images.items()} == {"task_1/f.png": 10, "task_2/f.png": 20}
    assert skips == []


def test_other_json_files_are_reported_by_what_they_are(tmp_path: Path) -> None:
    write(tmp_path / "info.json", {"year": 2024})
    write(tmp_path / "list.json", [1, 2])
    captions = {"images": [], "annotations": [{"image_id": 1, "caption": "a cyst"}]}
    write(tmp_path / "captions_val2017.json", captions)
    (tmp_path / "broken.json").write_text('{"images": [')
    (tmp_path / "cvat.xml").write_text(
        "<?xml version='1.0'?><annotations><version>1.1</version><image id='0' name='a.png'/></annotations>"
    )
    images, skips = one(tmp_path, {})
    assert objects(images["a.png"]) == [("cyst", 1600)]
    told = {s.where: s.reason for s in skips}
    assert set(told) == {
        "info.json",
        "list.json",
        "captions_val2017.json",
        "broken.json",
        "cvat.xml",
    }
    assert "captions" in told["captions_val2017.json"]
    assert "not valid JSON" in told["broken.json"]
    assert told["cvat.xml"] == "a CVAT file; import it with --format cvat"
    assert {s.what for s in skips} == {"file"}


def test_other_json_files_stop_no_other_format(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "info.json", {"year": 2024})
    write(tmp_path / "a.json", labelme({"label": "cyst", "points": SQUARE}))
    images, skips = read(labelme_files("own"), tmp_path)
    assert list(images) == ["a.png"]
    assert [(s.where, s.what) for s in skips] == [("info.json", "file")]
    table = {"a": {"filename": "a.png", "regions": [via_region([20, 60], "cyst")]}}
    write(tmp_path / "via.json", table)
    images, skips = read(via_files("own"), tmp_path)
    assert list(images) == ["a.png"]
    assert [(s.where, s.what) for s in skips] == [("a.json", "file"), ("info.json", "file")]
    assert skips[0].reason == "a LabelMe file; import it with --format labelme"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": []}]}],
            "--format labelstudio",
        ),
        ([{"image": "a.png", "annotator": 1, "annotation_id": 1}], "--format labelstudio"),
        ({"project": {}, "file": {}, "metadata": {}, "view": {}}, "VIA 3"),
        ({"images": [], "categories": []}, "without annotations"),
        ({"annotations": [], "categories": []}, "without 'images'"),
        ({"shapes": []}, "--format labelme"),
        ([{"image_id": 1, "score": 0.5, "segmentation": []}], "results"),
        ({"images": [{"id": 1}], "annotations": [{"image_id": 1}]}, "'categories'"),
        ({"description": "a set"}, "no COCO file"),
    ],
)
def test_a_folder_of_another_format_is_refused_by_name(
    content: Any, words: str, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", content)
    with pytest.raises(DataError, match=words) as error:
        coco_file("own").list_cases(tmp_path)
    assert "export.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_cvats_xml_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    (tmp_path / "annotations.xml").write_text(
        "<annotations><image name='a.png'></image></annotations>"
    )
    with pytest.raises(DataError, match=r"annotations\.xml.*a CVAT file.*--format cvat"):
        coco_file("own").list_cases(tmp_path)


def test_the_splits_in_file_names_are_kept(tmp_path: Path) -> None:
    expected = {}
    for k, split in enumerate(("train", "val", "test")):
        picture(tmp_path / "images" / f"{k}.png", 40 * k)
        listed = [{"id": 1, "file_name": f"{k}.png"}]
        write(tmp_path / f"instances_{split}.json", coco({}, images=listed))
        expected[f"images/{k}.png"] = split
    images, _ = read(coco_file("own"), tmp_path)
    assert {s: i.split for s, i in images.items()} == expected
    # Without a file for validation, some of the training images are needed for it.
    (tmp_path / "instances_val.json").unlink()
    images, _ = read(coco_file("own"), tmp_path)
    assert [i.split for i in images.values()] == ["trainval", "test"]


def test_large_coco_files_are_recognized(tmp_path: Path) -> None:
    listed = [{"id": k, "file_name": f"folder/image_{k:09d}_{'x' * 60}.png"} for k in range(12_000)]
    file = write(tmp_path / "big.json", coco({}, images=listed))
    assert file.read_bytes().index(b'"annotations"') > 1 << 20
    write(tmp_path / "a_config.json", {"annotations": "none"})
    assert detect_layout(tmp_path) == "coco"


def test_a_folder_of_labels_in_json_is_no_folder_of_masks(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "labels/a.json", labelme({"label": "cyst", "points": SQUARE}))
    assert detect_layout(tmp_path) == "labelme"
    images, skips = read(labelme_files("own"), tmp_path)
    assert objects(images["images/a.png"]) == [("cyst", 1681)]
    assert skips == []


@pytest.mark.parametrize("images", ["images", "images/default"])
def test_annotations_beside_images_are_one_data_set(images: str, tmp_path: Path) -> None:
    picture(tmp_path / "task_1" / images / "frame_000000.png")
    listed = [{"id": 1, "file_name": "frame_000000.png"}]
    table = tmp_path / "task_1/annotations/instances_default.json"
    write(table, coco({}, images=listed))
    for path in (table, tmp_path / "task_1"):
        (found,) = open_evaluation_datasets([str(path)])
        assert len(found.items) == 1
        (image,) = found.items[0].read()
        assert isinstance(image, AnnotatedImage)
        assert objects(image) == [("cyst", 1600)]
    assert [name for name, _, _ in raw_datasets(str(tmp_path))] == ["task_1"]


def test_one_of_several_files_is_evaluated(tmp_path: Path) -> None:
    for name in ("train", "val"):
        picture(tmp_path / "images" / f"{name}.png")
        listed = [{"id": 1, "file_name": f"{name}.png"}]
        write(tmp_path / "annotations" / f"{name}.json", coco({}, images=listed))
    spec, root = annotations_at(tmp_path / "annotations/val.json")
    images, _ = read(spec, root)
    assert list(images) == ["images/val.png"]
