"""Regions to ignore are no objects: not prompted, not scored, and marked as such for other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ultrasam.datasets.annotated_image import Case, CaseImage, Instance
from ultrasam.datasets.custom import coco_file
from ultrasam.datasets.description import DatasetInfo, DatasetSpec
from ultrasam.datasets.file_tree import FileTree, Skip, SkipReport
from ultrasam.evaluation.metrics.average_precision import ImageDetections, average_precision
from ultrasam.images.masks import BoolMask, encode_rle
from ultrasam.images.raster import decode_values
from ultrasam.store.build import build_store
from ultrasam.store.export import export_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.splits import SplitFractions
from ultrasam.store.store import Store


def square(left: int) -> BoolMask:
    mask = np.zeros((40, 60), bool)
    mask[10:20, left : left + 10] = True
    return mask


def _read(number: int) -> Iterator[CaseImage | Skip]:
    pixels = np.full((40, 60), 50 + number, np.uint8)
    cyst = Instance("cyst", square(5))
    if number == 0:
        yield CaseImage(pixels, (cyst, Instance("", square(30), ignore=True)))
        yield Skip("0.png, annotation 7", "crowd: a region to ignore", what="annotation")
    elif number == 1:
        yield CaseImage(pixels, (cyst,))
    elif number == 2:
        yield CaseImage(pixels, ())
    else:
        yield Skip("3.png", "no annotation could be used")


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    entry = next(e for e, _ in tree.match(r"\.txt$"))
    for number in range(4):

        def read(number: int = number) -> Iterator[CaseImage | Skip]:
            return _read(number)

        yield Case("crowds", str(number), (entry,), read)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("a")
    (tmp_path / "raw" / "notes.pdf").write_text("a")
    info = DatasetInfo("crowds", "crowds", "", "open", "", (), "still", "", "", part_of_paper=False)
    settings = BuildSettings(split_fractions=SplitFractions(0, 0))
    spec = DatasetSpec(info, _cases)
    build_store([(spec, tmp_path / "raw")], tmp_path / "store", settings=settings)
    return Store.open(tmp_path / "store")


def test_a_region_to_ignore_is_stored_beside_the_objects(store: Store) -> None:
    image = store.image(0)
    assert image.structures == ("cyst",)
    assert image.ignored is not None
    np.testing.assert_array_equal(image.ignored, square(30))
    np.testing.assert_array_equal(image.loaded().ignored, square(30))
    assert store.image(1).ignored is None
    assert image.areas == (100,)


def test_the_manifest_counts_each_image_once(store: Store) -> None:
    counts = store.manifest["datasets"]["crowds"]
    assert counts["images"] == 3
    assert counts["images_without_objects"] == 1
    assert counts["skipped"] == {"no annotation could be used": 1}
    assert counts["skipped_annotations"] == {"crowd: a region to ignore": 1}
    assert counts["skipped_files"] == {"not part of the data set's layout": 1}


def test_coco_gets_a_crowd_and_reads_it_back(store: Store, tmp_path: Path) -> None:
    export_store(store, tmp_path / "coco", "coco")
    content = json.loads((tmp_path / "coco" / "train.json").read_text())
    crowds = [a for a in content["annotations"] if a["iscrowd"]]
    assert len({a["id"] for a in content["annotations"]}) == 3
    assert [(a["area"], a["bbox"], a["category_id"]) for a in crowds] == [
        (100, [30, 10, 10, 10], 1)
    ]
    images = list(coco_file("own", "train.json").images(tmp_path / "coco", skipped=lambda _: None))
    ignored = [image.ignored for image in images if image.ignored is not None]
    assert [int(region.sum()) for region in ignored] == [100]


def test_nnunet_gets_its_ignore_label(store: Store, tmp_path: Path) -> None:
    export_store(store, tmp_path / "nn", "nnunet")
    about = json.loads((tmp_path / "nn" / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "cyst": 1, "ignore": 2}
    values = [
        np.bincount(decode_values(f.read_bytes(), f.name).ravel(), minlength=3).tolist()
        for f in sorted((tmp_path / "nn" / "labelsTr").iterdir())
    ]
    assert sorted(values) == [[2200, 100, 100], [2300, 100, 0], [2400, 0, 0]]


def test_yolo_says_that_it_has_none(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export_store(store, tmp_path / "yolo", "yolo")
    assert "exported as background: 1." in caplog.text


def test_what_is_found_in_a_region_to_ignore_counts_neither_way() -> None:
    target, other = encode_rle(square(5)), encode_rle(square(30))
    found = ([target], [target, other], [0.5, 0.9])
    assert average_precision([ImageDetections(*found)]).ap50 == pytest.approx(0.5, abs=0.01)
    assert average_precision([ImageDetections(*found, ignored=other)]).ap50 == pytest.approx(1.0)
