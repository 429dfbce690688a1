"""Values of masks that compression, blur, transparency or a void label has made uncertain."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.field.test_masks import AREA, HEIGHT, WIDTH, read, save, square, write
from ultrasam.datasets.image_mask_folder import NOT_A_PICTURE
from ultrasam.datasets.readers.mask_labels import parse_labels
from ultrasam.errors import DataError


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_a_jpeg_that_was_saved_again_as_png(tmp_path: Path, quality: int) -> None:
    out = io.BytesIO()
    disk = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(disk, (40, 30), 18, 255, -1)
    Image.fromarray(disk).save(out, "JPEG", quality=quality)
    write(tmp_path, {"a.png": Image.open(out)})
    areas, _, _ = read(tmp_path)
    assert list(areas["a"]) == ["mine"]
    assert abs(areas["a"]["mine"] - int((disk > 0).sum())) <= 12


def test_values_near_255_are_one_object(tmp_path: Path) -> None:
    mask = square(255)
    mask[12:28:3, 12:33:3] = 254
    mask[5, 5:30:4] = 2
    write(tmp_path, {"a.png": mask})
    assert read(tmp_path)[0] == {"a": {"mine": AREA}}


def test_noise_beside_255_is_no_class(tmp_path: Path) -> None:
    mask = square(255)
    mask[50, 5:60:4] = 1
    write(tmp_path, {"a.png": mask})
    with pytest.raises(
        DataError,
        match="255 may be an object or a region to ignore, since the masks also",
    ):
        read(tmp_path)
    assert read(tmp_path, labels={255: "cyst"})[0] == {"a": {"cyst": AREA}}


def test_class_numbers_in_a_jpeg_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": square(3), "b.png": square(1)}, quality=95)
    areas, left, _ = read(tmp_path)
    assert list(areas) == ["b"]
    assert "JPEG" in left["images/a.png"]


@pytest.mark.parametrize("alpha", [60, 100, 128, 255])
@pytest.mark.parametrize("below", [0, 255])
def test_an_overlay_may_be_transparent(tmp_path: Path, alpha: int, below: int) -> None:
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[..., 3] = below  # an opaque or a transparent background
    rgba[square() > 0] = (255, 0, 0, alpha)
    write(tmp_path, {"a.png": rgba})
    assert read(tmp_path)[0] == {"a": {"mine": AREA}}


def test_a_faint_probability_map_is_left_out(tmp_path: Path) -> None:
    disk = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(disk, (40, 30), 18, 255, -1)
    soft = cv2.GaussianBlur(disk, (0, 0), 3)
    write(tmp_path, {"a.png": (soft * 0.4).astype(np.uint8), "b.png": soft, "c.png": square()})
    areas, left, _ = read(tmp_path)
    assert set(areas) == {"b", "c"}
    assert set(areas["b"]) == {"mine"}
    assert "brightest value" in left["images/a.png"]


def test_masks_that_are_all_one_value_are_refused(tmp_path: Path) -> None:
    full = np.full((HEIGHT, WIDTH), 255, np.uint8)
    write(tmp_path, {"a.png": full, "b.png": full})
    with pytest.raises(DataError, match="one value everywhere"):
        read(tmp_path)
    areas, _, _ = read(tmp_path, labels={255: "cyst"})
    assert areas == {"a": {"cyst": full.size}, "b": {"cyst": full.size}}


def test_masks_without_objects_are_said(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": square(0), "b.png": square(0)})
    areas, _, report = read(tmp_path)
    assert areas == {"a": {}, "b": {}}
    assert report.notes == ["Masks: 2 masks without an object."]


def test_an_image_with_several_pages_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"b.png": square()})
    pages = [Image.fromarray(np.full((HEIGHT, WIDTH), gray, np.uint8)) for gray in (5, 6, 7)]
    save(tmp_path / "images/a.tif", pages[0], save_all=True, append_images=pages[1:])
    save(tmp_path / "masks/a.png", square())
    areas, left, _ = read(tmp_path)
    assert list(areas) == ["b"]
    assert "3 pages" in left["images/a.tif"]


@pytest.mark.parametrize(("orientation", "said"), [(1, False), (3, True), (2, True), (6, False)])
def test_an_orientation_that_no_shape_shows_is_said(
    tmp_path: Path, orientation: int, said: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.full((HEIGHT, WIDTH), 90, np.uint8))
    save(tmp_path / "images/a.jpg", stored, exif=exif)
    save(tmp_path / "masks/a.png", square() if orientation < 5 else square().T)
    areas, _, report = read(tmp_path)
    assert areas == {"a": {"mine": AREA}}
    assert [(s.where, s.what) for s in report.skips] == [("images/a.jpg", "note")] * said


def test_a_whole_and_its_parts_are_not_counted_twice(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": square(), "b.png": square()})
    save(tmp_path / "masks/cyst/a.png", square())
    areas, left, _ = read(tmp_path)
    assert list(areas) == ["b"]
    assert "may show the same object" in left["images/a.png"]


def test_folders_name_structures(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", np.full((HEIGHT, WIDTH), 9, np.uint8))
    save(tmp_path / "masks/cyst/a.png", square(1))
    save(tmp_path / "masks/wall/a.png", square(255, x=45))
    areas, _, report = read(tmp_path)
    assert areas == {"a": {"cyst": AREA, "wall": AREA}}
    assert report.notes == [
        "Masks of cyst: value 1 is cyst (1 mask).", "Masks of wall: value 255 is wall (1 mask).",
    ]  # fmt: skip
    with pytest.raises(DataError, match="--labels does not apply"):
        read(tmp_path, labels={1: "lesion"})


@pytest.mark.parametrize("sigma", [0, 1, 3, 8])
@pytest.mark.parametrize("window", [False, True])
def test_a_picture_is_no_mask(tmp_path: Path, sigma: float, window: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160), dtype=np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), sigma) if sigma else noise
    if window:
        picture[:20], picture[-20:] = 0, 0
    write(tmp_path, {"b.png": square()})
    save(tmp_path / "images/a.png", noise)
    save(tmp_path / "masks/a.png", picture)
    try:
        areas, _, _ = read(tmp_path)
    except DataError:
        return
    assert list(areas) == ["b"]


def test_labels_are_compared_with_what_a_jpeg_shows(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": square()}, quality=75)
    for value in (255, 254, 250):
        (areas,) = read(tmp_path, labels={value: "cyst"})[0].values()
        assert abs(areas["cyst"] - AREA) <= 8
    with pytest.raises(DataError, match="no mask has a value that --labels names"):
        read(tmp_path, labels={1: "cyst"})


def test_colors_of_equal_brightness_are_told_apart(tmp_path: Path) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[square() > 0] = (255, 0, 0)
    rgb[square(x=45) > 0] = (0, 0, 255)
    options = {"quality": 95, "subsampling": 0}
    write(tmp_path / "both", {"a.jpg": rgb}, **options)
    red, blue = parse_labels("#ff0000=cyst"), parse_labels("#0000ff=wall")
    areas, _, _ = read(tmp_path / "both", labels=red | blue)
    assert abs(areas["a"]["cyst"] - AREA) <= 12
    assert abs(areas["a"]["wall"] - AREA) <= 12
    rgb[square(x=45) > 0] = 0
    write(tmp_path / "red", {"a.jpg": rgb}, **options)
    assert list(read(tmp_path / "red", labels=red)[0]["a"]) == ["cyst"]
    with pytest.raises(DataError, match="no mask has a value that --labels names"):
        read(tmp_path / "red", labels=blue)


@pytest.mark.parametrize("value", [127, 170, 200, 255])
@pytest.mark.parametrize("quality", [30, 50, 90])
def test_a_compressed_object_of_any_value(tmp_path: Path, value: int, quality: int) -> None:
    disk = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(disk, (40, 30), (22, 12), 30, 0, 360, value, -1)
    write(tmp_path, {"a.jpg": disk}, quality=quality)
    areas, _, _ = read(tmp_path)
    assert list(areas["a"]) == ["mine"]
    assert abs(areas["a"]["mine"] - int((disk > 0).sum())) <= 25


@pytest.mark.parametrize("share", [0.03, 0.3, 0.6])
def test_a_second_level_of_a_compressed_mask_is_not_lost(tmp_path: Path, share: float) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:55, 5:45] = 255
    side = round((2000 * share) ** 0.5)
    mask[5 : 5 + side, 50 : 50 + min(side, 28)] = 127
    write(tmp_path, {"a.jpg": mask, "b.png": square()}, quality=90)
    _, left, _ = read(tmp_path)
    assert "compression has mixed several values" in left["images/a.png"]


@pytest.mark.parametrize("suffix", [".dcm", ".nii.gz", ".mp4"])
def test_images_and_masks_of_other_formats_are_said(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, {"a.png": square(), "b.png": square(), "c.png": square()})
    for place in ("images/a.png", "masks/b.png"):
        (tmp_path / place).write_bytes(b"some other format")
        (tmp_path / place).rename(tmp_path / place.replace(".png", suffix))
    areas, left, report = read(tmp_path)
    assert list(areas) == ["c"]
    assert left == {
        f"images/a{suffix}": NOT_A_PICTURE,
        "images/b.png": f"its mask is left out ({NOT_A_PICTURE})",
    }
    assert {s.where for s in report.skips if s.what == "file"} == {
        "masks/a.png",
        f"masks/b{suffix}",
    }
    (tmp_path / "images/c.png").unlink()
    (tmp_path / "images/b.png").unlink()
    with pytest.raises(DataError, match="convert it"):
        read(tmp_path)
