"""The data sets beyond the 43: what does not fit is left out with a reason, and is never read wrongly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import disc, gray, picture, save
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.file_tree import Skip
from ultrasam.datasets.others.cubs import thickness
from ultrasam.errors import DataError
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.store import Store


def read(name: str, root: Path) -> tuple[list[AnnotatedImage], list[Skip]]:
    skips: list[Skip] = []
    return list(dataset(name).images(root, skipped=skips.append)), skips


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("busi_whu", "00099.bmp", "values instead of 0 and another one"),
        ("psfhs", "09999.mha", "values that are not known (3); known are 0, 1, 2"),
        ("jnu_ifm", "20190916T104520_90.png", "values that are not known (255); known are 0, 7, 8"),
        ("focus", "testing/images/002.png", "not one mask of the heart and one of the thorax"),
        ("cubs", "clin_0003_R.tiff", "image without a mask"),
        ("luminous", "9_1_Bmode.tif", "values instead of 0 and another one"),
        ("pu2756", "0999.png", "values instead of 0 and another one"),
    ],
)
def test_what_does_not_fit_is_left_out_with_a_reason(
    name: str, image: str, reason: str, tmp_path: Path
) -> None:
    truths = MAKERS[name](tmp_path)
    images, skips = read(name, tmp_path)
    assert len(images) == len(truths)
    left = [skip for skip in skips if skip.what == "image"]
    assert len(left) == 1
    assert left[0].where.endswith(image)
    assert reason in left[0].reason


def test_the_split_of_busi_whu_is_that_of_the_folders(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        save(tmp_path / part / "images" / f"{part}1.png", picture(1))
        save(tmp_path / part / "masks" / f"{part}1.png", gray(disc(40, 30, 9)))
    save(tmp_path / "img" / "00001.bmp", picture(2))
    save(tmp_path / "gt" / "00001_anno.bmp", gray(disc(40, 30, 9)))
    images, _ = read("busi_whu", tmp_path)
    assert [image.split for image in images] == [None, "test", "train", "val"]


def test_a_video_of_jnu_ifm_without_its_table_is_read_without_classes(tmp_path: Path) -> None:
    truths = MAKERS["jnu_ifm"](tmp_path)
    table = next(tmp_path.rglob("frame_label.csv"))
    table.write_text("frame,kind\n1,2\n")
    images, skips = read("jnu_ifm", tmp_path)
    assert len(images) == len(truths)
    of_video = [image for image in images if table.parent.name in image.source]
    assert of_video
    assert all(image.class_label is None for image in of_video)
    assert any("has no column 'frame_id'" in skip.reason for skip in skips)


@pytest.mark.parametrize("line", ["1 2 3 cardiac", "1 2 x 4 5 cardiac", "1 2 3 4 5 liver"])
def test_a_line_that_is_no_ellipse_costs_focus_the_measurements_alone(
    line: str, tmp_path: Path
) -> None:
    MAKERS["focus"](tmp_path)
    file = next((tmp_path / "FOCUS" / "training").rglob("annfiles_ellipse/*.txt"))
    file.write_text(line)
    images, skips = read("focus", tmp_path)
    assert [bool(image.measurements) for image in images] == [True, False, True]
    told = [skip for skip in skips if skip.what == "annotation"]
    assert [line in skip.reason for skip in told] == [True]


# Boundaries of CUBS


def boundary_files(root: Path) -> tuple[Path, Path]:
    folder = next(root.rglob("Manual-A1"))
    return folder / "clin_0001_L-LI.txt", folder / "clin_0001_L-MA.txt"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 2\n3 4\n", "2 × 2 numbers"),  # rows or columns?
        ("1 2 3\n4 5 6\n7 8 9\n", "3 × 3 numbers"),
        ("10 20\n11\n", "not a table of numbers"),
        ("10 a\n11 20\n12 20\n", "not a table of numbers"),
        ("", "empty"),
        ("10 20\n20 20\n999 20\n", "leaves the image"),
        ("10 50\n20 50\n30 50\n", "does not lie above"),
    ],
)
def test_a_boundary_that_cannot_be_certain_leaves_the_image_out(
    text: str, reason: str, tmp_path: Path
) -> None:
    MAKERS["cubs"](tmp_path)
    boundary_files(tmp_path)[0].write_text(text)
    images, skips = read("cubs", tmp_path)
    assert len(images) == 2
    assert any(reason in skip.reason for skip in skips), [str(skip) for skip in skips]


def test_an_image_of_cubs_without_a_pixel_size_has_a_mask_and_no_millimeters(
    tmp_path: Path,
) -> None:
    MAKERS["cubs"](tmp_path)
    next(tmp_path.rglob("clin_0001_L_CF.txt")).unlink()
    images, skips = read("cubs", tmp_path)
    assert [image.spacing is None for image in images] == [True, False, False]
    assert [bool(image.measurements) for image in images] == [False, True, True]
    assert images[0].structures == ("intima_media",)
    told = [skip for skip in skips if skip.what == "annotation"]
    assert [skip.reason for skip in told] == ["image without a pixel size"]


def test_the_technical_part_of_cubs_is_read_too(tmp_path: Path) -> None:
    base = tmp_path / "DATASET_CUBS_tech"
    save(base / "images" / "tech_401.tiff", picture(1))
    x = np.arange(5.0, 70.0, 5)
    (base / "LIMA-Profiles" / "Manual-A1").mkdir(parents=True)
    (base / "LIMA-Profiles-interpolated" / "Manual-A1").mkdir(parents=True)
    (base / "CF").mkdir()
    (base / "CF" / "tech_401_CF.txt").write_text("0.05")
    for what, y in (("LI", 20.0), ("MA", 30.0)):
        points = np.stack([x, np.full_like(x, y)])
        np.savetxt(base / "LIMA-Profiles" / "Manual-A1" / f"tech_401-{what}.txt", points)
        other = base / "LIMA-Profiles-interpolated" / "Manual-A1" / f"tech_401-{what}.txt"
        np.savetxt(other, points + 9)
    (image,) = read("cubs", tmp_path)[0]
    assert image.subject == "tech_401"
    assert image.measurements == pytest.approx({"intima_media_thickness_mm": 0.5})
    assert image.mask(0).sum() == 10 * 60


def by_brute_force(first: np.ndarray, second: np.ndarray) -> float:
    """The distance from each point to the nearest of many points along the other boundary."""
    low, high = max(first[0, 0], second[0, 0]), min(first[-1, 0], second[-1, 0])
    found: list[float] = []
    for points, other in ((first, second), (second, first)):
        steps = np.linspace(0, len(other) - 1, 4000)
        dense = [np.interp(steps, np.arange(len(other)), other[:, axis]) for axis in (0, 1)]
        line = np.stack(dense, axis=1)
        for point in points:
            if low <= point[0] <= high:
                found.append(float(np.linalg.norm(line - point, axis=1).min()))
    return float(np.mean(found))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_the_thickness_is_the_mean_distance_of_each_point_to_the_other_boundary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boundaries = []
    for depth in (20.0, 30.0):
        x = np.sort(rng.uniform(0, 100, int(rng.integers(5, 30))))
        boundaries.append(np.stack([x, depth + rng.normal(0, 2, len(x))], axis=1))
    first, second = boundaries
    assert thickness(first, second) == pytest.approx(by_brute_force(first, second), abs=0.02)
    assert thickness(second, first) == pytest.approx(thickness(first, second))


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_the_thickness_between_parallel_lines_is_their_perpendicular_distance(
    slope: float,
) -> None:
    x = np.linspace(0, 1000, 200)
    upper = np.stack([x, slope * x], axis=1)
    lower = np.stack([x, slope * x + 5], axis=1)
    assert thickness(upper, lower) == pytest.approx(5 / np.hypot(1, slope), rel=0.01)


def test_boundaries_without_a_common_part_have_no_thickness() -> None:
    x = np.arange(5.0)
    first = np.stack([x, x], axis=1)
    with pytest.raises(DataError, match="no part above each other"):
        thickness(first, first + np.array([10.0, 5.0]))


# Real images


@pytest.mark.slow
def test_frames_of_dl_track_that_resemble_each_other_stay_in_one_split(
    shared_data: Path, tmp_path: Path
) -> None:
    sources = [(dataset("dl_track"), shared_data / "train" / "DL_Track")]
    build_store(sources, tmp_path / "store", settings=BuildSettings())
    images = Store.open(tmp_path / "store").images
    assert len(images) == 192
    groups, splits = images["group"].to_pylist(), images["split"].to_pylist()
    assert 5 < len(set(groups)) < 150
    assert len({(group, split) for group, split in zip(groups, splits, strict=True)}) == len(
        set(groups)
    )


@pytest.mark.slow
def test_larger_copies_of_its_images_in_another_data_set_stay_in_its_splits(
    shared_data: Path, tmp_path: Path
) -> None:
    """As FALLMUD's half NeilCronin may be of the same images, at their original size."""
    source = shared_data / "train" / "DL_Track"
    folder = tmp_path / "raw" / "FALLMUD" / "NeilCronin"
    names = sorted(path.name for path in (source / "apo_images").iterdir())[::16]
    for name in names:
        for ours, theirs in (("apo_images", "images"), ("apo_masks", "aponeurosis_masks")):
            pixels = np.asarray(Image.open(source / ours / name).convert("L"))
            height, width = (round(1.45 * size) for size in pixels.shape)
            method = cv2.INTER_CUBIC if ours == "apo_images" else cv2.INTER_NEAREST
            larger = cv2.resize(pixels, (width, height), interpolation=method)
            save(folder / theirs / f"other_{name}", larger)
    sources = [(dataset("dl_track"), source), (dataset("fallmud"), tmp_path / "raw")]
    build_store(sources, tmp_path / "store", settings=BuildSettings())
    table = Store.open(tmp_path / "store").images
    files = [source.rsplit("/", 1)[-1] for source in table["source"].to_pylist()]
    group = dict(zip(files, table["group"].to_pylist(), strict=True))
    assert [group[name] == group[f"other_{name}"] for name in names] == [True] * 12
