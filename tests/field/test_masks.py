"""Image and mask folders: whose mask it is, what its values mean, and what is left out with a reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ultrasam.datasets.annotated_image import images_of
from ultrasam.datasets.custom import detect_layout, image_mask_folder
from ultrasam.datasets.file_tree import Skip, SkipReport
from ultrasam.datasets.readers.mask_labels import parse_labels
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import raw_datasets
from ultrasam.images.mask_files import COLOR, decode_mask

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 60, 80
AREA = 20 * 25


def square(value: int = 255, *, x: int = 10, y: int = 10, dtype: Any = np.uint8) -> Array:
    """A mask [60, 80] with an object of 500 pixels."""
    values = np.zeros((HEIGHT, WIDTH), dtype)
    values[y : y + 20, x : x + 25] = value
    return values


def save(path: Path, values: Array | Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)


def write(folder: Path, masks: dict[str, Array | Image.Image], **options: Any) -> None:
    """Images of different gray values, with their masks."""
    for index, (name, mask) in enumerate(masks.items()):
        save(
            folder / "images" / f"{Path(name).stem}.png",
            np.full((HEIGHT, WIDTH), 40 + index, np.uint8),
        )
        save(folder / "masks" / name, mask, **options)


def read(
    folder: Path, **options: Any
) -> tuple[dict[str, dict[str, int]], dict[str, str], SkipReport]:
    """The area of each structure of each image, the reasons for images left out, and the report."""
    cases, report = image_mask_folder("mine", **options).list_cases(folder)
    areas: dict[str, dict[str, int]] = {}
    left = {skip.where: skip.reason for skip in report.skips if skip.what == "image"}
    for case in cases:
        for image in images_of(case):
            if isinstance(image, Skip):
                left[image.where] = image.reason
            else:
                areas[image.name] = dict(zip(image.structures, image.areas, strict=True))
    return areas, left, report


@pytest.mark.parametrize("value", [1, 2, 8, 85, 127, 128, 170, 254, 255])
def test_a_mask_with_one_value_shows_one_object(tmp_path: Path, value: int) -> None:
    write(tmp_path, {"a.png": square(value), "b.png": np.zeros((HEIGHT, WIDTH), np.uint8)})
    areas, left, report = read(tmp_path)
    assert areas == {"a": {"mine": AREA}, "b": {}}
    assert not left
    assert report.notes == [f"Masks: value {value} is mine (1 mask); 1 mask without an object."]


@pytest.mark.parametrize("values", [(1, 2, 3), (2, 8, 127), (85, 170, 255), (10, 20, 30)])
def test_class_numbers_are_structures(tmp_path: Path, values: tuple[int, int, int]) -> None:
    mask = square(values[0])
    mask[40:50, 10:20] = values[1]
    mask[40:50, 20:30] = values[2]  # beside the second
    only_second = square(values[1])
    write(tmp_path, {"a.png": mask, "b.png": only_second})
    areas, left, report = read(tmp_path)
    first, second, third = (f"mine_{value}" for value in values)
    assert areas == {"a": {first: AREA, second: 100, third: 100}, "b": {second: AREA}}
    assert not left
    assert f"value {values[1]} is mine_{values[1]} (2 masks)" in report.notes[0]
    assert f"--labels '{values[0]}=NAME,{values[1]}=NAME" in report.notes[1]


def test_labels_name_the_class_numbers(tmp_path: Path) -> None:
    mask = square(1)
    mask[40:50, 10:20], mask[40:50, 30:40] = 2, 3
    write(tmp_path, {"a.png": mask, "b.png": square(2)})
    areas, _, report = read(tmp_path, labels=parse_labels("1=cyst, 2=wall"))
    assert areas == {"a": {"cyst": AREA, "wall": 100}, "b": {"wall": AREA}}
    assert "not in --labels and therefore background: 3 (1 mask)." in report.notes[-1]


def test_several_values_may_be_one_structure(tmp_path: Path) -> None:
    mask = square(1)
    mask[40:50, 10:20] = 2
    write(tmp_path, {"a.png": mask})
    assert read(tmp_path, labels=parse_labels("1=cyst,2=cyst"))[0] == {"a": {"cyst": AREA + 100}}


def test_labels_that_no_mask_has_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": square(255)})
    with pytest.raises(DataError, match="no mask has a value that --labels names"):
        read(tmp_path, labels={1: "cyst"})
    _, _, report = read(tmp_path, labels={255: "cyst", 7: "wall"})
    assert "Masks: no mask has the value 7 of --labels." in report.notes


@pytest.mark.parametrize(
    "text", ["", "cyst", "1:cyst", "1=", "1=a,1=b", "1=a,", "red=cyst", "255=ignore"]
)
def test_malformed_labels_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="--labels"):
        parse_labels(text)


def test_zeros_and_ones_among_255_are_the_same_object(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": square(1), "b.png": square(255)})
    assert read(tmp_path)[0] == {"a": {"mine": AREA}, "b": {"mine": AREA}}


def test_255_beside_class_numbers_is_ignored(tmp_path: Path) -> None:
    mask = square(1)
    mask[40:50, 10:20], mask[40:50, 30:40] = 2, 255
    write(tmp_path, {"a.png": mask})
    areas, _, report = read(tmp_path)
    assert areas == {"a": {"mine_1": AREA, "mine_2": 100}}
    assert "value 255 is a region to ignore (1 mask)" in report.notes[0]
    (case,), _ = image_mask_folder("mine").list_cases(tmp_path)
    (image,) = images_of(case)
    assert not isinstance(image, Skip)
    assert image.ignored is not None
    assert int(image.ignored.sum()) == 100


def palette_mask(*colors: tuple[int, int, int]) -> Image.Image:
    """A palette image with the object as number 1."""
    image = Image.fromarray(square(1), "P")
    image.putpalette([channel for color in colors for channel in color])
    return image


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(palette_mask((0, 0, 0), (128, 0, 0)), id="labelme2voc"),
        pytest.param(palette_mask((0, 0, 0), (0, 0, 0)), id="empty palette"),
        pytest.param(palette_mask((68, 1, 84), (253, 231, 37)), id="viridis"),
        pytest.param(palette_mask((0, 0, 0), (255, 255, 255)), id="black and white"),
        pytest.param(Image.fromarray(square() > 0), id="1 bit"),
        pytest.param(square(65535, dtype=np.uint16), id="16 bit"),
        pytest.param(square(1).astype(np.float32), id="float"),
        pytest.param(Image.fromarray(square()).convert("LA"), id="gray and opaque"),
    ],
)  # fmt: skip
def test_kinds_of_files(tmp_path: Path, mask: Array | Image.Image) -> None:
    name = "a.tif" if isinstance(mask, np.ndarray) and mask.dtype == np.float32 else "a.png"
    write(tmp_path, {name: mask})
    assert read(tmp_path)[0] == {"a": {"mine": AREA}}


@pytest.mark.parametrize(
    "color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 0, 0), (1, 0, 0), (255, 255, 255)]
)
@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_colored_masks(tmp_path: Path, color: tuple[int, int, int], suffix: str) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[square() > 0] = color
    write(tmp_path, {f"a{suffix}": rgb})
    assert read(tmp_path)[0] == {"a": {"mine": AREA}}


def test_each_color_is_a_structure(tmp_path: Path) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[square() > 0] = (255, 0, 0)
    rgb[40:50, 10:20] = (0, 0, 255)
    write(tmp_path, {"a.png": rgb})
    areas, _, report = read(tmp_path)
    assert areas == {"a": {"mine_0000ff": 100, "mine_ff0000": AREA}}
    assert "color #ff0000 is mine_ff0000" in report.notes[0]
    labels = parse_labels("#FF0000=cyst,#0000ff=wall")
    assert labels == {COLOR + 0xFF0000: "cyst", COLOR + 0xFF: "wall"}
    assert read(tmp_path, labels=labels)[0] == {"a": {"cyst": AREA, "wall": 100}}


@pytest.mark.parametrize("background", [(0, 0, 0, 0), (255, 255, 255, 0), (255, 0, 0, 0)])
@pytest.mark.parametrize("color", [(0, 0, 0, 255), (255, 255, 255, 255), (255, 0, 0, 255)])
def test_an_object_told_by_its_transparency(
    tmp_path: Path, color: tuple[int, ...], background: tuple[int, ...]
) -> None:
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[:] = background
    rgba[square() > 0] = color
    write(tmp_path, {"a.png": rgba})
    assert read(tmp_path)[0] == {"a": {"mine": AREA}}


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0)])
def test_a_jpeg_mask_has_the_right_area(
    tmp_path: Path, quality: int, color: tuple[int, int, int]
) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[square() > 0] = color
    write(tmp_path, {"a.jpg": rgb}, quality=quality, subsampling=0)
    areas, _, report = read(tmp_path)
    assert list(areas["a"]) == ["mine"]
    assert abs(areas["a"]["mine"] - AREA) <= 8
    assert "soft edges" in report.notes[1]


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_soft_edges_are_divided_in_the_middle(tmp_path: Path, sigma: float) -> None:
    disk = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(disk, (40, 30), 18, 255, -1)
    soft = cv2.GaussianBlur(disk, (0, 0), sigma)
    write(tmp_path, {"a.png": soft, "b.png": disk})
    areas, _, _ = read(tmp_path)
    assert set(areas["a"]) == set(areas["b"]) == {"mine"}
    assert abs(areas["a"]["mine"] - areas["b"]["mine"]) <= 0.04 * areas["b"]["mine"]


def test_an_antialiased_mask_has_no_extra_structures(tmp_path: Path) -> None:
    large = np.zeros((4 * HEIGHT, 4 * WIDTH), np.uint8)
    cv2.ellipse(large, (160, 120), (100, 70), 20, 0, 360, 255, -1)
    small = cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    write(tmp_path, {"a.png": small})
    areas, _, _ = read(tmp_path)
    assert list(areas["a"]) == ["mine"]
    assert abs(areas["a"]["mine"] - (large > 0).sum() / 16) < 15


def test_edges_between_classes_go_to_one_of_them(tmp_path: Path) -> None:
    large = np.zeros((4 * HEIGHT, 4 * WIDTH), np.uint8)
    large[41:120, 42:160] = 128
    large[41:120, 160:280] = 255
    small = cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    write(tmp_path, {"a.png": small})
    areas, _, _ = read(tmp_path)
    assert set(areas["a"]) == {"mine_128", "mine_255"}
    assert abs(areas["a"]["mine_128"] - 79 * 118 / 16) < 12
    assert abs(areas["a"]["mine_255"] - 79 * 120 / 16) < 12


def test_a_jpeg_of_several_levels_is_left_out_unless_they_are_named(tmp_path: Path) -> None:
    mask = square(255)
    mask[35:55, 10:60] = 127
    write(tmp_path, {"a.jpg": mask}, quality=85)
    with pytest.raises(DataError, match="JPEG, in which compression has mixed several values"):
        read(tmp_path)
    areas, _, _ = read(tmp_path, labels={127: "cyst", 255: "wall"})
    assert abs(areas["a"]["wall"] - AREA) <= 25
    assert abs(areas["a"]["cyst"] - 1000) <= 50


def test_an_inverted_mask_is_left_out_unless_its_object_is_named(tmp_path: Path) -> None:
    inverted = 255 - square()
    write(tmp_path, {"a.png": inverted, "b.png": square(), "c.png": np.full_like(inverted, 255)})
    areas, left, _ = read(tmp_path)
    assert areas == {"b": {"mine": AREA}}
    assert "inverted" in left["images/a.png"]
    assert "inverted" in left["images/c.png"]
    (tmp_path / "masks/b.png").unlink()
    areas, _, _ = read(tmp_path, labels={0: "cyst"})
    assert areas == {"a": {"cyst": AREA}, "c": {}}


def test_an_object_may_fill_the_image(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": np.full((HEIGHT, WIDTH), 255, np.uint8), "b.png": square()})
    assert read(tmp_path)[0] == {"a": {"mine": HEIGHT * WIDTH}, "b": {"mine": AREA}}


def test_background_that_is_not_black_is_refused(tmp_path: Path) -> None:
    rgb = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    rgb[square() > 0] = (255, 0, 0)
    write(tmp_path, {"a.png": rgb})
    with pytest.raises(DataError, match="--labels"):
        read(tmp_path)
    assert read(tmp_path, labels=parse_labels("#ff0000=cyst"))[0] == {"a": {"cyst": AREA}}


def test_an_image_in_place_of_a_mask_is_left_out(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(90, 30, (HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8)
    write(tmp_path, {"a.png": noise, "b.png": square()})
    areas, left, _ = read(tmp_path)
    assert areas == {"b": {"mine": AREA}}
    assert "gray tones" in left["images/a.png"]


def test_a_numbered_object_each(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in range(1, 101):
        row, column = divmod(number - 1, 10)
        mask[6 * row : 6 * row + 5, 8 * column : 8 * column + 5] = number
    write(tmp_path, {"a.png": mask})
    areas, _, _ = read(tmp_path)
    assert set(areas["a"].values()) == {25}
    assert len(areas["a"]) == 100


def test_masks_with_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(square(x=x)) for x in (10, 40)]
    write(tmp_path, {"b.png": square()})
    save(tmp_path / "images/a.png", np.full((HEIGHT, WIDTH), 9, np.uint8))
    save(tmp_path / "masks/a.tif", pages[0], save_all=True, append_images=pages[1:])
    _, left, _ = read(tmp_path)
    assert "2 pages" in left["images/a.png"]


def test_values_that_are_no_numbers_of_classes_are_refused(tmp_path: Path) -> None:
    values = square(1).astype(np.float32)
    values[0, 0] = np.nan
    write(tmp_path, {"a.tif": values, "b.png": square()})
    _, left, _ = read(tmp_path)
    assert "no class numbers" in left["images/a.png"]


# The masks of two patients, and of several formats and forms of one name.


def test_two_patients_have_images_of_one_name(tmp_path: Path) -> None:
    for patient, gray, x in (("p1", 50, 10), ("p2", 150, 40)):
        save(tmp_path / patient / "images/001.png", np.full((HEIGHT, WIDTH), gray, np.uint8))
        save(tmp_path / patient / "masks/001.png", square(x=x))
    cases, report = image_mask_folder("mine").list_cases(tmp_path)
    assert not report.skips
    found = [image for case in cases for image in images_of(case)]
    assert all(not isinstance(image, Skip) for image in found)
    seen = {
        image.name: (int(image.pixels[0, 0]), int(np.flatnonzero(image.mask(0).any(axis=0))[0]))
        for image in found if not isinstance(image, Skip)
    }  # fmt: skip
    assert seen == {"p1/001": (50, 10), "p2/001": (150, 40)}
    assert detect_layout(tmp_path) == "image_mask_folder"


def test_a_folder_with_images_and_masks_is_one_data_set(tmp_path: Path) -> None:
    for name in ("a", "a_label_2"):  # named like the mask of an object of the other
        write(tmp_path / "one", {f"{name}.png": square()})
        write(tmp_path / "two" / name, {"x.png": square()})
    ((name, spec, folder),) = raw_datasets(str(tmp_path / "one"))
    assert (name, spec.name, folder) == ("one", "image_mask_folder", tmp_path / "one")
    assert len(spec.list_cases(folder)[0]) == 2
    assert [name for name, _, _ in raw_datasets(str(tmp_path / "two"))] == ["a", "a_label_2"]


def test_two_images_of_one_stem_are_both_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": square(), "b.png": square()})
    save(tmp_path / "images/a.bmp", np.full((HEIGHT, WIDTH), 9, np.uint8))
    areas, left, _ = read(tmp_path)
    assert list(areas) == ["b"]
    assert set(left) == {"images/a.png", "images/a.bmp"}
    assert "may belong to any of" in left["images/a.bmp"]


def test_masks_beside_their_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jpg", np.full((HEIGHT, WIDTH), 9, np.uint8))
    save(tmp_path / "a_mask.png", square())
    save(tmp_path / "a_mask_1.png", square(x=45))
    save(tmp_path / "b-seg.png", square(1))
    cases, report = image_mask_folder("mine").list_cases(tmp_path)
    assert not report.skips
    found = [i for case in cases for i in images_of(case)]
    assert [i.areas for i in found if not isinstance(i, Skip)] == [(AREA, AREA), (AREA,)]
    assert detect_layout(tmp_path) == "image_mask_folder"


def test_an_empty_mask_file_is_no_image_without_objects(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": square(), "b.png": square()})
    (tmp_path / "masks/a.png").write_bytes(b"")
    areas, left, report = read(tmp_path)
    assert list(areas) == ["b"]
    assert left == {"images/a.png": "its mask is an empty file or a broken link"}
    assert [(s.where, s.what) for s in report.skips if s.what == "file"] == [
        ("masks/a.png", "file")
    ]


@pytest.mark.parametrize("scale", [0.5, 2, 0.37])
def test_a_mask_of_the_same_shape_is_scaled(tmp_path: Path, scale: float) -> None:
    save(tmp_path / "images/a.png", np.full((120, 160), 9, np.uint8))
    large = np.kron(square(), np.ones((2, 2), np.uint8))
    size = (round(160 * scale), round(120 * scale))
    save(tmp_path / "masks/a.png", cv2.resize(large, size, interpolation=cv2.INTER_NEAREST_EXACT))
    areas, _, _ = read(tmp_path)
    assert abs(areas["a"]["mine"] - 4 * AREA) < 140


@pytest.mark.parametrize(
    "shape", [(WIDTH, HEIGHT), (64, 64), (HEIGHT, WIDTH // 2), (HEIGHT + 5, WIDTH)]
)
def test_a_mask_of_another_shape_is_not_stretched(tmp_path: Path, shape: tuple[int, int]) -> None:
    write(tmp_path, {"b.png": square()})
    save(tmp_path / "images/a.png", np.full((HEIGHT, WIDTH), 9, np.uint8))
    values = np.zeros(shape, np.uint8)
    values[5:10, 5:10] = 255
    save(tmp_path / "masks/a.png", values)
    areas, left, _ = read(tmp_path)
    assert list(areas) == ["b"]
    assert (
        f"its mask has {shape[1]} × {shape[0]} pixels, and the image {WIDTH} × {HEIGHT}"
        in left["images/a.png"]
    )


def test_a_turned_image_needs_a_turned_mask(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    stored = Image.fromarray(np.full((HEIGHT, WIDTH), 90, np.uint8))
    save(tmp_path / "images/a.jpg", stored, exif=exif)
    save(tmp_path / "images/b.jpg", stored, exif=exif)
    save(tmp_path / "masks/a.png", square())
    save(tmp_path / "masks/b.png", square().T)
    areas, left, _ = read(tmp_path)
    assert areas == {"b": {"mine": AREA}}
    assert "EXIF" in left["images/a.jpg"]


@given(
    values=st.lists(st.integers(1, 255), min_size=1, max_size=4, unique=True),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
@settings(max_examples=25, deadline=None)
def test_no_region_of_a_mask_is_lost(values: list[int], dtype: Any) -> None:
    """Whatever the values: each region becomes an object of its size, or is refused."""
    import tempfile

    mask = np.zeros((HEIGHT, WIDTH), dtype)
    for index, value in enumerate(values):
        mask[10:20, 5 + 15 * index : 15 + 15 * index] = value
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), {"a.png": mask})
        areas, _, _ = read(Path(name))
    expected = len(values) - (255 in values and len(values) > 1 and sorted(values)[-2] <= 64)
    assert list(areas["a"].values()) == [100] * expected


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_damaged_masks_are_refused_in_a_sentence(data: bytes) -> None:
    out = io.BytesIO()
    Image.fromarray(square()).save(out, "PNG")
    from ultrasam.errors import ScanError

    with pytest.raises(ScanError):
        decode_mask(out.getvalue()[:60] + data, "a.png")
