"""NIfTI, COCO, YOLO, CSV and PNG: what other tools read is what was segmented."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from tests.images.files import picture
from tests.images.segmentations import HEIGHT, WIDTH, same, segmentation, write_dicom
from ultrasam.errors import DataError
from ultrasam.images.mask_reading import read_masks
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.images.writing.coco import write_coco
from ultrasam.images.writing.formats import PATTERNS, MaskFormat, write_masks
from ultrasam.images.writing.nifti import write_nifti
from ultrasam.images.writing.outlines import outlines
from ultrasam.images.writing.segmentation import Provenance, Segmentation
from ultrasam.images.writing.table import write_table

FRAMES = 7
BOTH = pytest.mark.parametrize("frames", [1, FRAMES])


def label_maps(result: Segmentation) -> np.ndarray:
    labels = np.zeros((result.scan.num_frames, result.scan.height, result.scan.width), int)
    for frame, number, mask in result:
        labels[frame][mask] = number + 1
    return labels


@BOTH
def test_nibabel_and_simpleitk_read_the_labels_of_each_frame(frames: int, tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", frames))
    (path,) = write_nifti(tmp_path / "m.nii.gz", result)
    expected = label_maps(result)
    image = nib.load(path)
    assert np.array_equal(np.asarray(image.dataobj).T.reshape(expected.shape), expected)
    read = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(read).reshape(expected.shape), expected)
    assert read.GetSize() == ((WIDTH, HEIGHT) if frames == 1 else (WIDTH, HEIGHT, 1, FRAMES))


def test_the_nifti_of_a_cine_states_distances_and_no_position(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    (path,) = write_nifti(tmp_path / "m.nii.gz", result)
    header = nib.load(path).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_zooms() == pytest.approx((0.5, 1.0, 1.0, 0.04))  # columns, rows, -, time
    assert sitk.ReadImage(str(path)).GetSpacing() == pytest.approx((0.5, 1.0, 1.0, 0.04))


def test_the_nifti_of_an_uncalibrated_image_states_no_unit(tmp_path: Path) -> None:
    Image.fromarray(picture(30, 40)).save(tmp_path / "a.png")
    scan = read_scan(tmp_path / "a.png")
    masks = MaskSequence.of({0: np.ones((1, 30, 40), bool)}, num_frames=1, names=["a"])
    (path,) = write_nifti(tmp_path / "m.nii.gz", Segmentation(scan, masks, Provenance("nano")))
    assert nib.load(path).header.get_xyzt_units() == ("unknown", "unknown")
    assert read_scan(path).spacing is None


def test_objects_that_overlap_get_a_nifti_each(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES), overlap=True)
    paths = write_nifti(tmp_path / "m.nii.gz", result)
    assert [path.name for path in paths] == ["m_0.nii.gz", "m_1.nii.gz"]
    for number, path in enumerate(paths):
        labels = np.asarray(nib.load(path).dataobj)[:, :, 0].T
        expected = np.stack([result.masks.masks(frame)[number] for frame in range(FRAMES)])
        assert np.array_equal(labels, expected)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii.gz"])
def test_the_masks_of_a_volume_keep_its_geometry(suffix: str, tmp_path: Path) -> None:
    volume = sitk.GetImageFromArray(np.stack([picture(30, 40)] * 5))
    volume.SetSpacing((0.4, 0.6, 1.5))
    volume.SetOrigin((3.0, -7.0, 11.0))
    volume.SetDirection((0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    sitk.WriteImage(volume, str(tmp_path / f"v{suffix}"))
    scan = read_scan(tmp_path / f"v{suffix}")
    mask = np.zeros((5, 1, 30, 40), bool)
    mask[2, 0, 5:9, 20:33] = True
    masks = MaskSequence.of(dict(enumerate(mask)), num_frames=5, names=["a"])
    (path,) = write_nifti(tmp_path / "m.nii.gz", Segmentation(scan, masks, Provenance("nano")))
    labels = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(labels), mask[:, 0])
    source = sitk.ReadImage(str(tmp_path / f"v{suffix}"))
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        found, expected = getattr(labels, get)(), getattr(source, get)()
        assert found == pytest.approx(expected, abs=1e-5), get


def _write(result: Segmentation, one: MaskFormat, folder: Path) -> list[Path]:
    return write_masks(folder, "r", result, [one])[0]


@BOTH
@pytest.mark.parametrize("one", [MaskFormat.nifti, MaskFormat.coco, MaskFormat.seg])
def test_what_is_written_is_read_back(one: MaskFormat, frames: int, tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", frames))
    (path,) = _write(result, one, tmp_path)
    back = read_masks(path, result.scan)
    assert same(back, result.masks)
    assert back.names == result.masks.names


def test_a_png_is_read_back(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", 1))
    first, _ = _write(result, MaskFormat.png, tmp_path)
    back = read_masks(first, result.scan)
    assert np.array_equal(back.masks(0)[0], result.masks.masks(0)[0])


def test_an_image_of_masks_has_an_object_for_each_value_or_color(tmp_path: Path) -> None:
    scan = Scan.from_array(picture(HEIGHT, WIDTH))
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[:10], colors[20:30] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(colors).save(tmp_path / "colors.png")
    back = read_masks(tmp_path / "colors.png", scan)
    assert back.names == ("object #0000ff", "object #ff0000")
    assert np.array_equal(back.masks(0)[1], colors[..., 0] > 0)


def test_a_picture_is_not_taken_for_masks(tmp_path: Path) -> None:
    """A JPEG's mask would become an object for each of the values that compression mixes in."""
    scan = Scan.from_array(picture(HEIGHT, WIDTH))
    Image.fromarray(picture(HEIGHT, WIDTH)).save(tmp_path / "picture.png")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.jpg")
    with pytest.raises(DataError, match=r"picture\.png is of \d+ values, not a mask; save each"):
        read_masks(tmp_path / "picture.png", scan)
    with pytest.raises(DataError, match=r"mask\.jpg is a JPEG, whose values are inexact"):
        read_masks(tmp_path / "mask.jpg", scan)


