"""DICOM-SEG and SR: valid, and equal to the masks in every independent reader."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.images.segmentations import HEIGHT, WIDTH, same, segmentation, write_dicom
from ultrasam.errors import DataError
from ultrasam.images.mask_reading import read_masks
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.reading import read_scan
from ultrasam.images.writing.dicom_seg import write_seg
from ultrasam.images.writing.dicom_sr import write_sr
from ultrasam.images.writing.segmentation import Code, Measurement, Provenance, Segmentation

FRAMES = 7
BOTH = pytest.mark.parametrize("frames", [1, FRAMES])


def check_valid(path: Path) -> None:
    """Nothing that the independent validator of dicom3tools calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy, of Debian's dicom3tools, is not installed")
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if line.startswith(("Error", "Warning"))], said
    assert done.returncode == 0


@BOTH
def test_a_segmentation_is_valid(frames: int, tmp_path: Path) -> None:
    write_seg(tmp_path / "seg.dcm", segmentation(write_dicom(tmp_path / "a.dcm", frames)))
    check_valid(tmp_path / "seg.dcm")


def test_a_segmentation_with_empty_frames_is_valid(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    write_seg(tmp_path / "seg.dcm", result, omit_empty_frames=False)
    check_valid(tmp_path / "seg.dcm")
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == 2 * FRAMES
    assert same(read_masks(tmp_path / "seg.dcm", result.scan), result.masks)


def test_highdicom_reads_the_masks_of_a_cine_frame_by_frame(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "a.dcm", FRAMES)
    result = segmentation(source)
    write_seg(tmp_path / "seg.dcm", result)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    pixels = seg.get_pixels_by_source_frame(
        pydicom.dcmread(source).SOPInstanceUID, range(1, FRAMES + 1),
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    for frame in range(FRAMES):
        assert np.array_equal(pixels[frame].transpose(2, 0, 1) > 0, result.masks.masks(frame))
    assert [seg.get_segment_description(n).segment_label for n in (1, 2)] == [
        "left ventricle", "atrium",
    ]  # fmt: skip


def test_highdicom_reads_the_masks_of_a_still(tmp_path: Path) -> None:
    source = write_dicom(tmp_path / "a.dcm", 1)
    result = segmentation(source)
    write_seg(tmp_path / "seg.dcm", result)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    pixels = seg.get_pixels_by_source_instance([pydicom.dcmread(source).SOPInstanceUID])
    assert np.array_equal(pixels[0].transpose(2, 0, 1) > 0, result.masks.masks(0))


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (61, 83), (63, 85)])
def test_pydicom_reads_the_masks_frame_by_frame(size: tuple[int, int], tmp_path: Path) -> None:
    """Also where frames do not begin at a byte."""
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES, size=size), overlap=True)
    write_seg(tmp_path / "seg.dcm", result)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    found = np.zeros((FRAMES, 2, *size), bool)
    groups = seg.PerFrameFunctionalGroupsSequence
    for group, pixels in zip(groups, seg.pixel_array, strict=True):
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[image.ReferencedFrameNumber - 1, number - 1] = pixels > 0
    assert np.array_equal(found, np.stack([result.masks.masks(t) for t in range(FRAMES)]))
    assert same(read_masks(tmp_path / "seg.dcm", result.scan), result.masks)


