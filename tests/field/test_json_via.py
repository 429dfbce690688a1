"""VIA files: shapes, and the attribute that names the structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.field.annotation_files import (
    NOTHING,
    Read,
    coco,
    objects,
    picture,
    read,
    reasons,
    via_region,
    write,
)
from ultrasam.datasets.custom import coco_file, via_files
from ultrasam.errors import DataError


def via_one(tmp_path: Path, *attributes: Any, attribute: str | None = None) -> Read:
    picture(tmp_path / "a.png")
    regions = [via_region([20, 60], attributes=a) for a in attributes]
    write(tmp_path / "via.json", {"a.png1": {"filename": "a.png", "size": 1, "regions": regions}})
    return read(via_files("mine", attribute=attribute), tmp_path)


@pytest.mark.parametrize(
    "attributes",
    [{"type": {"cyst": True, "node": False}}, {"quality": "good", "type": "cyst"}, {"anything": "cyst"},
     {"quality": "", "organ": "cyst"}, {"Class": " cyst ", "note": "small"}, {"type": {"cyst": "true"}}],
)  # fmt: skip
def test_the_attribute_that_names_the_structure_is_found(attributes: Any, tmp_path: Path) -> None:
    images, skips = via_one(tmp_path, attributes)
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert skips == []


def test_attributes_that_may_both_be_meant_are_asked_for(tmp_path: Path) -> None:
    both = {"finding": "cyst", "reader": "AB"}
    with pytest.raises(DataError, match="which attribute names the structure") as error:
        via_one(tmp_path, both)
    assert "--attribute" in str(error.value)
    assert "finding (cyst), reader (AB)" in str(error.value)
    images, _ = via_one(tmp_path, both, attribute="finding")
    assert objects(images["a.png"]) == [("cyst", 1600)]
    with pytest.raises(DataError, match="no annotation has a value for the attribute 'side'"):
        via_one(tmp_path, both, attribute="side")


def test_several_checked_boxes_are_no_structure(tmp_path: Path) -> None:
    boxes = {"type": {"cyst": True, "node": True}}
    images, skips = via_one(tmp_path, {"type": {"cyst": True}}, boxes)
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert reasons(skips, "annotation") == ["annotation with several structures"]


def test_regions_without_a_name_get_the_data_sets_and_a_note(tmp_path: Path) -> None:
    images, skips = via_one(tmp_path, {"type": "cyst"}, {})
    assert [name for name, _ in objects(images["a.png"])] == ["cyst", "mine"]
    assert [s.what for s in skips] == ["note"]


def test_coco_attributes_name_the_structure_if_asked(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "ann.json", coco({"attributes": {"kind": "simple", "occluded": False}}))
    images, _ = read(coco_file("own", attribute="kind"), tmp_path)
    assert objects(images["a.png"]) == [("simple", 1600)]
    with pytest.raises(DataError, match="the attributes are: kind"):
        read(coco_file("own", attribute="side"), tmp_path)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"name": "point", "cx": 5, "cy": 5}, "shape without area (point)"),
        ({"name": "polyline", "all_points_x": [5, 50, 50], "all_points_y": [5, 5, 50]},
         "shape without area (open polyline)"),
        ({"name": "rect", "x": 5, "y": 5, "width": 0, "height": 9}, "rectangle without an area"),
        ({"name": "circle", "cx": 5, "cy": 5, "r": 0}, "ellipse without a radius"),
        ({"name": "circle", "cx": 5}, "outline that cannot be read"),
        ({"name": "polygon", "all_points_x": [5, 6], "all_points_y": [5, 6, 7]},
         "outline that cannot be read"),
        ({}, "annotation without a polygon or mask"),
    ],
)  # fmt: skip
def test_via_regions_that_cannot_be_used_are_reported(
    shape: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    bad = {"shape_attributes": shape, "region_attributes": {"name": "cyst"}}
    table = {"a": {"filename": "a.png", "regions": [via_region([20, 60], "cyst"), bad]}}
    write(tmp_path / "via.json", table)
    images, skips = read(via_files("own"), tmp_path)
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert [(s.what, s.reason) for s in skips] == [("annotation", reason)]
    table["a"]["regions"] = [bad]
    write(tmp_path / "via.json", table)
    images, skips = read(via_files("own"), tmp_path)
    assert not images
    assert reasons(skips, "image") == [NOTHING]
