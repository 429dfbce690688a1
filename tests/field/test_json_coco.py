"""COCO files as tools and people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    write,
)
from ultrasam.datasets.custom import coco_file, labelme_files
from ultrasam.errors import DataError
from ultrasam.images.masks import decode_rle, encode_rle


@pytest.mark.parametrize(
    ("of_image", "of_annotation"),
    [(1, "1"), ("1", 1), (1, 1.0), ("01", 1), ("case-3", "case-3 "), (0, "0"), (2**60, str(2**60))],
)
def test_ids_join_as_text_or_number(of_image: Any, of_annotation: Any, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    listed = [{"id": of_image, "file_name": "a.png"}]
    write(tmp_path / "ann.json", coco({"image_id": of_annotation}, images=listed))
    images, skips = read(coco_file("own"), tmp_path)
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert skips == []


def test_category_ids_join_as_text_or_number(tmp_path: Path) -> None:
    images, skips = one(tmp_path, {"category_id": "2"})
    assert objects(images["a.png"]) == [("node", 1600)]
    assert skips == []


def test_what_an_unlisted_images_annotation_may_belong_to_is_not_empty(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    listed = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    write(tmp_path / "ann.json", coco({}, {"image_id": 77}, images=listed))
    images, skips = read(coco_file("own"), tmp_path)
    assert list(images) == ["a.png"]
    assert reasons(skips, "annotation") == ["annotation of an image that is not listed"]
    assert [s.where for s in skips if s.what == "image"] == ["b.png"]


NO_OUTLINE = "annotation without a polygon or mask"
BOX = {"bbox": [20, 30, 40, 40]}


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"segmentation": []}, NO_OUTLINE),
        ({"segmentation": [[]]}, NO_OUTLINE),
        ({"segmentation": None}, NO_OUTLINE),
        ({"segmentation": [[20, 30, 60, 70]]}, "outline of fewer than three points"),
        ({"segmentation": [[20, 30, 60, 70, 40]]}, "outline with an odd number of coordinates"),
        ({"segmentation": [[20, 30, 60, float("nan"), 40, 40]]},
         "outline with coordinates that are not numbers"),
        ({"segmentation": [["a", 30, 60, 70, 40, 40]]}, "outline with coordinates that are not numbers"),
        ({"segmentation": "mask.png"}, "segmentation that is neither polygons nor RLE"),
        ({"segmentation": [outline(500, 500)]}, "outline outside the image"),
        ({"segmentation": {"size": [100, 120], "counts": [2030, 40, 60]}},
         "RLE that does not add up to its size; export it again"),
        ({"segmentation": {"size": [100, 120], "counts": "abc"}},
         "RLE that does not add up to its size; export it again"),
        ({"segmentation": {"counts": [12000]}}, "RLE that does not add up to its size; export it again"),
        ({"category_id": 55}, "annotation without a known category or label"),
        ({"category_id": None}, "annotation without a known category or label"),
    ],
)  # fmt: skip
def test_one_annotation_that_cannot_be_used_costs_no_other_one(
    annotation: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = {"id": 6, "segmentation": [outline(70, 10, 20)]}
    images, skips = one(tmp_path, good, annotation | BOX)
    assert objects(images["a.png"]) == [("cyst", 400)]
    assert [(s.where, s.reason) for s in skips] == [("a.png, annotation 8", reason)]
    # Something is there, so that what a model finds there is not wrong.
    ignored = images["a.png"].ignored
    assert ignored is not None
    assert int(ignored.sum()) == 1600
    # Alone, it does not make the image one without objects.
    images, skips = one(tmp_path, annotation)
    assert not images
    assert reasons(skips, "image") == [NOTHING]
    assert reasons(skips, "annotation") == [reason]


def test_an_annotation_without_its_segmentation_is_reported(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    content = coco({}, {})
    del content["annotations"][1]["segmentation"]
    write(tmp_path / "ann.json", content)
    images, skips = read(coco_file("own"), tmp_path)
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert [s.where for s in skips] == ["a.png, annotation 8"]


def test_a_crowd_is_a_region_to_ignore(tmp_path: Path) -> None:
    for value in (1, "1", True):
        images, skips = one(tmp_path, {}, {"iscrowd": value, "segmentation": [outline(70, 10, 30)]})
        assert objects(images["a.png"]) == [("cyst", 1600)]
        ignored = images["a.png"].ignored
        assert ignored is not None
        assert int(ignored.sum()) == 900
        assert reasons(skips, "annotation") == ["crowd region, which is ignored"]
    images, skips = one(tmp_path, {"iscrowd": 1})
    assert not images
    assert reasons(skips, "image") == [NOTHING]


@given(st.lists(st.integers(-5, 40), max_size=8), st.integers(0, 7), st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_run_lengths_give_exactly_their_pixels_or_an_error(
    runs: list[int], height: int, width: int
) -> None:
    fits = min(runs, default=0) >= 0 and sum(runs) == height * width and height and width
    try:
        mask = decode_rle({"size": [height, width], "counts": runs})
    except DataError:
        assert not fits
    else:
        assert fits
        assert int(mask.sum()) == sum(runs[1::2])


@pytest.mark.parametrize(
    "rle",
    [{"size": [0, 5], "counts": []}, {"size": [-2, -2], "counts": [4]},
     {"size": [10**9, 10**9], "counts": "0"}, {"size": 3, "counts": [3]}, {"counts": [3]}, {"size": [2, 2]},
     {"size": [2, 2], "counts": [1.5, 2.5]}, {"size": [2, 2], "counts": [2**63, 2**63, 4]},
     {"size": [2, 2], "counts": {"a": 1}}],
)  # fmt: skip
def test_malformed_run_lengths_are_refused(rle: Any) -> None:
    with pytest.raises(DataError):
        decode_rle(rle)


def test_outlines_drawn_at_another_size_are_scaled(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    listed = [{"id": 1, "file_name": "a.png", "height": 200, "width": 240}]
    big = np.zeros((200, 240), bool)
    big[60:140, 40:120] = True
    rle = {"segmentation": encode_rle(big), "category_id": 2}
    content = coco({"segmentation": [outline(40, 60, 80)]}, rle, images=listed)
    write(tmp_path / "ann.json", content)
    images, skips = read(coco_file("own"), tmp_path)
    assert objects(images["a.png"]) == [("cyst", 1600), ("node", 1600)]
    assert np.nonzero(images["a.png"].mask(0))[0].min() == 30
    assert [(s.what, s.where) for s in skips] == [("note", "a.png")]


@pytest.mark.parametrize("size", [(240, 200), (100, 100), (768, 1024)])
def test_outlines_drawn_at_another_aspect_ratio_are_refused(
    size: tuple[int, int], tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    listed = [{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}]
    write(tmp_path / "ann.json", coco({}, images=listed))
    images, skips = read(coco_file("own"), tmp_path)
    assert not images
    assert reasons(skips, "annotation") == ["drawn at another aspect ratio than the image's"]


def test_outlines_beyond_an_image_of_unknown_size_cost_all_of_its_outlines(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    listed = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    inside, half, overshot = outline(), outline(40, 60, 80), outline(90, 70, 33)
    records = [{"segmentation": [o]} for o in (inside, half)]
    write(
        tmp_path / "ann.json",
        coco(*records, {"image_id": 2, "segmentation": [overshot]}, images=listed),
    )
    images, skips = read(coco_file("own"), tmp_path)
    assert {s: objects(i) for s, i in images.items()} == {"b.png": [("cyst", 30 * 30)]}
    reason = "outline beyond the image, whose size its file does not state; drawn at another size?"
    assert reasons(skips, "image") == [reason]
    assert reasons(skips, "annotation") == [reason]


def test_fractions_are_no_pixels(tmp_path: Path) -> None:
    images, skips = one(tmp_path, {"segmentation": [[0.2, 0.3, 0.6, 0.3, 0.6, 0.7]]})
    assert not images
    assert reasons(skips, "annotation") == [
        "outline in fractions of the image's size; pixels are needed"
    ]


def test_labelmes_size_counts_too(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    big = [[2 * x, 2 * y] for x, y in SQUARE]
    shape = {"label": "cyst", "shape_type": "rectangle", "points": [big[0], big[2]]}
    write(tmp_path / "a.json", labelme(shape, size=(200, 240)))
    images, skips = read(labelme_files("own"), tmp_path)
    assert objects(images["a.png"]) == [("cyst", 1681)]
    assert reasons(skips, "image") == []
