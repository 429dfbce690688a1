"""DICOM files whose pixel data are longer or in another order than the header says, or are no picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from tests.field.test_dicom import edited, scan_of
from tests.images.files import dicom_bytes, ultrasound_region
from ultrasam.errors import ScanError
from ultrasam.images.reading import read_scan

Pixels = npt.NDArray[Any]


def speckle(height: int = 60, width: int = 80) -> Pixels:
    """A disc with noise from pixel to pixel, in which neighbors resemble each other little."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 12, (height, width))
    disc = ((y - height / 2) ** 2 + (x - width / 2) ** 2) < (height / 3) ** 2
    return np.clip(60 + 120 * disc + noise, 0, 255).astype(np.uint8)


def colored(gray: Pixels) -> Pixels:
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    rgb[20:30, 30:40] = (200, 30, 40)
    return rgb


def with_data(data: bytes, pixels: Pixels, **elements: Any) -> bytes:
    """A DICOM object with other pixels than its header says."""

    def change(dataset: Dataset) -> None:
        dataset.PixelData = pixels.tobytes()
        for name, value in elements.items():
            setattr(dataset, name, value)

    return edited(data, change)


@pytest.mark.parametrize("size", [(60, 80), (61, 81), (48, 90)])
@pytest.mark.parametrize("planar", [0, 1])
def test_gray_stored_as_colors_in_another_order_is_seen(
    tmp_path: Path, planar: int, size: tuple[int, int]
) -> None:
    rgb = np.repeat(speckle(*size)[..., None], 3, axis=-1)
    stored = rgb if planar else np.ascontiguousarray(rgb.transpose(2, 0, 1))
    header = np.zeros((*size, 3), np.uint8)
    data = with_data(dicom_bytes(header, "RGB"), stored, PlanarConfiguration=planar)
    scan = scan_of(tmp_path, data)
    assert np.array_equal(scan.frame(), rgb)
    assert scan.notes == (f"PlanarConfiguration is {planar}; by the pixels, it is {1 - planar}.",)


@pytest.mark.parametrize("count", [None, 1])
def test_colors_that_are_called_gray_are_no_three_frames(tmp_path: Path, count: int | None) -> None:
    rgb = colored(speckle())
    elements = {} if count is None else {"NumberOfFrames": count}
    scan = scan_of(tmp_path, with_data(dicom_bytes(speckle()), rgb, **elements))
    assert (len(scan), scan.notes) == (
        1,
        ("PhotometricInterpretation is MONOCHROME2, but pixels have 3 samples; RGB is used.",),
    )
    assert np.array_equal(scan.frame(), rgb)


def test_three_smooth_gray_frames_are_no_colors(tmp_path: Path) -> None:
    y, x = np.mgrid[:60, :80]
    frames = np.stack([(y + x + 10 * k).astype(np.uint8) for k in range(3)])
    scan = scan_of(tmp_path, with_data(dicom_bytes(frames[0]), frames))
    assert np.array_equal(scan.read_all(), frames)


@pytest.mark.parametrize("factor", [1, 16, 200])
def test_sixteen_bits_that_are_called_eight_are_no_two_frames(tmp_path: Path, factor: int) -> None:
    (tmp_path / "a.dcm").write_bytes(
        with_data(dicom_bytes(speckle()), speckle().astype("<u2") * factor)
    )
    with pytest.raises(ScanError, match="BitsAllocated is 8, but its pixels have 16 bits"):
        read_scan(tmp_path / "a.dcm")


@pytest.mark.parametrize("frames", [1, 2])
def test_a_fourth_sample_is_told(tmp_path: Path, frames: int) -> None:
    rgb = np.stack([colored(speckle())] * frames)
    rgba = np.concatenate([rgb, np.full((*rgb.shape[:3], 1), 255, np.uint8)], axis=-1)
    header = dicom_bytes(rgb if frames > 1 else rgb[0], "RGB")
    (tmp_path / "a.dcm").write_bytes(with_data(header, rgba))
    with pytest.raises(
        ScanError, match="SamplesPerPixel is 3, but by their length its pixels have 4"
    ):
        read_scan(tmp_path / "a.dcm")


def test_an_object_of_labels_is_no_picture(tmp_path: Path) -> None:
    kind = "1.2.840.10008.5.1.4.1.1.66.4"
    scan = scan_of(tmp_path, dicom_bytes((speckle() > 120).astype(np.uint8), SOPClassUID=kind))
    assert scan.notes == (
        "Its pixels are labels or measurements, not a picture (DICOM object: Segmentation Storage).",
    )


@pytest.mark.parametrize(("stated", "is_told"), [("0.5", True), ("0.2", True), ("0.1", False)])
def test_a_spacing_other_than_that_of_the_region_is_told(
    tmp_path: Path, stated: str, is_told: bool
) -> None:
    region = ultrasound_region(0.01)  # 0.2 × 0.1 mm
    tags: dict[str, Any] = {
        "SequenceOfUltrasoundRegions": [region],
        "PixelSpacing": ["0.2", stated],
    }
    scan = scan_of(tmp_path, dicom_bytes(speckle(), **tags))
    said = (
        f"PixelSpacing is 0.2 × {stated} mm, but another element says 0.2 × 0.1 mm, which is used."
    )
    assert (scan.spacing, scan.notes) == ((0.2, 0.1), (said,) if is_told else ())


def test_an_error_of_a_frame_names_the_file(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.FloatPixelData = np.full((60, 80), np.nan, "<f4").tobytes()
        dataset.BitsAllocated = 32
        for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, name)

    (tmp_path / "a.dcm").write_bytes(edited(dicom_bytes(speckle()), change))
    with pytest.raises(ScanError, match=r"a\.dcm: Some pixels are not finite numbers"):
        read_scan(tmp_path / "a.dcm").frame()
