"""LabelMe files, and the pixels that LabelMe gives its shapes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.field.annotation_files import (
    NOTHING,
    SHAPE,
    SQUARE,
    Read,
    labelme,
    objects,
    one,
    picture,
    read,
    reasons,
    write,
)
from ultrasam.datasets.custom import labelme_files, via_files


def png(values: np.ndarray[Any, Any], mode: str = "L") -> str:
    out = io.BytesIO()
    Image.fromarray(values.astype(np.uint8) * 255).convert(mode).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def labelme_one(tmp_path: Path, *shapes: dict[str, Any]) -> Read:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme(*shapes))
    return read(labelme_files("own"), tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_masks_of_labelmes_ai_tools_are_read(mode: str, tmp_path: Path) -> None:
    mask = np.ones((41, 41), bool)
    mask[0] = False
    shape = {"label": "cyst", "shape_type": "mask", "points": [[20, 30], [60, 70]]}
    images, skips = labelme_one(tmp_path, shape | {"mask": png(mask, mode)})
    assert objects(images["a.png"]) == [("cyst", 40 * 41)]
    rows, columns = np.nonzero(images["a.png"].mask(0))
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (31, 20, 70, 60)
    assert skips == []


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [(None, "mask without its PNG"), ("abc!", "outline that cannot be read"),
     (png(np.ones((9, 9))), "mask that does not fit its box")],
)  # fmt: skip
def test_a_labelme_mask_that_cannot_be_read_is_reported(
    encoded: Any, reason: str, tmp_path: Path
) -> None:
    shape = {"label": "cyst", "shape_type": "mask", "points": [[20, 30], [60, 70]], "mask": encoded}
    images, skips = labelme_one(tmp_path, shape)
    assert not images
    assert reasons(skips, "annotation") == [reason]
    assert reasons(skips, "image") == [NOTHING]


def by_labelme(kind: str, points: list[list[float]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """LabelMe's own `labelme.utils.shape_to_mask`."""
    mask = Image.fromarray(np.zeros(SHAPE, np.uint8))
    draw = ImageDraw.Draw(mask)
    xy = [(p[0], p[1]) for p in points]
    if kind == "circle":
        (cx, cy), (px, py) = xy
        d = float(np.sqrt((cx - px) ** 2 + (cy - py) ** 2))
        draw.ellipse([cx - d, cy - d, cx + d, cy + d], outline=1, fill=1)
    elif kind == "rectangle":
        draw.rectangle(xy, outline=1, fill=1)
    else:
        draw.polygon(xy=xy, outline=1, fill=1)
    return np.asarray(mask, dtype=bool)


SMALL = [[20.3, 30.2], [28.9, 29.7], [32.4, 35.5], [26.1, 41.8], [19.2, 38.6]]


@pytest.mark.parametrize(
    ("kind", "points"),
    [("polygon", SQUARE), ("polygon", SMALL), (None, SMALL), ("rectangle", [[20, 30], [60, 70]]),
     ("circle", [[50, 50], [60.5, 50]]), ("oriented_rectangle", [[40, 10], [70, 40], [40, 70], [10, 40]]),
     ("rotation", SMALL[:4])],
)  # fmt: skip
def test_labelmes_shapes_have_labelmes_pixels(
    kind: str, points: list[list[float]], tmp_path: Path
) -> None:
    images, _ = labelme_one(tmp_path, {"label": "cyst", "shape_type": kind, "points": points})
    expected = by_labelme(kind, points)
    np.testing.assert_array_equal(images["a.png"].mask(0), expected)


def test_rectangles_drawn_from_any_corner_are_the_same(tmp_path: Path) -> None:
    for points in ([[60, 70], [20, 30]], [[20, 70], [60, 30]], SQUARE):
        shape = {"label": "cyst", "shape_type": "rectangle", "points": points}
        assert objects(labelme_one(tmp_path, shape)[0]["a.png"]) == [("cyst", 1681)]


def test_coco_and_via_polygons_have_cocos_pixels(tmp_path: Path) -> None:
    from pycocotools import mask as theirs

    flat = [v for point in SMALL for v in point]
    expected = theirs.decode(theirs.frPyObjects([flat], *SHAPE))[..., 0].astype(bool)
    images, _ = one(tmp_path, {"segmentation": [flat]})
    np.testing.assert_array_equal(images["a.png"].mask(0), expected)
    xs, ys = (list(v) for v in zip(*SMALL, strict=True))
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    region = {"shape_attributes": shape, "region_attributes": {}}
    write(tmp_path / "ann.json", {"a": {"filename": "a.png", "regions": [region]}})
    images, _ = read(via_files("own"), tmp_path)
    np.testing.assert_array_equal(images["a.png"].mask(0), expected)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"shape_type": "point", "points": [[5, 5]]}, "shape without area (point)"),
        ({"shape_type": "linestrip", "points": SQUARE}, "shape without area (linestrip)"),
        ({"shape_type": "polygon", "points": SQUARE[:2]}, "outline of fewer than three points"),
        ({"shape_type": "circle", "points": SQUARE}, "circle without its two points"),
        ({"shape_type": "cuboid", "points": SQUARE[:2]}, "shape of an unknown kind (cuboid)"),
        ({"shape_type": "polygon", "points": []}, "annotation without a polygon or mask"),
        ({"shape_type": "polygon", "points": None}, "outline that is not a list of points"),
    ],
)  # fmt: skip
def test_labelme_shapes_that_cannot_be_used_are_reported(
    shape: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = {"label": "cyst", "shape_type": "polygon", "points": SQUARE}
    images, skips = labelme_one(tmp_path, good, {"label": "node"} | shape)
    assert objects(images["a.png"]) == [("cyst", 1681)]
    assert [(s.where, s.reason) for s in skips] == [("a.png, annotation at position 1", reason)]
    images, skips = labelme_one(tmp_path, {"label": "node"} | shape)
    assert not images
    assert reasons(skips, "image") == [NOTHING]


def test_labelme_files_are_for_the_image_that_they_state(tmp_path: Path) -> None:
    square = {"label": "cyst", "points": SQUARE}
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.bmp")
    write(tmp_path / "a.json", labelme(square))
    images, skips = read(labelme_files("own"), tmp_path)
    assert list(images) == ["a.png"]
    assert [(s.where, s.what) for s in skips] == [("a.bmp", "image")]
    # A renamed pair: the path in the file is an old one.
    picture(tmp_path / "b.png")
    write(tmp_path / "b.json", labelme(square, imagePath="IMG_0001.png"))
    # The path names another image that is there: either may be meant.
    picture(tmp_path / "c.png")
    write(tmp_path / "c.json", labelme(square, imagePath="b.png"))
    images, skips = read(labelme_files("own"), tmp_path)
    assert sorted(images) == ["a.png", "b.png"]
    told = {s.where: s.reason for s in skips if s.what == "image"}
    assert told["c.png"] == "LabelMe file of this name that states another image"


def test_images_inside_labelme_files_are_reported(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme({"label": "cyst", "points": SQUARE}))
    write(tmp_path / "d.json", labelme(imagePath="d.png", imageData="iVBOR"))
    _, skips = read(labelme_files("own"), tmp_path)
    assert [s.reason for s in skips] == [
        "LabelMe file with its image inside; save the image beside it"
    ]
