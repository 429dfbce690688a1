"""`ultrasam measure` as a user meets it: numbers with units, and a sentence for all that is wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.sequence import Sequence

from tests.images.files import dicom_bytes
from tests.measure.test_calibration import region
from tests.shapes import ellipse_mask
from ultrasam.cli.measure import measure
from ultrasam.measure.kinds import KINDS
from ultrasam.phantom.acquisition import simulate

Run = Callable[..., int]
SIZE = (200, 260)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(simulate(3, size=SIZE).pixels).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "m.png"
    oval, _ = ellipse_mask(60, 40, 0.3)
    whole = np.zeros(SIZE, np.uint8)
    whole[20 : 20 + oval.shape[0], 30 : 30 + oval.shape[1]] = 255 * oval
    Image.fromarray(whole).save(path)
    return path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "measurements.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_mask_is_measured_in_mm_with_a_pixel_size_and_else_in_pixels(
    ultrasam: Run, picture: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("measure", picture, "--mask", mask, "--kind", "head")
    assert ultrasam(*line, "--pixel-size", "0.5", "-o", tmp_path / "mm") == 0
    shown = capsys.readouterr()
    assert "head circumference" in shown.out
    assert "158." in shown.out
    assert shown.err == ""
    (first, *_) = rows_of(tmp_path / "mm")
    assert (first["unit"], first["calibration"], first["low"]) == ("mm", "as stated", "")
    assert float(first["value"]) == pytest.approx(158.65, rel=0.005)
    assert ultrasam(*line, "-o", tmp_path / "px") == 0
    assert (
        "measured in pixels, taken for square: the file states no pixel spacing."
        in capsys.readouterr().err
    )
    (first, *_) = rows_of(tmp_path / "px")
    assert (first["unit"], first["row_spacing"]) == ("px", "")
    assert float(first["value"]) == pytest.approx(317.3, rel=0.005)
    assert ultrasam(*line, "-o", tmp_path / "px") == 1
    assert "holds the results of an earlier run" in capsys.readouterr().err
    assert ultrasam(*line, "-o", tmp_path / "px", "--overwrite", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["results"][0]["measurements"][0]["quantity"] == "head circumference"
    assert content["results"][0]["calibrations"][0]["spacing_mm"] is None


def test_a_prompted_image_is_measured_with_the_doubt_of_the_border(
    ultrasam: Run, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ("measure", picture, "--box", "60,40,180,150", "--no-tta", "--pixel-size", "0.2,0.3")
    assert ultrasam(*line, "-o", out) == 0
    assert " ± " in capsys.readouterr().out
    rows = rows_of(out)
    assert {row["model"] for row in rows} == {"nano"}
    assert {len(row["weights"]) for row in rows} == {64}
    assert {row["prompts"] for row in rows} == {"--box 60,40,180,150"}
    area = rows[0]
    assert area["quantity"] == "area"
    assert 0 < float(area["low"]) < float(area["value"]) < float(area["high"])
    assert (area["row_spacing"], area["column_spacing"]) == ("0.2", "0.3")
    # The masks of predict, measured, are the same numbers.
    assert ultrasam("predict", *line[1:5], "-o", tmp_path / "masks") == 0
    table = tmp_path / "masks" / "predictions.json"
    again = ("measure", picture, "--mask", table, "--pixel-size", "0.2,0.3", "-o", tmp_path / "2")
    assert ultrasam(*again) == 0
    values = [[row["value"] for row in found] for found in (rows, rows_of(tmp_path / "2"))]
    assert values[0] == values[1]


def test_dicom_with_two_regions_is_measured_in_mm_within_one_only(
    ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.dcm"
    regions = Sequence([region(0.02, (0, 0, 120, 200)), region(0.03, (130, 0, 260, 200))])
    pixels = simulate(3, size=SIZE).pixels
    file.write_bytes(dicom_bytes(pixels, SequenceOfUltrasoundRegions=regions))
    masks = []
    for name, columns in (("left", slice(20, 80)), ("across", slice(80, 180))):
        drawn = np.zeros(SIZE, np.uint8)
        drawn[50:110, columns] = 255
        masks += ["--mask", tmp_path / f"{name}.png"]
        Image.fromarray(drawn).save(masks[-1])
    assert ultrasam("measure", file, *masks, "-o", tmp_path / "out") == 0
    left, across = (
        next(
            r for r in rows_of(tmp_path / "out") if r["object"] == name and r["quantity"] == "area"
        )
        for name in ("left", "across")
    )
    assert (left["unit"], left["calibration"]) == ("mm²", "of ultrasound region 1")
    assert float(left["value"]) == pytest.approx(60 * 0.4 * 60 * 0.2)
    assert (across["unit"], float(across["value"])) == ("px²", 6000)
    assert "it reaches over the ultrasound regions 1 and 2" in capsys.readouterr().err


def test_what_cannot_be_measured_is_told_and_the_status_says_so(
    ultrasam: Run, picture: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.png"
    Image.new("L", SIZE[::-1]).save(empty)
    assert ultrasam("measure", picture, "--mask", empty, "-o", tmp_path / "o") == 1
    told = capsys.readouterr().err
    assert "object empty: The mask is empty, so there is nothing to measure." in told
    assert "Nothing could be measured." in told
    assert not (tmp_path / "o").exists()
    assert ultrasam("measure", picture, "--mask", mask, "--mask", empty, "-o", tmp_path / "o") == 1
    assert len({row["object"] for row in rows_of(tmp_path / "o")}) == 1


def test_mistakes_are_told_before_anything_is_read(
    ultrasam: Run, picture: Path, mask: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line, message in (
        ([picture], "add --mask FILE, --box"),
        ([picture, "--mask", mask, "--box", "1,2,30,40"], "not both"),
        (
            [picture, "--mask", mask, "--kind", "heart"],
            "'heart' is not a kind of structure; use shape",
        ),
        ([picture, "--mask", mask, "--model", "medsam"], "--mask needs no model"),
        (
            [picture, "--mask", mask, "--kind", "head", "--factor", "0.5"],
            "head has no use for --factor",
        ),
        ([picture, "--mask", mask, "--pixel-size", "wide"], "write mm, for example 0.1"),
        ([picture, picture.parent / "b.png", "--mask", mask], "b.png does not exist"),
        ([picture, mask, "--mask", mask], "give one --mask for each image"),
        ([picture, "--mask", mask, "--kind", "prostate"], "2 images (sagittal, transverse)"),
        ([picture, "--mask", mask, "--spacing", "0.1"], "use --pixel-size"),
    ):
        assert ultrasam("measure", *line) != 0
        error = capsys.readouterr().err
        assert message in error, line
        assert error.count("\n") == 1, line


def test_the_help_names_every_kind() -> None:
    from typing import get_type_hints

    hints = get_type_hints(measure, include_extras=True)
    text = hints["kind"].__metadata__[0].help
    assert all(name in text for name in KINDS)


def test_a_cine_has_curves_and_a_later_run_of_one_frame_leaves_none(
    ultrasam: Run, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [Image.fromarray(simulate(seed, size=SIZE).pixels) for seed in range(4)]
    cine, out = tmp_path / "c.tif", tmp_path / "out"
    pages[0].save(cine, save_all=True, append_images=pages[1:])
    line = ("measure", cine, "--box", "60,40,180,150", "--no-tta", "-o", out)
    assert ultrasam(*line, "--frame", "all") == 0
    assert "3 more frames are in the files below." in capsys.readouterr().err
    with (out / "curves.csv").open(encoding="utf-8") as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    assert (out / "curves.png").stat().st_size > 1000
    assert ultrasam(*line, "--frame", "2", "--overwrite") == 0
    assert sorted(path.name for path in out.iterdir()) == ["measurements.csv", "measurements.json"]
    assert {row["frame"] for row in rows_of(out)} == {"2"}


def test_two_planes_are_one_structure_in_ml(
    ultrasam: Run, picture: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "b.png"
    second.write_bytes(picture.read_bytes())
    line = ("measure", picture, second, "--kind", "prostate", "--mask", mask, "--mask", mask)
    assert ultrasam(*line, "--pixel-size", "0.4", "-o", tmp_path / "out") == 0
    (volume, *_) = rows_of(tmp_path / "out")
    assert (volume["quantity"], volume["unit"]) == ("volume", "ml")
    axes = 0.4 * 120, 0.4 * 120, 0.4 * 80
    assert float(volume["value"]) == pytest.approx(np.pi / 6 * np.prod(axes) / 1000, rel=0.01)
    assert ultrasam(*line, "-o", tmp_path / "px") == 1
    assert "prostate needs sizes in mm in every plane" in capsys.readouterr().err
