"""Which mask belongs to which image: by path below their folders, then by name; never by name alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.images.mask_names import Pairing, pair_masks, split_masks


def pairs(*paths: str) -> dict[str, list[str]]:
    return {
        image: [mask.path for mask in masks] for image, masks in pair_masks(paths).masks.items()
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/x.png", "masks/x.png"),
        ("Images/x.JPG", "Masks/X.png"),
        ("image/x.png", "label/x.png"),
        ("imgs/x.png", "gt/x.png"),
        ("img/x.png", "ground_truth/x.tif"),
        ("imagesTr/x_0000.png", "labelsTr/x.png"),
        ("JPEGImages/x.jpg", "SegmentationClass/x.png"),
        ("JPEGImages/x.jpg", "SegmentationClassPNG/x.png"),
        ("p1/images/x.png", "p1/masks/x.png"),
        ("images/p1/x.png", "masks/p1/x.png"),
        ("train/images/x.png", "train/labels/x.png"),
        ("images/train/x.png", "masks/train/x.png"),
        ("train_images/x.png", "train_masks/x.png"),
        ("images_train/x.png", "masks_train/x.png"),
        ("US images/x.png", "masks/x.png"),
        ("images/x.png", "masks/x_mask.png"),
        ("images/x.png", "masks/mask_x.png"),
        ("images/x_image.png", "masks/x_mask.png"),
        ("images/image_001.png", "masks/mask_001.png"),
        ("images/img001.png", "masks/mask001.png"),
        ("x.png", "masks/x.png"),
        ("images/x.png", "images/masks/x.png"),
        ("x.jpg", "x_mask.png"),
        ("x.jpg", "x-mask.png"),
        ("x.jpg", "x mask.png"),
        ("x.jpg", "x.mask.png"),
        ("x.jpg", "x_seg.png"),
        ("x.jpg", "x_label.png"),
        ("x.jpg", "x_segmentation.png"),
        ("x.jpg", "x_gt.png"),
        ("x.jpg", "x_Annotation.png"),
        ("x.jpg", "mask_x.png"),
        ("x.jpg", "X_MASK.PNG"),
        ("x_image.jpg", "x_mask.png"),
        ("benign (1).png", "benign (1)_mask.png"),
        ("deep/er/x.jpg", "deep/er/x_mask.png"),
        ("1.2.840.1.nii.gz", "1.2.840.1_seg.nii.gz"),
        ("label 0/x.png", "label 0/x_mask.png"),
    ],
)
def test_an_image_and_its_mask(image: str, mask: str) -> None:
    assert pairs(image, mask) == {image: [mask]}
    assert split_masks([Path(mask), Path(image)]) == ([Path(image)], [Path(mask)])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        # two patients with one file name
        (
            ("p1/images/001.png", "p1/masks/001.png", "p2/images/001.png", "p2/masks/001.png"),
            {"p1/images/001.png": ["p1/masks/001.png"], "p2/images/001.png": ["p2/masks/001.png"]},
        ),
        (
            ("images/p1/001.png", "masks/p1/001.png", "images/p2/001.png", "masks/p2/001.png"),
            {"images/p1/001.png": ["masks/p1/001.png"], "images/p2/001.png": ["masks/p2/001.png"]},
        ),
        # the mask of one patient is no mask of the other's image
        (("p1/images/001.png", "p2/masks/001.png"), {}),
        (("images/p1/001.png", "masks/p2/001.png"), {}),
        (("p1/001.png", "p2/001_mask.png"), {}),
        (("train/images/1.png", "val/masks/1.png"), {}),
        # several objects of one image
        (
            ("x.png", "x_mask.png", "x_mask_1.png", "x_mask_2.png"),
            {"x.png": ["x_mask.png", "x_mask_1.png", "x_mask_2.png"]},
        ),
        (("x.png", "x_mask(1).png", "x_mask(2).png"), {"x.png": ["x_mask(1).png", "x_mask(2).png"]}),
        # names that end like those of masks
        (
            ("images/a.png", "images/a_label_2.png", "masks/a.png", "masks/a_label_2.png"),
            {"images/a.png": ["masks/a.png"], "images/a_label_2.png": ["masks/a_label_2.png"]},
        ),
        (("scan_label_2.png", "scan_label_2_mask.png", "scan.png"), None),
        (("a_mask.png", "b_mask.png"), {}),
        # 1 is no part of 10, and 01 is not 1
        (("1.png", "10.png", "10_mask.png"), {"10.png": ["10_mask.png"]}),
        (("images/01.png", "masks/1.png"), {}),
        # views of masks, and masks of single objects beside those of classes
        (
            ("JPEGImages/x.jpg", "SegmentationClass/x.png", "SegmentationObject/x.png"),
            {"JPEGImages/x.jpg": ["SegmentationClass/x.png"]},
        ),
    ],
)  # fmt: skip
def test_which_masks_go_with_which_images(
    paths: tuple[str, ...], expected: dict[str, list[str]] | None
) -> None:
    if expected is None:
        expected = {"scan_label_2.png": ["scan_label_2_mask.png"]}
        found = pairs(*paths)
        # scan_label_2.png is a mask of scan.png by its name and an image by its own mask: told either way.
        assert found.get("scan.png") != ["scan_label_2_mask.png"]
        return
    assert pairs(*paths) == expected


@pytest.mark.parametrize(
    ("mask", "structure"),
    [
        ("masks/cyst/x.png", "cyst"),
        ("masks/Cyst/x.png", "Cyst"),
        ("masks/x_mask_Wall.png", "Wall"),
        ("cyst_masks/x.png", "cyst"),
        ("masks/x.png", None),
        ("masks/x_mask_1.png", None),
    ],
)
def test_a_folder_or_a_name_tells_the_structure(mask: str, structure: str | None) -> None:
    (found,) = pair_masks(["images/x.png", mask]).masks["images/x.png"]
    assert found.structure == structure


def test_structures_below_patients() -> None:
    expected = {"images/p1/x.png": ["masks/cyst/p1/x.png", "masks/wall/p1/x.png"]}
    assert pairs(*expected, *expected["images/p1/x.png"]) == expected
    expected = {"images/p1/x.png": ["masks/p1/cyst/x.png", "masks/p1/wall/x.png"]}
    assert pairs(*expected, *expected["images/p1/x.png"]) == expected
    expected = {"images/x.png": ["cyst_masks/x.png", "wall_masks/x.png"]}
    assert pairs(*expected, *expected["images/x.png"]) == expected


@pytest.mark.parametrize(
    ("paths", "images"),
    [
        (("images/x.png", "images/x.jpg", "masks/x.png"), ["images/x.jpg", "images/x.png"]),
        (("images/x.png", "masks/x.png", "labels/x.png"), ["images/x.png"]),
        (("images/x.png", "masks/x.png", "masks/x.jpg"), ["images/x.png"]),
        (("images/x.png", "masks/x.png", "masks/x_mask.png"), ["images/x.png"]),
        (("images/x.png", "images/x_mask.png", "masks/x.png"), ["images/x.png"]),
        (("x.png", "x_mask.png", "x_seg.png"), ["x.png"]),
        (("images/x.png", "masks_1/x.png", "masks_2/x.png"), ["images/x.png"]),
        (("images/x.png", "masks/reader1/x.png", "masks/reader2/x.png"), ["images/x.png"]),
        (
            ("images/x.png", "masks/x_mask_Expert A.png", "masks/x_mask_Expert B.png"),
            ["images/x.png"],
        ),
        (("x.png", "x.jpg", "x_mask.png"), ["x.jpg", "x.png"]),
    ],
)
def test_what_is_not_certain_is_said(paths: tuple[str, ...], images: list[str]) -> None:
    pairing = pair_masks(paths)
    assert sorted(pairing.ambiguous) == images
    assert not pairing.masks
    assert all("remove" in reason for reason in pairing.ambiguous.values())


def test_a_mask_whose_image_is_gone_is_no_image() -> None:
    names = ("a.png", "a_mask.png", "b_mask.png", "c.png", "my_label.png", "d/e_seg.png")
    paths = [Path(name) for name in names]
    images, masks = split_masks(paths)
    assert [p.as_posix() for p in images] == ["a.png", "c.png", "my_label.png", "d/e_seg.png"]
    assert [p.as_posix() for p in masks] == ["a_mask.png", "b_mask.png"]


def test_a_folder_of_masks_alone_is_segmented_when_asked(tmp_path: Path) -> None:
    only = [tmp_path / "masks" / name for name in ("a.png", "b.png")]
    assert split_masks(only) == (only, [])
    assert split_masks([]) == ([], [])


def everything(pairing: Pairing) -> list[str]:
    return [
        *pairing.masks,
        *(mask.path for masks in pairing.masks.values() for mask in masks),
        *pairing.without_mask,
        *pairing.without_image,
        *pairing.ambiguous,
        *pairing.ambiguous_masks,
        *pairing.others,
    ]


folders = st.sampled_from(
    ["images", "masks", "labels", "p1", "p2", "train_masks", "cyst", "Images_train"]
)
names = st.sampled_from(["x", "x_mask", "x_mask_1", "mask_x", "x_seg", "x_mask_seg", "y", "img_x", "x_image",
                         "mask", "_mask", "image", "x_label_mask_2"])  # fmt: skip
files = st.builds(
    lambda parts, name, suffix: "/".join([*parts, name + suffix]),
    st.lists(folders, max_size=3), names, st.sampled_from([".png", ".jpg", ""]),
)  # fmt: skip


@given(st.lists(files, unique=True, max_size=14))
def test_every_file_is_in_exactly_one_list(paths: list[str]) -> None:
    pairing = pair_masks(paths)
    assert sorted(everything(pairing)) == sorted(paths)
    assert pair_masks(paths[::-1]).masks.keys() == pairing.masks.keys()
    images, masks = split_masks([Path(path) for path in paths])
    assert len(images) + len(masks) == len(paths)
