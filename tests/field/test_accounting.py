"""However a data set is damaged: images read, images without objects and images left out add up to what is
there, and nothing but one sentence is raised."""

from __future__ import annotations

import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.field import damage
from tests.field.damage import Damage, Files
from ultrasam.datasets.annotated_image import images_of
from ultrasam.datasets.custom import (
    coco_file,
    cvat_files,
    image_mask_folder,
    labelme_files,
    labelstudio_files,
    via_files,
)
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import Skip, count_skips, describe_skips
from ultrasam.errors import DataError

LAYOUTS: dict[str, tuple[Callable[[], Files], Callable[[str], DatasetSpec]]] = {
    "coco": (damage.coco, coco_file),
    "via": (damage.via, via_files),
    "labelme": (damage.labelme, labelme_files),
    "cvat": (damage.cvat, cvat_files),
    "labelstudio": (damage.labelstudio, labelstudio_files),
    "masks": (damage.masks, image_mask_folder),
}


def account(spec: DatasetSpec, folder: Path) -> tuple[Counter[str], Counter[str], list[Skip]]:
    """How often each image file was read with objects, and without; and everything left out."""
    cases, report = spec.list_cases(folder)
    full: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    skips = list(report.skips)
    for case in cases:
        for image in images_of(case):
            if isinstance(image, Skip):
                skips.append(image)
            else:
                # An image of which a region is to be ignored isn't one without objects.
                useful = image.structures or image.ignored is not None
                (full if useful else empty)[image.source] += 1
    return full, empty, skips


def images_in(files: Files, layout: str) -> set[str]:
    return {
        unicodedata.normalize("NFC", name)
        for name in files
        if name.lower().endswith((".png", ".bmp"))
        and not (layout == "masks" and name.startswith("masks/"))
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_undamaged_data_set_is_read(layout: str, tmp_path: Path) -> None:
    make, spec = LAYOUTS[layout]
    damage.write(make(), tmp_path)
    full, empty, skips = account(spec("own"), tmp_path)
    assert (sum(full.values()), sum(empty.values()), skips) == (3, 1, [])


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_numbers_add_up(layout: str, data: st.DataObject) -> None:
    make, spec = LAYOUTS[layout]
    files = make()
    damages: list[Damage] = data.draw(damage.damages())
    for change in damages:
        change.apply(files)
    with tempfile.TemporaryDirectory() as folder:
        damage.write(files, Path(folder))
        try:
            full, empty, skips = account(spec("own"), Path(folder))
        except DataError as error:
            # The whole data set is refused: in a sentence.
            assert len(str(error)) > 20
            assert "Traceback" not in str(error)
            return
    left = Counter(skip.where for skip in skips if skip.what == "image")
    there = images_in(files, layout)
    counted = full + empty + left
    assert set(counted) == there, (full, empty, skips)
    assert set(counted.values()) <= {1}, (full, empty, skips)
    assert not any(skip.reason.startswith("unreadable file") for skip in skips), skips


@pytest.mark.parametrize("layout", ["coco", "via", "labelme", "cvat", "labelstudio"])
@settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
@given(change=damage.annotation_damages())
def test_an_annotated_image_is_never_one_without_objects(layout: str, change: Damage) -> None:
    make, spec = LAYOUTS[layout]
    files = make()
    change.apply(files)
    with tempfile.TemporaryDirectory() as folder:
        damage.write(files, Path(folder))
        try:
            full, empty, skips = account(spec("own"), Path(folder))
        except DataError:
            return
    assert {name.rpartition("/")[2] for name in empty} <= {f"{damage.EMPTY}.png"}, (
        full,
        empty,
        skips,
    )
    if full.total() < 3:
        assert skips


def test_a_reason_that_is_a_sentence_ends_in_one_period() -> None:
    skips = [Skip("a.png", "Cannot read a.png: Permission denied."), Skip("b.png", "empty file")]
    assert describe_skips(count_skips(skips)) == [
        "2 images left out: 1 × Cannot read a.png: Permission denied; 1 × empty file."
    ]
