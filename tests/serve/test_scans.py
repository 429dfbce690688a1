"""Files of strangers: read within limits, held open rarely, and never named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import picture, png
from ultrasam.errors import ScanError
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import TooLargeError
from ultrasam.serve import scans
from ultrasam.serve.http.problems import NotFoundError
from ultrasam.serve.scans import RootFolder, ScanReader


@pytest.fixture
def reader() -> ScanReader:
    return ScanReader(pixels=100_000, frames=10)


def write_cine(path: Path, frames: int) -> None:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (120, 90))
    for seed in range(frames):
        video.write(cv2.cvtColor(picture(seed), cv2.COLOR_GRAY2BGR))
    video.release()


def test_frames_are_those_of_the_file_also_when_it_is_opened_again(
    reader: ScanReader, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.avi" for number in range(2 * scans._OPEN)]
    for path in paths:
        write_cine(path, 3)
    opened = [reader.open(path) for path in paths]
    assert len(reader._scans) == scans._OPEN
    for path, scan in zip(paths, opened, strict=True):
        assert scan.source is None
        assert np.array_equal(scan.frame(2), read_scan(path).frame(2))
        assert np.array_equal(scan.frame(0), read_scan(path).frame(0))
    assert len(reader._scans) == scans._OPEN


def test_a_file_that_has_changed_is_read_anew(reader: ScanReader, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for seed in (1, 2):
        path.write_bytes(png(seed))
        assert np.array_equal(reader.open(path).frame(), picture(seed))


@pytest.mark.parametrize("kind", ["png", "tif", "avi", "nii.gz", "dcm"])
def test_each_kind_of_file_is_refused_by_its_header(
    reader: ScanReader, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"Doe.{kind}"
    if kind == "png":
        Image.fromarray(np.zeros((400, 251), np.uint8)).save(path)
    elif kind == "tif":
        pages = [Image.fromarray(np.full((9, 9), i, np.uint8)) for i in range(11)]
        pages[0].save(path, save_all=True, append_images=pages[1:])
    elif kind == "avi":
        write_cine(path, 11)
    elif kind == "nii.gz":
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((11, 9, 9), np.uint8)), str(path))
    else:
        _write_dicom(path)
    with pytest.raises(TooLargeError, match="at most 10 frames of 100,000 pixels") as refused:
        reader.open(path)
    assert "Doe" not in str(refused.value)
    read_scan(path)  # elsewhere, the limits are the usual ones


def _write_dicom(path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UltrasoundMultiFrameImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.NumberOfFrames, data.Modality = 9, 10, 11, "US"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = bytes(9 * 10 * 11)
    data.save_as(path, enforce_file_format=True)


def test_what_is_damaged_is_told_without_its_name(reader: ScanReader, tmp_path: Path) -> None:
    path = tmp_path / "Doe^Jane.png"
    path.write_bytes(png(1)[:-40])
    with pytest.raises(ScanError) as refused:
        reader.open(path)
    assert "Doe" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_root_gives_files_with_the_hash_of_their_content(tmp_path: Path) -> None:
    import hashlib

    root = RootFolder(tmp_path, most_bytes=100_000)
    (tmp_path / "a").mkdir()
    for seed in (1, 2):  # it changes in between
        (tmp_path / "a" / "b.png").write_bytes(png(seed) + bytes(seed))
        path, digest = root.find("a/b.png")
        assert path == (tmp_path / "a" / "b.png").resolve()
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "large").write_bytes(bytes(100_001))
    with pytest.raises(TooLargeError, match=r"0\.1 MB"):
        root.find("large")
    for name in ("a", "..", "a/../../x", "/etc/passwd", "\0", "nothing", "a/b.png/c", "~"):
        with pytest.raises(NotFoundError):
            root.find(name)
