"""What is one object, what is none, and what is annotated twice, in the files of several tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.field.annotation_files import (
    NOTHING,
    SQUARE,
    coco,
    labelme,
    objects,
    one,
    outline,
    picture,
    read,
    reasons,
    via_region,
    write,
)
from ultrasam.datasets.custom import coco_file, labelme_files, via_files
from ultrasam.errors import DataError

SMALL = [[80, 30], [100, 30], [100, 50], [80, 50]]


def shape(label: str, points: Any = SQUARE, **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": "polygon", "group_id": None} | more


def from_labelme(folder: Path, *shapes: dict[str, Any]) -> tuple[Any, Any]:
    picture(folder / "a.png")
    write(folder / "a.json", labelme(*shapes))
    return read(labelme_files("own"), folder)


@pytest.mark.parametrize("group", [0, 1, 3.0, "g"])
def test_labelme_shapes_of_a_group_are_one_object(group: Any, tmp_path: Path) -> None:
    images, skips = from_labelme(
        tmp_path,
        shape("cyst", group_id=group),
        shape("node", group_id=group),
        shape("cyst", SMALL, group_id=group),
    )
    assert objects(images["a.png"]) == [("cyst", 1681 + 441), ("node", 1681)]
    assert reasons(skips, "note") == ["shapes of a group, which are one object"]


def test_labelme_shapes_without_a_group_are_objects_of_their_own(tmp_path: Path) -> None:
    images, skips = from_labelme(tmp_path, shape("cyst"), shape("cyst", SMALL))
    assert objects(images["a.png"]) == [("cyst", 1681), ("cyst", 441)]
    assert skips == []


def test_an_object_annotated_twice_counts_once(tmp_path: Path) -> None:
    again = {"segmentation": [[*outline()[2:], *outline()[:2]]]}
    images, skips = one(
        tmp_path, {}, again, {"category_id": 2}, {"segmentation": [outline(70, 10, 20)]}
    )
    assert objects(images["a.png"]) == [("cyst", 1600), ("node", 1600), ("cyst", 400)]
    assert reasons(skips, "annotation") == [
        "annotation of the same structure with the same pixels as another one"
    ]


@pytest.mark.parametrize("label", ["__ignore__", "ignore", "Ignored "])
def test_what_is_labeled_to_be_ignored_is_no_object(label: str, tmp_path: Path) -> None:
    images, skips = from_labelme(tmp_path, shape("cyst"), shape(label, SMALL))
    assert objects(images["a.png"]) == [("cyst", 1681)]
    assert int(images["a.png"].ignored.sum()) == 441
    assert reasons(skips, "annotation") == ["region labeled to be ignored"]


def test_background_is_no_object_and_nothing_to_ignore(tmp_path: Path) -> None:
    images, skips = from_labelme(tmp_path, shape("cyst"), shape("_background_", SMALL))
    assert objects(images["a.png"]) == [("cyst", 1681)]
    assert images["a.png"].ignored is None
    assert reasons(skips, "annotation") == ["outline labeled as background"]


def test_an_image_of_background_alone_is_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    content = coco({}) | {"categories": [{"id": 1, "name": "Background"}]}
    write(tmp_path / "ann.json", content)
    images, skips = read(coco_file("own"), tmp_path)
    assert images == {}
    assert reasons(skips, "image") == [NOTHING]


def test_x_anylabelings_shapes(tmp_path: Path) -> None:
    images, skips = from_labelme(
        tmp_path,
        shape("cyst", shape_type="quadrilateral"),
        shape("node", SQUARE + SMALL, shape_type="cuboid"),
    )
    assert objects(images["a.png"]) == [("cyst", 1681)]
    assert reasons(skips, "annotation") == ["shape of an unknown kind (cuboid)"]


def test_an_outline_far_beyond_its_image_is_cut_with_a_note(tmp_path: Path) -> None:
    images, skips = one(tmp_path, {"segmentation": [outline(100, 70)]})
    assert objects(images["a.png"]) == [("cyst", 20 * 30)]
    assert reasons(skips, "note") == ["outlines far beyond the image, cut at its edge"]


def test_an_outline_just_beyond_its_image_is_cut(tmp_path: Path) -> None:
    images, skips = one(tmp_path, {"segmentation": [outline(-3, -2)]})
    assert objects(images["a.png"]) == [("cyst", 37 * 38)]
    assert skips == []


def test_coco_outlines_with_keypoints_are_read(tmp_path: Path) -> None:
    images, skips = one(tmp_path, {"keypoints": [20, 30, 2], "num_keypoints": 1})
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert skips == []


@pytest.mark.parametrize(
    "categories",
    [
        ["background", "cyst"],
        [{"id": 1}],
        [{"id": 1, "name": ""}],
        [{"name": "cyst"}],
        [{"id": 1, "name": "cyst"}, {"id": 1, "name": "node"}],
    ],
)
def test_categories_that_name_no_structure(categories: Any, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "ann.json", coco({}) | {"categories": categories})
    with pytest.raises(DataError, match="each needs an id of its own and a name"):
        read(coco_file("own"), tmp_path)


def test_a_region_of_several_structures_has_none(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    both = via_region([20, 60], attributes={"type": {"cyst": True, "node": True}})
    write(tmp_path / "via.json", {"a": {"filename": "a.png", "size": 1, "regions": [both]}})
    images, skips = read(via_files("own"), tmp_path)
    assert images == {}
    assert reasons(skips, "annotation") == ["annotation with several structures"]
    assert reasons(skips, "image") == [NOTHING]
