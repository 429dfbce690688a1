"""Masks whose names hold more than that of their image, or are joined to it, or are alike in every folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.field.test_masks import AREA, read, save, square
from ultrasam.datasets.custom import detect_layout
from ultrasam.errors import DataError
from ultrasam.images.mask_names import pair_masks, split_masks


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("001.png", "001GT.png"),
        ("scan.jpg", "scanMask.png"),
        ("scan.jpg", "scanmask.png"),
        ("x7.jpg", "maskx7.png"),
        ("x7.jpg", "GTx7.png"),
        ("images/x7.jpg", "gt/x7gt.png"),
        ("p1/image.png", "p1/mask.png"),
        ("p1/img.png", "p1/label.png"),
        ("image.png", "ground_truth.png"),
    ],
)
def test_joined_names_and_one_pair_in_each_folder(image: str, mask: str) -> None:
    pairing = pair_masks([image, mask])
    assert {i: [m.path for m in masks] for i, masks in pairing.masks.items()} == {image: [mask]}
    assert split_masks([Path(mask), Path(image)]) == ([Path(image)], [Path(mask)])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (
            ("x.png", "x_Cyst_mask.png", "x_wall_mask.png"),
            {"x.png": [("x_Cyst_mask.png", "Cyst"), ("x_wall_mask.png", "wall")]},
        ),
        (
            ("x.png", "x_cyst_mask.png", "x_mask_wall.png"),
            {"x.png": [("x_cyst_mask.png", "cyst"), ("x_mask_wall.png", "wall")]},
        ),
        (
            ("images/x.png", "masks/x_cyst.png", "masks/x_wall.png"),
            {"images/x.png": [("masks/x_cyst.png", "cyst"), ("masks/x_wall.png", "wall")]},
        ),
        (
            ("images/x.png", "masks/x_1.png", "masks/x_2.png"),
            {"images/x.png": [("masks/x_1.png", None), ("masks/x_2.png", None)]},
        ),
        # the image of this name comes first
        (
            ("x.png", "x_left.png", "x_left_mask.png", "x_mask.png"),
            {"x.png": [("x_mask.png", None)], "x_left.png": [("x_left_mask.png", None)]},
        ),
        # beside x_1.png, x_2_mask.png is of an image that is gone
        (("x.png", "x_1.png", "x_1_mask.png", "x_2_mask.png"), {"x_1.png": [("x_1_mask.png", None)]}),
        (("images/x.png", "images/x_1.png", "masks/x_2.png"), {}),
    ],
)  # fmt: skip
def test_masks_named_after_their_image_and_more(
    paths: tuple[str, ...], expected: dict[str, list[tuple[str, str | None]]]
) -> None:
    found = pair_masks(paths).masks
    assert {i: [(m.path, m.structure) for m in masks] for i, masks in found.items()} == expected


@pytest.mark.parametrize(
    "paths",
    [
        ("x.png", "x_mask.png", "x_cyst_mask.png"),
        ("images/x.png", "masks/x.png", "masks/x_1.png"),
        ("images/x.png", "masks/x.png", "masks/x_cyst.png"),
        ("images/x.png", "masks/x_1.png", "masks/x_cyst.png"),
        ("x.png", "x_reader1_mask.png", "x_reader2_mask.png"),
    ],
)
def test_an_image_is_not_read_with_a_part_of_its_masks(paths: tuple[str, ...]) -> None:
    pairing = pair_masks(paths)
    assert not pairing.masks
    assert "may show the same object" in pairing.ambiguous[paths[0]]


def test_masks_that_are_all_in_doubt_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name in ("x", "x_mask", "x_cyst_mask"):
        save(tmp_path / f"{name}.png", square())
    assert detect_layout(tmp_path) == "image_mask_folder"
    with pytest.raises(DataError, match="may show the same object"):
        read(tmp_path)


def test_structures_and_objects_in_names_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"images/{name}.png", square(90))
    save(tmp_path / "masks/a_1.png", square())
    save(tmp_path / "masks/a_2.png", square(x=50))
    save(tmp_path / "masks/b_1.png", square())
    assert detect_layout(tmp_path) == "image_mask_folder"
    cases, left, _ = read(tmp_path)
    assert cases == {"a": {"mine": AREA}, "b": {"mine": AREA}}
    assert left == {}


@pytest.mark.parametrize("mask", ["x.jpg.png", "x.jpg_mask.png", "x.png.gif", "x.tif_seg.png"])
def test_the_suffix_of_the_image_in_a_masks_name_is_no_structure(mask: str) -> None:
    (found,) = pair_masks(["images/x.jpg", f"masks/{mask}"]).masks["images/x.jpg"]
    assert found.structure is None


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat", "nii.gz", "pgm", "NPY"])
def test_masks_of_another_kind_are_named(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"images/{name}.png", square(90))
    save(tmp_path / "masks/b.png", square())
    (tmp_path / f"masks/a.{suffix}").write_bytes(b"x")
    areas, left, report = read(tmp_path)
    reason = "not a PNG, JPEG, BMP, TIFF or GIF file; convert it"
    assert list(areas) == ["b"]
    assert left == {"images/a.png": f"its mask is left out ({reason})"}
    assert [(s.where, s.reason) for s in report.skips if s.what == "file"] == [
        (f"masks/a.{suffix}", reason)
    ]


def test_a_file_of_another_kind_beside_a_mask_costs_nothing(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", square(90))
    save(tmp_path / "masks/a.png", square())
    (tmp_path / "masks/a.npy").write_bytes(b"x")
    (tmp_path / "masks/a.txt").write_bytes(b"x")
    areas, left, report = read(tmp_path)
    assert (areas, left) == ({"a": {"mine": AREA}}, {})
    assert [(s.where, s.what) for s in report.skips] == [
        ("masks/a.npy", "file"), ("masks/a.txt", "file"),
    ]  # fmt: skip


def test_a_mask_that_is_all_object_among_others_is_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"images/{name}.png", square(90))
    full = square()
    full[:] = 255
    save(tmp_path / "masks/a.png", full)
    save(tmp_path / "masks/b.png", square())
    areas, _, report = read(tmp_path)
    assert areas == {"a": {"mine": full.size}, "b": {"mine": AREA}}
    assert report.notes[-1] == (
        "Masks: 1 mask is all object, without background; check that this is meant."
    )