def test_a_coco_data_set_is_read(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", 1))
    encoded = coco_mask.encode(np.asfortranarray(result.masks.masks(0)[0].astype(np.uint8)))
    entry = {
        "image_id": 9, "category_id": 3,
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
    }  # fmt: skip
    other = {**entry, "image_id": 8}
    content = {
        "images": [{"id": 9, "file_name": "x/a.dcm"}, {"id": 8, "file_name": "b.dcm"}],
        "categories": [{"id": 3, "name": "cyst"}],
        "annotations": [entry, other],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    back = read_masks(tmp_path / "c.json", result.scan)
    assert back.names == ("cyst",)
    assert np.array_equal(back.masks(0), result.masks.masks(0)[:1])


def test_masks_that_cannot_be_the_scans_are_refused(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    (nifti,) = _write(result, MaskFormat.nifti, tmp_path)
    other = Scan.from_array(picture(HEIGHT, WIDTH))
    with pytest.raises(DataError, match=r"holds 7 frames of 86 × 64 pixels, but the scan has 1"):
        read_masks(nifti, other)
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"holds no mask: all its pixels are 0"):
        read_masks(tmp_path / "empty.png", other)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"neither a COCO file nor a list of COCO results"):
        read_masks(tmp_path / "x.json", other)
    (coco,) = _write(result, MaskFormat.coco, tmp_path)
    with pytest.raises(DataError, match="which the scan does not have"):
        read_masks(coco, other)
    with pytest.raises(DataError, match=r"7 frames of 86 × 64 pixels, but the scan has 1"):
        Segmentation(other, result.masks, result.provenance)


def test_pycocotools_reads_the_masks_of_a_results_file(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    write_coco(tmp_path / "c.json", result)
    entries = json.loads((tmp_path / "c.json").read_text())
    assert len(entries) == 2 * len(result.masks.frames)
    for entry in entries:
        mask = coco_mask.decode(entry["segmentation"]).astype(bool)
        assert np.array_equal(mask, result.masks.masks(entry["frame"])[entry["object"]])
        assert entry["weights"] == "ab" * 32
    assert entries[0]["score"] == 0.91
    assert entries[0]["prompt"] == {"box": [10.0, 15.0, 30.0, 35.0]}


def test_yolo_outlines_are_the_masks(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    _write(result, MaskFormat.yolo, tmp_path)
    names = yaml.safe_load((tmp_path / "yolo.yaml").read_text())["names"]
    assert names == {0: "ventricle", 1: "atrium"}
    assert (tmp_path / "labels" / "r_frame_1.txt").read_text() == ""
    assert not (tmp_path / "labels" / "r_frame_4.txt").exists()  # not segmented
    rows = (tmp_path / "labels" / "r_frame_3.txt").read_text().splitlines()
    for number, row in enumerate(rows):
        category, *numbers = row.split()
        assert names[int(category)] == result.categories[number]
        points = np.array(numbers, float).reshape(-1, 2) * (WIDTH, HEIGHT)
        found = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(found, [points.astype(np.int32)], 1)  # as Ultralytics fills them
        assert np.array_equal(found > 0, result.masks.masks(3)[number])


def test_the_table_has_a_row_for_each_object_in_each_frame(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    write_table(tmp_path / "t.csv", result)
    with (tmp_path / "t.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 2 * len(result.masks.frames)
    for row in rows:
        mask = result.masks.masks(int(row["frame"]))[int(row["object"])]
        assert int(row["area_pixels"]) == mask.sum()
        assert float(row["time_s"]) == pytest.approx(0.04 * int(row["frame"]))
        assert (row["area [mm2]"] == "") == (not mask.any())
        if mask.any():
            assert float(row["area [mm2]"]) == pytest.approx(mask.sum() * 0.5 * 1.0)
        assert (row["model"], row["weights"]) == ("nano", "ab" * 32)
    assert rows[0]["predicted_iou"] == "0.91"


def test_a_png_says_what_made_it(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", 1))
    first, _ = _write(result, MaskFormat.png, tmp_path)
    told = json.loads(Image.open(first).info["ultrasam"])
    assert told["weights"] == "ab" * 32
    assert told["prompt"] == {"box": [10.0, 15.0, 30.0, 35.0]}


def test_what_is_written_matches_the_patterns(tmp_path: Path) -> None:
    """So that --overwrite removes it."""
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    written, _ = write_masks(tmp_path / "out", "r", result, list(MaskFormat))
    found = {path for pattern in PATTERNS for path in (tmp_path / "out").glob(pattern)}
    assert set(written) == found == {p for p in (tmp_path / "out").rglob("*") if p.is_file()}


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_outlines_surround_all_parts_of_a_mask(mask: np.ndarray) -> None:
    found = outlines(mask)
    count = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    assert len(found) <= int(sitk.GetArrayFromImage(count).max(initial=0))
    assert (len(found) > 0) == mask.any()
    for outline in found:
        assert len(outline) >= 3
        assert outline.min() >= 0
        assert (outline <= (mask.shape[1], mask.shape[0])).all()
