"""`ultrasam predict --format`: masks of all frames together, and masks to go on from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.images.files import picture
from tests.images.segmentations import write_dicom
from ultrasam.images.mask_reading import read_masks
from ultrasam.images.masks import decode_rle
from ultrasam.images.reading import read_scan
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.load import load_model

Run = Callable[..., int]
RANDOM = ("--model", "random:nano+no-tta", "--device", "cpu")
BOXES = ("--box", "10,10,40,40", "--box", "45,20,75,60")


def entries_of(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "predictions.json").read_text())
    return found


def test_every_format_holds_the_masks_of_predictions_json(ultrasam: Run, tmp_path: Path) -> None:
    source, out = write_dicom(tmp_path / "a.dcm", 3), tmp_path / "out"
    formats = [
        f for one in ("png", "coco", "yolo", "nifti", "seg", "sr", "csv") for f in ("--format", one)
    ]
    assert ultrasam("predict", source, *BOXES, *RANDOM, "--frame", "all", *formats, "-o", out) == 0
    scan, entries = read_scan(source), entries_of(out)
    assert len(entries) == 6
    seg = read_masks(out / "a_seg.dcm", scan)
    assert seg.names == ("object 0", "object 1")
    for entry in entries:
        mask = decode_rle(entry["segmentation"])  # type: ignore[arg-type]
        assert np.array_equal(seg.masks(int(entry["frame"]))[int(entry["object"])], mask)  # type: ignore[call-overload]
        assert np.array_equal(np.asarray(Image.open(out / str(entry["mask"]))) > 0, mask)
    with (out / "a_masks.csv").open() as opened:
        assert len(list(csv.DictReader(opened))) == 6
    assert pydicom.dcmread(out / "a_sr.dcm").Modality == "SR"
    assert len(list((out / "labels").iterdir())) == 3
    written = sorted(out.glob("a_masks*.nii.gz"))
    assert nib.load(written[0]).shape == (86, 64, 1, 3)
    expected = weights_hash(load_model("random:nano", device="cpu"))
    assert {entry["weights"] for entry in entries} == {expected}


def test_only_what_is_asked_for_is_written_and_overwrite_removes_it(
    ultrasam: Run, tmp_path: Path
) -> None:
    source, out = write_dicom(tmp_path / "a.dcm", 2), tmp_path / "out"
    run = ("predict", source, *BOXES, *RANDOM, "-o", out)
    assert ultrasam(*run, "--format", "seg", "--format", "yolo") == 0
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "a_frame_0_overlay.png", "a_seg.dcm", "a_frame_0.txt", "yolo.yaml",
    }  # fmt: skip
    assert ultrasam(*run, "--format", "csv") == 1
    assert ultrasam(*run, "--format", "csv", "--overwrite") == 0
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "a_frame_0_overlay.png", "a_masks.csv",
    }  # fmt: skip


def test_dicom_formats_of_other_sources_are_refused_in_one_sentence(
    ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    out = tmp_path / "out"
    assert (
        ultrasam("predict", tmp_path / "a.png", *BOXES, *RANDOM, "--format", "seg", "-o", out) == 1
    )
    error = capsys.readouterr().err
    assert "DICOM-SEG refers to a DICOM image, which" in error
    assert "use nifti, coco or png instead" in error


def test_a_format_that_does_not_exist_is_refused(
    ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("predict", tmp_path / "a.png", *BOXES, "--format", "gif") == 2
    assert "'gif' is not one of png, coco, yolo, nifti, seg, sr, csv" in capsys.readouterr().err


def test_masks_that_were_written_are_prompts_of_the_next_run(ultrasam: Run, tmp_path: Path) -> None:
    source, out = write_dicom(tmp_path / "a.dcm", 3), tmp_path / "out"
    y, x = np.mgrid[0:64, 0:86]
    disc = ((x - 40) ** 2 + (y - 30) ** 2 < 200).astype(np.uint8)
    labels = np.zeros((86, 64, 1, 3), np.uint8)
    labels[:, :, 0, 1], labels[:, :, 0, 2] = disc.T, 2 * disc.T
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "m.nii.gz")
    assert ultrasam("predict", source, "--masks", tmp_path / "m.nii.gz", *RANDOM, "-o", out) == 0
    first, second = entries_of(out)
    assert (first["frame"], first["object"], first["category"]) == (1, 0, "object 1")
    assert (second["frame"], second["object"], second["category"]) == (2, 1, "object 2")
    assert first["prompt"] == {"box": [26.0, 16.0, 55.0, 45.0], "mask": True}


def test_masks_of_another_image_are_refused(
    ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_dicom(tmp_path / "a.dcm", 2)
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "m.png")
    assert ultrasam("predict", source, "--masks", tmp_path / "m.png", *RANDOM) == 1
    assert "m.png holds 1 frames of 20 × 20 pixels, but" in capsys.readouterr().err
    two = ("predict", source, tmp_path / "m.png", "--masks", tmp_path / "m.png", *RANDOM)
    assert ultrasam(*two) == 1
    assert "--masks FILE is of one image; 2 are given" in capsys.readouterr().err
