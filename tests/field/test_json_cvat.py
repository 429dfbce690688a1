"""CVAT's own XML: the pixels of each shape, whose image it is, and what is refused."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest

from tests.field.annotation_files import (
    NOTHING,
    SHAPE,
    Read,
    left_of,
    objects,
    picture,
    read,
    reasons,
)
from ultrasam.datasets.custom import cvat_files, detect_layout
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.images.masks import polygon_mask
from ultrasam.training.custom import data_of

SQUARE = "20.00,30.00;60.00,30.00;60.00,70.00;20.00,70.00"
POLYGON = f'<polygon label="cyst" source="manual" occluded="0" points="{SQUARE}" z_order="0"/>'


def image(*shapes: str, name: str = "a.png", **attributes: str) -> str:
    stated = {"id": "0", "name": name, "width": str(SHAPE[1]), "height": str(SHAPE[0])} | attributes
    text = " ".join(f"{key}={quoteattr(value)}" for key, value in stated.items())
    return f"<image {text}>{''.join(shapes)}</image>"


def table(*images: str, head: str = '<?xml version="1.0" encoding="utf-8"?>') -> str:
    meta = "<meta><task><labels><label><name>cyst</name></label></labels></task></meta>"
    return f"{head}\n<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"


def one(tmp_path: Path, *shapes: str, attribute: str | None = None) -> Read:
    picture(tmp_path / "images/a.png")
    (tmp_path / "annotations.xml").write_text(table(image(*shapes)), encoding="utf-8")
    return read(cvat_files("own", attribute=attribute), tmp_path)


def test_a_task_is_found_read_and_evaluated(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "images" / name)
    text = table(image(POLYGON), image(name="b.png"))
    (tmp_path / "annotations.xml").write_text(text, encoding="utf-8")
    assert detect_layout(tmp_path) == "cvat"
    images, skips = read(cvat_files("own"), tmp_path)
    assert objects(images["images/a.png"]) == [("cyst", 1600)]
    assert objects(images["images/b.png"]) == []
    assert skips == []
    for path in (tmp_path, tmp_path / "annotations.xml"):
        (found,) = open_evaluation_datasets([str(path)])
        assert len(found.items) == 2
        data, count = data_of([str(path)])
        assert ([source.dataset for source in data.sources], count) == (["cvat"], 2)


def test_polygons_have_the_pixels_of_cvats_coco_export(tmp_path: Path) -> None:
    points = [(10.37, 12.4), (71.25, 20.13), (55.5, 80.66), (22.01, 61.9)]
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
    images, _ = one(tmp_path, f'<polygon label="cyst" points="{text}"/>')
    expected = polygon_mask([np.array(points)], SHAPE)
    np.testing.assert_array_equal(images["images/a.png"].mask(0), expected)


def test_masks_are_run_lengths_within_their_box(tmp_path: Path) -> None:
    # Rows of 4 pixels: .XX. / XXXX / .... ; the first run is of the background.
    mask = '<mask label="cyst" rle="1, 2, 1, 4, 4" left="20" top="30" width="4" height="3"/>'
    images, skips = one(tmp_path, mask, POLYGON)
    found = images["images/a.png"]
    assert objects(found) == [("cyst", 6), ("cyst", 1600)]
    expected = np.zeros(SHAPE, dtype=bool)
    expected[30, 21:23] = True
    expected[31, 20:24] = True
    np.testing.assert_array_equal(found.mask(0), expected)
    assert skips == []


def test_ellipses_are_turned(tmp_path: Path) -> None:
    flat = '<ellipse label="cyst" cx="60" cy="50" rx="30" ry="10"/>'
    upright = '<ellipse label="cyst" cx="60" cy="50" rx="30" ry="10" rotation="90"/>'
    images, _ = one(tmp_path, flat, upright)
    found = images["images/a.png"]
    assert [area == pytest.approx(np.pi * 300, rel=0.02) for _, area in objects(found)] == [
        True
    ] * 2
    assert [int(np.ptp(np.nonzero(found.mask(k))[1])) + 1 for k in (0, 1)] == [60, 20]


@pytest.mark.parametrize(
    ("shape", "reason", "ignored"),
    [
        ('<box label="cyst" xtl="20" ytl="30" xbr="60" ybr="70"/>',
         "annotation without a polygon or mask", 1600),
        ('<box label="cyst" xtl="30" ytl="40" xbr="70" ybr="60" rotation="90"/>',
         "annotation without a polygon or mask", 800),
        ('<box label="cyst" xtl="20" ytl="30" xbr="60"/>', "annotation without a polygon or mask", 0),
        ('<cuboid label="cyst" xtl1="20" ytl1="30" xbl1="20" ybl1="60" xtr1="50" ytr1="30" xbr1="50"'
         ' ybr1="60" xtl2="30" ytl2="40" xbl2="30" ybl2="70" xtr2="60" ytr2="40" xbr2="60" ybr2="70"/>',
         "annotation without a polygon or mask", 1600),
        ('<points label="cyst" points="20,30"/>', "shape without area (points)", 0),
        (f'<polyline label="cyst" points="{SQUARE}"/>', "shape without area (polyline)", 0),
        ('<skeleton label="cyst"><points label="1" points="20,30"/></skeleton>',
         "shape without area (skeleton)", 0),
        ('<blob label="cyst"/>', "shape of an unknown kind (blob)", 0),
        ('<polygon label="cyst" points="20,30;60,30"/>', "outline of fewer than three points", 0),
        ('<polygon label="cyst" points="20,30;60;20,70"/>',
         "outline with coordinates that are not numbers", 0),
        ('<polygon label="cyst"/>', "outline that cannot be read", 0),
        (f'<polygon points="{SQUARE}"/>', "annotation without a known category or label", 1600),
        ('<ellipse label="cyst" cx="60" cy="50" rx="30"/>', "outline that cannot be read", 0),
        ('<mask label="cyst" rle="1, 2, 1" left="20" top="30" width="4" height="3"/>',
         "RLE that does not add up to its size; export it again", 0),
        ('<mask label="cyst" rle="0, 12" left="200" top="30" width="4" height="3"/>',
         "outline outside the image", 0),
    ],
)  # fmt: skip
def test_shapes_that_cannot_be_used_are_reported(
    shape: str, reason: str, ignored: int, tmp_path: Path
) -> None:
    images, skips = one(tmp_path, POLYGON.replace("20.00", "21.00"), shape)
    found = images["images/a.png"]
    assert objects(found) == [("cyst", 1560)]
    assert [(s.what, s.reason) for s in skips] == [("annotation", reason)]
    assert "at position 1" in skips[0].where
    assert (0 if found.ignored is None else int(found.ignored.sum())) == ignored
    images, skips = one(tmp_path, shape)
    assert not images
    assert reasons(skips, "image") == [NOTHING]


def test_a_tagged_image_without_a_shape_is_left_out(tmp_path: Path) -> None:
    tag = '<tag label="cannot be annotated" source="manual"/>'
    images, _ = one(tmp_path, tag, POLYGON)
    assert objects(images["images/a.png"]) == [("cyst", 1600)]
    with pytest.raises(DataError, match=r"a\.png: labeled as a whole, without a region"):
        one(tmp_path, tag)


def test_the_subsets_of_a_project_are_folders_and_splits(tmp_path: Path) -> None:
    for k, subset in enumerate(("Train", "Validation", "Test")):
        picture(tmp_path / "images" / subset / "a.png", 40 + k)
    shapes = [POLYGON, POLYGON.replace("20.00", "30.00"), POLYGON.replace("20.00", "40.00")]
    listed = [
        image(shape, subset=subset)
        for shape, subset in zip(shapes, ("Train", "Validation", "Test"), strict=True)
    ]
    (tmp_path / "annotations.xml").write_text(table(*listed), encoding="utf-8")
    images, skips = read(cvat_files("own"), tmp_path)
    assert {i.source: (i.split, left_of(i)) for i in images.values()} == {
        "images/Train/a.png": ("train", 20),
        "images/Validation/a.png": ("val", 30),
        "images/Test/a.png": ("test", 40),
    }
    assert skips == []


def test_two_tasks_with_images_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    for k, x in enumerate(("20.00", "40.00")):
        picture(tmp_path / f"task_{k}" / "images/frame_000000.png", 40 + k)
        shape = POLYGON.replace("20.00", x)
        text = table(image(shape, name="frame_000000.png"))
        (tmp_path / f"task_{k}" / "annotations.xml").write_text(text, encoding="utf-8")
    (tmp_path / "info.json").write_text('{"year": 2024}')
    images, skips = read(cvat_files("own"), tmp_path)
    assert {source: left_of(found) for source, found in images.items()} == {
        "task_0/images/frame_000000.png": 20,
        "task_1/images/frame_000000.png": 40,
    }
    assert [(s.where, s.what) for s in skips] == [("info.json", "file")]


def test_frames_of_a_video_are_listed_without_a_suffix(tmp_path: Path) -> None:
    for name in ("frame_000000.PNG", "frame_000001.PNG", "frame_000001.jpg"):
        picture(tmp_path / "images" / name)
    text = table(image(POLYGON, name="frame_000000"), image(POLYGON, name="frame_000001"))
    (tmp_path / "annotations.xml").write_text(text, encoding="utf-8")
    images, skips = read(cvat_files("own"), tmp_path)
    assert list(images) == ["images/frame_000000.PNG"]
    assert set(reasons(skips, "image")) == {"listed by a name that several images have"}


def test_an_attribute_names_the_structure_if_asked(tmp_path: Path) -> None:
    shape = POLYGON.replace("/>", '><attribute name="kind">simple</attribute></polygon>')
    images, _ = one(tmp_path, shape, attribute="kind")
    assert objects(images["images/a.png"]) == [("simple", 1600)]
    with pytest.raises(DataError, match="the attributes are: kind"):
        one(tmp_path, shape, attribute="side")


def test_tracks_of_a_video_are_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "images/frame_000000.png")
    track = '<track id="0" label="cyst"><box frame="0" outside="0" xtl="1" ytl="1" xbr="9" ybr="9"/></track>'
    (tmp_path / "annotations.xml").write_text(table(track))
    for call in (
        lambda: detect_layout(tmp_path),
        lambda: cvat_files("own").list_cases(tmp_path),
    ):
        with pytest.raises(
            DataError, match=r"annotations\.xml.*'CVAT for video'.*'CVAT for images 1\.1'"
        ):
            call()


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (table(image(POLYGON), head=f'<?xml version="1.0"?>{BOMB}'), "document type (DOCTYPE)"),
        (table(image(POLYGON))[:-20], "not valid XML"),
        ("<annotations/", "not valid XML"),
        ("<html><body/></html>", "no CVAT file"),
    ],
)
def test_what_is_no_safe_cvat_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError) as error:
        cvat_files("own").list_cases(tmp_path)
    assert words in str(error.value)
    assert "annotations.xml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("declared", "saved"),
    [("utf-8", "utf-8"), ("utf-8", "utf-8-sig"), ("utf-8", "utf-16"), ("utf-8", "cp1252"),
     ("iso-8859-1", "iso-8859-1"), ("windows-1250", "cp1250"), ("utf-16", "utf-16")],
)  # fmt: skip
def test_files_are_read_in_the_encoding_they_are_in(
    declared: str, saved: str, tmp_path: Path
) -> None:
    picture(tmp_path / "images/Zürich.png")
    text = table(
        image(POLYGON.replace("cyst", "Zyste, größer"), name="Zürich.png"),
        head=f'<?xml version="1.0" encoding="{declared}"?>',
    )
    (tmp_path / "annotations.xml").write_bytes(text.encode(saved))
    images, skips = read(cvat_files("own"), tmp_path)
    assert [objects(i) for i in images.values()] == [[("Zyste, größer", 1600)]]
    assert skips == []
