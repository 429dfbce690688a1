"""Subjects, splits and pixel sizes that a user states for the images of any format."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.field import damage
from ultrasam.cli import main
from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.custom import coco_file, image_mask_folder, labelme_files, via_files
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.metadata import parse_pixel_size, suggest_subject, with_metadata
from ultrasam.errors import DataError

PATIENTS = ("p1", "p1", "p2", "p2", "p3", "p3")


def patients(folder: Path) -> DatasetSpec:
    for index, patient in enumerate(PATIENTS):
        for kind in ("images", "masks"):
            values = np.zeros((12, 16), np.uint8)
            values[3:8, 3:8] = 1 + index if kind == "images" else 1
            path = folder / kind / f"{patient}_{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return image_mask_folder("mine")


def test_images_of_a_patient_share_the_subject(tmp_path: Path) -> None:
    spec = with_metadata(patients(tmp_path), subject=r"^(p\d+)")
    cases, report = spec.list_cases(tmp_path)
    assert [case.subject for case in cases] == list(PATIENTS)
    assert not any("subject" in note for note in report.notes)


def test_what_looks_like_patients_is_said(tmp_path: Path) -> None:
    cases, report = with_metadata(patients(tmp_path)).list_cases(tmp_path)
    assert {case.subject for case in cases} == {None}
    assert report.notes[-1] == (
        "Each image counts as a subject of its own. If p1, p2, p3 in their paths are patients (3 of them), "
        r"add --subject '^(p\d+)'; otherwise one patient may be in several splits."
    )


def test_a_subject_in_two_spellings_is_one(tmp_path: Path) -> None:
    damage.write(
        {f"images/{n}.png": damage.picture(9) for n in ("P1_a", "p1_b")}
        | {f"masks/{n}.png": damage.mask() for n in ("P1_a", "p1_b")},
        tmp_path,
    )
    cases, _ = with_metadata(image_mask_folder("own"), subject=r"(?i)(p\d+)_").list_cases(tmp_path)
    assert [case.subject for case in cases] == ["P1", "P1"]


@pytest.mark.parametrize(
    ("paths", "expression", "count"),
    [
        (["images/p1_0.png", "images/p1_1.png", "images/p2_0.png"], r"^(p\d+)", 2),
        (["P01-a.png", "P01-b.png", "P02-a.png"], r"(?i)^(p\d+)", 2),
        (["patient 1 a.png", "patient 1 b.png", "patient 2.png"], r"^(patient[ _-]\d+)", 2),
        (["ana_1.png", "ana_2.png", "bob_1.png"], r"([^/]+)[ _-]\d+\.", 2),
        (["ana/images/1.png", "ana/images/2.png", "bob/images/1.png"], "^([^/]+)/", 2),
        (["images/ana/1.png", "images/ana/2.png", "images/bob/1.png"], "^[^/]+/([^/]+)/", 2),
        (["images/a.png", "images/b.png", "images/c.png"], None, 0),
        (["train/images/a.png", "train/images/b.png", "val/images/c.png"], None, 0),
        (["images/img_1.png", "images/img_2.png", "images/img_3.png"], None, 0),
    ],
)  # fmt: skip
def test_a_suggested_expression_fits(paths: list[str], expression: str | None, count: int) -> None:
    found = suggest_subject(paths)
    assert (found[0] if found else None) == expression
    assert len(found[1] if found else ()) == count


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("subject", r"^(q\d+)", "--subject finds nothing in 6 of 6 paths, for example 'images/p1_0.png'"),
        ("subject", r"^(p[12])_", "--subject finds nothing in 2 of 6 paths"),
        ("split", r"^(p\d+)", "--split-from finds 'p1', which is not one of train, val, test"),
    ],
)  # fmt: skip
def test_an_expression_that_does_not_fit_is_refused(
    tmp_path: Path, option: str, value: str, message: str
) -> None:
    spec = with_metadata(patients(tmp_path), **{option: value})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        spec.list_cases(tmp_path)


def test_a_malformed_expression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a regular expression"):
        with_metadata(patients(tmp_path), subject="(p")


def test_splits_come_from_folders(tmp_path: Path) -> None:
    for part in ("train", "valid", "Testing"):
        patients(tmp_path / part)
    spec = with_metadata(image_mask_folder("mine"), split=r"^(\w+)/")
    cases, _ = spec.list_cases(tmp_path)
    assert {case.key.split("/")[0]: case.split for case in cases} == {
        "train": "train", "valid": "val", "Testing": "test",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"), [("0.1", (0.1, 0.1)), ("0.1,0.2", (0.1, 0.2)), (" 1 , 2 ", (1.0, 2.0))]
)
def test_pixel_sizes(text: str, size: tuple[float, float]) -> None:
    assert parse_pixel_size(text) == size


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "nan", "inf", "100", "1,2,3", "0,1"])
def test_wrong_pixel_sizes_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="--pixel-size"):
        parse_pixel_size(text)


@pytest.mark.parametrize(
    ("files", "spec"),
    [
        (damage.coco, coco_file), (damage.via, via_files), (damage.labelme, labelme_files),
        (damage.masks, image_mask_folder),
    ],
)  # fmt: skip
def test_all_formats_take_them(
    files: type[damage.coco],
    spec: type[coco_file],
    tmp_path: Path,  # type: ignore[valid-type]
) -> None:
    damage.write(files(), tmp_path)
    stated = with_metadata(spec("own"), subject=r"([^/.]+)\.png$", pixel_size=(0.1, 0.2))
    cases, _ = stated.list_cases(tmp_path)
    assert {case.subject for case in cases} == set(damage.NAMES)
    images = [image for case in cases for image in case.images() if isinstance(image, CaseImage)]
    assert [image.spacing for image in images] == [(0.1, 0.2)] * 4


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patients(tmp_path / "my")

    def run(*options: str) -> tuple[object, str, str]:
        arguments = [
            "data",
            "import",
            str(tmp_path / "my"),
            "--name",
            "mine",
            "-o",
            str(tmp_path / "store"),
        ]
        monkeypatch.setattr(sys, "argv", ["ultrasam", *arguments, "--workers", "0", *options])
        with pytest.raises(SystemExit) as stop:
            main.run()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    status, out, _ = run("--format", "masks")
    assert not status
    assert "    Masks: value 1 is mine (6 masks).\n" in out
    assert "Each image counts as a subject of its own." in out
    status, out, _ = run(
        "--format", "masks", "--labels", "1=cyst", "--subject", r"^(p\d+)", "--pixel-size", "0.1"
    )
    assert not status
    assert "Store: 6 images (6 train), 6 instances, 3 subjects\n" in out
    manifest = json.loads((tmp_path / "store/manifest.json").read_text())
    assert manifest["subjects"] == 3
    for options, message in (
        (("--format", "coco", "--labels", "1=cyst"), "--labels applies to --format masks"),
        (("--format", "masks", "--labels", "1=a", "--structure", "b"), "not both"),
        (("--format", "masks", "--labels", "1:a"), "write VALUE=NAME"),
        (("--format", "masks", "--labels", "7=cyst"), "the masks have 1"),
        (("--format", "masks", "--subject", "("), "not a regular expression"),
    ):
        status, _, err = run(*options)
        assert status == 1
        assert message in err


def test_another_folder_of_the_same_name_does_not_replace_the_first_in_silence(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    patients(tmp_path / "my")
    damage.write({f"{n}/z.png": damage.mask() for n in ("images", "masks")}, tmp_path / "other")
    options = ("--format", "masks", "--name", "mine", "-o", tmp_path / "store", "--workers", 0)
    assert ultrasam("data", "import", tmp_path / "my", *options) == 0
    assert "no longer" not in capsys.readouterr().err
    assert ultrasam("data", "import", tmp_path / "my", *options) == 0
    assert "no longer" not in capsys.readouterr().err
    assert ultrasam("data", "import", tmp_path / "other", *options) == 0
    told = capsys.readouterr()
    assert "mine: 6 images of the earlier build are no longer in the store" in told.err
    assert "mine: 1 image\n" in told.out
    assert "Store: 1 image (1 train), 1 instance, 1 subject\n" in told.out
    (tmp_path / "none").mkdir()
    assert ultrasam("data", "import", tmp_path / "none", *options) == 1
    told = capsys.readouterr()
    assert "mine: 1 image" not in told.out
    assert (
        "1 data set could not be built. The store still has mine of an earlier build." in told.err
    )
    options = ("--format", "masks", "--name", "second", *options[4:])
    assert ultrasam("data", "import", tmp_path / "my", *options) == 0
    told = capsys.readouterr().out
    assert "second: 6 images\n" in told
    assert "mine: " not in told  # not read now


def test_splits_in_folders_are_mentioned_unless_they_are_read(tmp_path: Path) -> None:
    for split in ("Train", "val"):
        for name in ("1", "2"):
            for kind in ("images", "masks"):
                path = tmp_path / split / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = np.zeros((20, 30), np.uint8)
                values[5:9, 5:9] = 255
                Image.fromarray(values).save(path)
    expression = "(?:^|/)(Train|val)/"
    _, report = with_metadata(image_mask_folder("mine")).list_cases(tmp_path)
    assert (
        f"No image has a split; to keep those of the folders Train, val, use --split-from '{expression}'."
    ) in report.notes
    spec = with_metadata(image_mask_folder("mine"), split=expression)
    cases, report = spec.list_cases(tmp_path)
    assert [case.split for case in cases] == ["train", "train", "val", "val"]
    assert not any("--split-from" in note for note in report.notes)
