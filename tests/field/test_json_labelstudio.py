"""Label Studio's own JSON and JSON-MIN: the pixels of regions, their image, and whose annotation counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.field.annotation_files import (
    NOTHING,
    SHAPE,
    Read,
    objects,
    picture,
    read,
    reasons,
    write,
)
from ultrasam.datasets.custom import detect_layout, labelstudio_files
from ultrasam.datasets.readers.annotations import UnusableError
from ultrasam.datasets.readers.labelstudio import SEVERAL
from ultrasam.datasets.readers.labelstudio_rle import decode_brush
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.training.custom import data_of

HEIGHT, WIDTH = SHAPE
ROOM = {"original_width": WIDTH, "original_height": HEIGHT}


def percent(*points: tuple[float, float]) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points]


SQUARE = {"points": percent((20, 30), (60, 30), (60, 70), (20, 70)), "closed": True}
POLYGON = SQUARE | {"polygonlabels": ["cyst"]}
BOX = {"x": 100 * 20 / WIDTH, "y": 30.0, "width": 100 * 40 / WIDTH, "height": 40.0, "rotation": 0}


def result(value: Any, kind: str = "polygonlabels", **more: Any) -> dict[str, Any]:
    names = {"from_name": "label", "to_name": "image", "origin": "manual", "image_rotation": 0}
    return {"id": "r1", "type": kind, "value": value} | names | ROOM | more


def task(
    *results: Any, image: str = "/data/upload/1/0a1b2c3d-a.png", **more: Any
) -> dict[str, Any]:
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": list(results)}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation]} | more


def one(tmp_path: Path, *tasks: Any) -> Read:
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", list(tasks))
    return read(labelstudio_files("own"), tmp_path)


def encoded(values: npt.NDArray[np.uint8], *, runs: bool = True) -> list[int]:
    """A brush mask as Label Studio writes it: runs of 16 bits, or single values."""
    bits = f"{len(values):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)] if runs else []
    start = 0
    for end in ends:
        while start < end:
            length = min(end - start, 1 << 16)
            bits += f"111{length - 1:016b}{int(values[start]):08b}"
            start += length
    while start < len(values):
        part = values[start : start + 8]
        bits += f"000{len(part) - 1:03b}" + "".join(f"{int(v):08b}" for v in part)
        start += len(part)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def test_an_export_is_found_read_and_evaluated(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    images, skips = one(
        tmp_path, task(result(POLYGON)), task(image="/data/upload/1/0a1b2c3e-b.png")
    )
    assert detect_layout(tmp_path) == "labelstudio"
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert objects(images["b.png"]) == []
    assert skips == []
    for path in (tmp_path, tmp_path / "export.json"):
        (found,) = open_evaluation_datasets([str(path)])
        assert len(found.items) == 2
        data, count = data_of([str(path)])
        assert ([source.dataset for source in data.sources], count) == (["labelstudio"], 2)


@pytest.mark.parametrize(
    "stated",
    ["/data/upload/1/0a1b2c3d-a.png", "/data/upload/0a1b2c3d-a.png", "0a1b2c3d-a.png", "a.png",
     "/data/local-files/?d=images/a.png", "/data/local-files/?d=my%20scans/images/a.png",
     "http://localhost:8080/data/upload/1/0a1b2c3d-a.png", "https://host/bucket/images/a.png?signature=x.y",
     "s3://bucket/images/a.png", "gs://bucket/images/a.png", "images\\a.png"],
)  # fmt: skip
def test_images_are_found_as_label_studio_states_them(stated: str, tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "export.json", [task(result(POLYGON), image=stated)])
    images, skips = read(labelstudio_files("own"), tmp_path)
    assert objects(images["images/a.png"]) == [("cyst", 1600)]
    assert skips == []


def test_an_upload_is_preferred_by_its_whole_name(tmp_path: Path) -> None:
    picture(tmp_path / "0a1b2c3d-a.png")
    images, skips = one(tmp_path, task(result(POLYGON)))
    assert list(images) == ["0a1b2c3d-a.png"]
    assert reasons(skips, "image") == ["image that no annotation file lists"]


def test_the_image_is_found_by_any_key(tmp_path: Path) -> None:
    other = task(result(POLYGON)) | {
        "data": {"scan": "a.png", "note": "left side", "patient_id": 7}
    }
    images, _ = one(tmp_path, other)
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert images["a.png"].subject is not None
    two = task(result(POLYGON)) | {"data": {"image": "a.png", "before": "b.png"}}
    assert objects(one(tmp_path, two)[0]["a.png"]) == [("cyst", 1600)]
    for data in ({"one": "a.png", "two": "b.png"}, {"image": "a.png", "pages": ["b.png"]}):
        with pytest.raises(DataError, match=r"a\.png: task of several images"):
            one(tmp_path, task(result(POLYGON)) | {"data": data})


def test_brush_masks_have_label_studios_pixels(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[30:70, 20:60] = 255
    mask[40:45, 30:35] = 0
    mask[0, 0] = 128  # half transparent, at an edge
    rgba = np.stack(
        [np.zeros_like(mask), np.full_like(mask, 9), np.zeros_like(mask), mask], axis=-1
    )
    value = {"format": "rle", "rle": encoded(rgba.ravel()), "brushlabels": ["cyst"]}
    images, skips = one(tmp_path, task(result(value, "brushlabels")))
    np.testing.assert_array_equal(images["a.png"].mask(0), mask > 0)
    assert skips == []


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60), st.booleans())
def test_brush_masks_are_decoded_exactly_or_refused(values: list[int], runs: bool) -> None:
    data = encoded(np.array(values, np.uint8), runs=runs)
    assert decode_brush(data, len(values)).tolist() == values
    with pytest.raises(UnusableError):
        decode_brush(data, len(values) + 1)
    with pytest.raises(UnusableError):
        decode_brush(data[:-2], len(values))


def test_ellipses_are_turned_in_pixels(tmp_path: Path) -> None:
    center = {
        "x": 50,
        "y": 50,
        "radiusX": 100 * 30 / WIDTH,
        "radiusY": 10,
        "ellipselabels": ["cyst"],
    }
    images, _ = one(
        tmp_path,
        task(
            result(center | {"rotation": 0}, "ellipselabels"),
            result(center | {"rotation": 90}, "ellipselabels", id="r2"),
        ),
    )
    found = images["a.png"]
    assert [area == pytest.approx(np.pi * 300, rel=0.02) for _, area in objects(found)] == [
        True
    ] * 2
    assert [int(np.ptp(np.nonzero(found.mask(k))[1])) + 1 for k in (0, 1)] == [60, 20]


def test_shape_label_and_values_of_one_region_belong_together(tmp_path: Path) -> None:
    images, skips = one(
        tmp_path,
        task(
            result(SQUARE, "polygon"),
            result(SQUARE | {"labels": ["cyst"]}, "labels"),
            result(SQUARE | {"choices": ["benign"]}, "choices"),
            result({"text": ["near the wall"]}, "textarea"),
            {"type": "relation", "from_id": "r1", "to_id": "r1", "direction": "right"},
            result({"choices": ["good"]}, "choices", id="c1"),
        ),
    )
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert skips == []


@pytest.mark.parametrize(
    ("bad", "reason", "ignored"),
    [
        (result(BOX | {"rectanglelabels": ["cyst"]}, "rectanglelabels", id="r2"),
         "annotation without a polygon or mask", 1600),
        (result(BOX | {"rotation": 90, "x": 50, "rectanglelabels": ["cyst"]}, "rectanglelabels", id="r2"),
         "annotation without a polygon or mask", 1600),
        (result({"x": 50, "y": 50, "width": 0.5, "keypointlabels": ["cyst"]}, "keypointlabels", id="r2"),
         "shape without area (keypoint)", 0),
        (result({"vertices": [], "vectorlabels": ["cyst"]}, "vectorlabels", id="r2"),
         "shape without area (vector)", 0),
        (result(POLYGON | {"closed": False}, id="r2"), "shape without area (open polygon)", 0),
        (result(SQUARE, id="r2"), "annotation without a known category or label", 1600),
        (result(SQUARE | {"polygonlabels": ["cyst", "node"]}, id="r2"),
         "annotation with several structures", 1600),
        (result({"polygonlabels": ["cyst"]}, id="r2"), "annotation without a polygon or mask", 0),
        (result({"format": "rle", "rle": [0, 0, 0, 9, 1], "brushlabels": ["cyst"]}, "brushlabels", id="r2"),
         "RLE that does not add up to its size; export it again", 0),
        (result({"rle": [-1, 999], "brushlabels": ["cyst"]}, "brushlabels", id="r2"),
         "outline that cannot be read", 0),
        (result({"imageDataURL": "data:", "bitmasklabels": ["cyst"]}, "bitmasklabels", id="r2"),
         "shape of an unknown kind (bitmask)", 0),
        (None, "annotation without a polygon or mask", 0),
    ],
)  # fmt: skip
def test_regions_that_cannot_be_used_are_reported(
    bad: Any, reason: str, ignored: int, tmp_path: Path
) -> None:
    good = {"points": percent((21, 30), (60, 30), (60, 70), (21, 70)), "polygonlabels": ["cyst"]}
    images, skips = one(tmp_path, task(result(good), bad))
    found = images["a.png"]
    assert objects(found) == [("cyst", 1560)]
    assert [(s.what, s.reason) for s in skips] == [("annotation", reason)]
    assert (0 if found.ignored is None else int(found.ignored.sum())) == ignored
    images, skips = one(tmp_path, task(bad))
    assert not images
    assert reasons(skips, "image") == [NOTHING]


OTHER = {"points": percent((10, 30), (60, 30), (60, 70), (10, 70)), "polygonlabels": ["cyst"]}


def by(*values: Any, **more: Any) -> dict[str, Any]:
    """An annotation by one person."""
    return {"id": 5, "result": [result(value, id=f"x{k}") for k, value in enumerate(values)]} | more


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([by(POLYGON), by(POLYGON, id=6)], [("cyst", 1600)]),
        ([by(POLYGON, was_cancelled=True), by(OTHER)], [("cyst", 2000)]),
        ([by(POLYGON, skipped=True), by(OTHER)], [("cyst", 2000)]),
        ([by(POLYGON), by(OTHER, ground_truth=True)], [("cyst", 2000)]),
        ([by()], []),
        ([by(POLYGON), by(OTHER)], SEVERAL),
        ([by(POLYGON), by()], SEVERAL),
        ([by(POLYGON, was_cancelled=True)], "skipped by its annotator in Label Studio"),
        ([], "not annotated yet in Label Studio"),
        ([{"id": 5}], "task that cannot be read"),
        (None, "task that cannot be read"),
        ([by(POLYGON), "x"], "task that cannot be read"),
    ],
)  # fmt: skip
def test_of_several_annotations_the_right_one_counts(
    annotations: Any, expected: Any, tmp_path: Path
) -> None:
    picture(tmp_path / "b.png")
    sure = task(result(POLYGON), image="b.png")
    predicted = {"predictions": [by(OTHER)], "drafts": [by(OTHER)]}
    images, skips = one(tmp_path, task() | {"annotations": annotations} | predicted, sure)
    assert objects(images["b.png"]) == [("cyst", 1600)]
    if isinstance(expected, str):
        assert "a.png" not in images
        assert reasons(skips, "image") == [expected]
    else:
        assert objects(images["a.png"]) == expected
        assert skips == []


def test_completions_of_early_versions_are_read(tmp_path: Path) -> None:
    old = task(result(POLYGON))
    old["completions"] = old.pop("annotations")
    assert objects(one(tmp_path, old)[0]["a.png"]) == [("cyst", 1600)]


def test_what_may_show_an_object_is_not_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: labeled as a whole, without a region"):
        one(tmp_path, task(result({"choices": ["cannot be annotated"]}, "choices")))


@pytest.mark.parametrize("angle", [90, 180, -90, "?"])
def test_rotated_images_are_left_out(angle: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: annotated in Label Studio while it was rotated"):
        one(tmp_path, task(result(POLYGON, image_rotation=angle)))


def test_another_size_is_scaled_and_another_aspect_refused(tmp_path: Path) -> None:
    double = {"original_width": 2 * WIDTH, "original_height": 2 * HEIGHT}
    images, skips = one(tmp_path, task(result(POLYGON, **double)))
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert [s.what for s in skips] == ["note"]
    images, skips = one(tmp_path, task(result(POLYGON, original_width=100)))
    assert not images
    assert reasons(skips, "annotation") == ["drawn at another aspect ratio than the image's"]


def short(
    *values: Any, image: str = "/data/upload/1/0a1b2c3d-a.png", **more: Any
) -> dict[str, Any]:
    """A record of JSON-MIN."""
    of_all = {
        "annotator": 1,
        "annotation_id": 1,
        "created_at": "",
        "updated_at": "",
        "lead_time": 9.1,
    }
    regions = {"label": [value | ROOM for value in values]} if values else {}
    return {"id": 1, "image": image} | regions | of_all | more


def test_json_min_is_read(tmp_path: Path) -> None:
    for name in ("b.png", "c.png"):
        picture(tmp_path / name)
    images, skips = one(
        tmp_path,
        short(POLYGON, quality="good"),
        short(image="b.png"),
        short(image="c.png", quality="cannot be annotated"),
    )
    assert detect_layout(tmp_path) == "labelstudio"
    assert objects(images["a.png"]) == [("cyst", 1600)]
    assert objects(images["b.png"]) == []
    assert [(s.where, s.what) for s in skips] == [("c.png", "image")]
    assert "export JSON instead of JSON-MIN" in skips[0].reason


def test_json_min_of_several_people(tmp_path: Path) -> None:
    assert objects(one(tmp_path, short(POLYGON), short(POLYGON))[0]["a.png"]) == [("cyst", 1600)]
    with pytest.raises(
        DataError, match=r"a\.png: listed several times, with different annotations"
    ):
        one(tmp_path, short(POLYGON), short(OTHER, annotation_id=2))


def test_json_min_without_any_region_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without a region in any image"):
        one(tmp_path, short(choice="cyst"))