@BOTH
def test_a_segmentation_read_back_has_the_masks_and_names(frames: int, tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", frames), overlap=True)
    write_seg(tmp_path / "seg.dcm", result)
    back = read_masks(tmp_path / "seg.dcm", result.scan)
    assert same(back, result.masks)
    assert back.names == result.masks.names


def test_a_segmentation_of_another_tool_is_read(tmp_path: Path) -> None:
    """highdicom's own, of a still: with segments that are called otherwise, and as a label map."""
    source = write_dicom(tmp_path / "a.dcm", 1)
    header = pydicom.dcmread(source)
    header.ImageOrientationPatient = None
    masks = segmentation(source).masks.masks(0)
    describe = hd.seg.SegmentDescription
    tissue = pydicom.sr.codedict.codes.SCT.Tissue
    for kind in ("BINARY", "LABELMAP", "FRACTIONAL"):
        pixels = masks.transpose(1, 2, 0)[None]
        seg = hd.seg.Segmentation(
            [header], pixels.astype(np.uint8 if kind != "FRACTIONAL" else np.float32), kind,
            [describe(n, f"part {n}", tissue, tissue, "MANUAL") for n in (1, 2)],
            hd.UID(), 1, hd.UID(), 1, "Maker", "Model", "1", "1",
        )  # fmt: skip
        seg.save_as(tmp_path / "other.dcm")
        back = read_masks(tmp_path / "other.dcm", read_scan(source))
        assert back.names == ("part 1", "part 2")
        assert np.array_equal(back.masks(0), masks)


@pytest.mark.parametrize("write", [write_seg, write_sr])
def test_derived_objects_tell_no_more_of_the_patient_than_dicom_demands(
    write: object, tmp_path: Path
) -> None:
    source = write_dicom(tmp_path / "a.dcm", FRAMES)
    write(tmp_path / "out.dcm", segmentation(source))  # type: ignore[operator]
    data = (tmp_path / "out.dcm").read_bytes()
    for identity in (b"Oldtown", b"other-77", b"lives in"):
        assert identity not in data
    made, read = pydicom.dcmread(source), pydicom.dcmread(tmp_path / "out.dcm")
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
        assert read[name].value == made[name].value, name
    assert read.SeriesInstanceUID != made.SeriesInstanceUID


def test_a_segmentation_says_what_made_it(tmp_path: Path) -> None:
    write_seg(tmp_path / "seg.dcm", segmentation(write_dicom(tmp_path / "a.dcm", FRAMES)))
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    item = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert item.AlgorithmName == "nano"
    for text in ("ab" * 32, "2025-03-04T05:06:07", "[10.0, 15.0, 30.0, 35.0]"):
        assert text in item.AlgorithmParameters


def test_many_prompts_fit_into_the_header(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    click = {"points": [[1.23456789, 2.3456789]] * 300, "labels": [1] * 300}
    details = {(frame, 0): {"prompt": click} for frame in range(FRAMES)}
    long = Segmentation(result.scan, result.masks, result.provenance, (), details)
    write_seg(tmp_path / "seg.dcm", long)
    write_sr(tmp_path / "sr.dcm", long)
    check_valid(tmp_path / "seg.dcm")
    check_valid(tmp_path / "sr.dcm")


@pytest.mark.parametrize("write", [write_seg, write_sr])
def test_what_is_no_dicom_is_refused_with_what_to_use(write: object, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    scan = read_scan(tmp_path / "a.png")
    masks = MaskSequence.of({0: np.ones((1, 20, 30), bool)}, num_frames=1, names=["a"])
    with pytest.raises(DataError, match=r"a\.png is not; use nifti, coco or png"):
        write(tmp_path / "o.dcm", Segmentation(scan, masks, Provenance("nano")))  # type: ignore[operator]
    assert not (tmp_path / "o.dcm").exists()


def test_empty_masks_are_refused(tmp_path: Path) -> None:
    scan = read_scan(write_dicom(tmp_path / "a.dcm", 3))
    masks = MaskSequence(3, scan.height, scan.width, ("a",))
    masks.put(0, np.zeros((1, scan.height, scan.width)))
    with pytest.raises(DataError, match=r"all masks are empty, so there is no DICOM-SEG"):
        write_seg(tmp_path / "o.dcm", Segmentation(scan, masks, Provenance("nano")))


def test_a_source_without_what_must_be_referred_to_is_refused(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", 2, StudyInstanceUID=""))
    with pytest.raises(DataError, match=r"has no StudyInstanceUID, which DICOM-SEG must refer to"):
        write_seg(tmp_path / "o.dcm", result)


def test_masks_of_another_image_are_refused(tmp_path: Path) -> None:
    write_seg(tmp_path / "seg.dcm", segmentation(write_dicom(tmp_path / "a.dcm", FRAMES)))
    other = read_scan(write_dicom(tmp_path / "b.dcm", FRAMES))
    with pytest.raises(DataError, match=r"masks of another image than .*b\.dcm"):
        read_masks(tmp_path / "seg.dcm", other)
    with pytest.raises(DataError, match=r"another kind \(Ultrasound Multi-frame"):
        read_masks(tmp_path / "a.dcm", other)


@BOTH
def test_a_report_is_valid(frames: int, tmp_path: Path) -> None:
    write_sr(tmp_path / "sr.dcm", segmentation(write_dicom(tmp_path / "a.dcm", frames)))
    check_valid(tmp_path / "sr.dcm")


def _content(item: Dataset, concept: str) -> list[Dataset]:
    """All items below one with this concept's meaning."""
    found = []
    for child in item.get("ContentSequence") or ():
        names = child.get("ConceptNameCodeSequence") or ()
        if names and names[0].CodeMeaning == concept:
            found.append(child)
        found += _content(child, concept)
    return found


def test_a_report_read_back_has_outlines_and_numbers_on_their_frames(tmp_path: Path) -> None:
    result = segmentation(write_dicom(tmp_path / "a.dcm", FRAMES))
    extra = Measurement(
        "ejection fraction", Code("10230-1", "LN", "LV Ejection Fraction"), 61.5, "%", 0
    )
    result = Segmentation(
        result.scan, result.masks, result.provenance, (), result.details,
        [*result.measurements, extra],
    )  # fmt: skip
    assert write_sr(tmp_path / "sr.dcm", result) == ()
    check_valid(tmp_path / "sr.dcm")
    report = hd.sr.srread(tmp_path / "sr.dcm")
    groups = report.content.get_planar_roi_measurement_groups()
    expected = [(frame, number) for frame, number, _ in result]
    assert len(groups) == len(expected)
    areas = {(m.frame, m.object): m.value for m in result.measurements if m.name == "area"}
    for group, (frame, number) in zip(groups, expected, strict=True):
        image = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedFrameNumber == frame + 1
        assert group.tracking_identifier == result.masks.names[number]
        points = group.roi.value
        assert np.array_equal(points[0], points[-1])
        center = np.nonzero(result.masks.masks(frame)[number])
        assert (
            np.abs(points[:-1].mean(0) - (np.mean(center[1]) + 0.5, np.mean(center[0]) + 0.5)).max()
            < 1
        )
        measured = {m.name.meaning: m for m in group.get_measurements()}
        assert set(measured) == {"Area", "Long Axis", "Short Axis"}
        assert measured["Area"].value == pytest.approx(areas[frame, number])
        assert measured["Area"].unit.value == "mm2"
    (fraction,) = _content(pydicom.dcmread(tmp_path / "sr.dcm"), "LV Ejection Fraction")
    assert fraction.MeasuredValueSequence[0].NumericValue == 61.5


def test_a_report_says_if_it_simplifies_a_mask(tmp_path: Path) -> None:
    scan = read_scan(write_dicom(tmp_path / "a.dcm", 1))
    mask = np.zeros((1, scan.height, scan.width), bool)
    mask[0, 5:25, 5:40] = mask[0, 40:50, 5:12] = True
    masks = MaskSequence.of({0: mask}, num_frames=1, names=["a"])
    (note,) = write_sr(tmp_path / "sr.dcm", Segmentation(scan, masks, Provenance("nano")))
    assert "1 of the masks have several parts or holes" in note
    (group,) = hd.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert group.roi.value.min(0).tolist() == [5.5, 5.5]
    assert group.roi.value.max(0).tolist() == [39.5, 24.5]
