"""The page reads DICOM as Python does, or says what it does not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from tests.web.node import SITE, JsError, call
from ultrasam.images.reading import read_scan

BRIDGE = """
import {{ readDicom }} from '{site}/reading/dicom.js';
export const read = async (bytes) => {{
  const {{ frame, ...scan }} = await readDicom(bytes);
  const all = [];
  for (let i = 0; i < scan.frames; i++) all.push(await frame(i));
  return {{ ...scan, images: all }};
}};
"""
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
}
ORDERS = {"big-endian": ">", "explicit": "<", "implicit": "<"}


@pytest.fixture
def bridge(tmp_path: Path) -> str:
    path = tmp_path / "bridge.mjs"
    path.write_text(BRIDGE.format(site=SITE.as_posix()))
    return str(path)


def dataset(pixels: np.ndarray[Any, Any], syntax: str = "explicit", **more: Any) -> FileDataset:
    """A DICOM of frames [T, H, W] or [T, H, W, 3]."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = SYNTAXES[syntax]
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID = meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    found.Modality, found.PatientName = "US", "Doe^Jane"
    found.NumberOfFrames = len(pixels)
    found.Rows, found.Columns = pixels.shape[1:3]
    found.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    found.PhotometricInterpretation = "RGB" if pixels.ndim == 4 else "MONOCHROME2"
    if pixels.ndim == 4:
        found.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    found.BitsAllocated, found.BitsStored, found.HighBit = bits, bits, bits - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelData = pixels.astype(pixels.dtype.newbyteorder(ORDERS[syntax])).tobytes()
    found["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in more.items():
        setattr(found, name, value)
    return found


def region(delta: float) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, delta * 2
    return item


def frames(shape: tuple[int, ...], kind: str = "uint8", top: int = 256) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, top, shape).astype(kind)


def scan_like(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Colors of which most are gray, as in ultrasound."""
    gray = frames((*shape, 1))
    pixels = np.repeat(gray, 3, axis=-1)
    pixels[:, :3, :5] = (255, 200, 0)
    return pixels


CASES: dict[str, Callable[[str], FileDataset]] = {
    "gray": lambda s: dataset(frames((1, 21, 35)), s),
    "cine": lambda s: dataset(frames((4, 20, 36)), s, FrameTime="40"),
    "12 bits": lambda s: dataset(frames((1, 21, 35), "uint16", 4000), s),
    "window": lambda s: dataset(
        frames((1, 21, 35), "uint16", 4000), s, WindowCenter="1000", WindowWidth="1500"
    ),
    "rescale": lambda s: dataset(
        frames((1, 21, 35), "uint16", 4000), s, RescaleSlope="2", RescaleIntercept="-100",
        WindowCenter="3000", WindowWidth="4000", VOILUTFunction="SIGMOID",
    ),
    "signed": lambda s: dataset(frames((1, 21, 35), "int16", 900) - 300, s),
    "inverted": lambda s: dataset(frames((1, 21, 35)), s, PhotometricInterpretation="MONOCHROME1"),
    "color": lambda s: dataset(scan_like((2, 20, 36)), s),
    "region": lambda s: dataset(
        frames((1, 21, 35)), s, SequenceOfUltrasoundRegions=[region(0.02), region(0.02)]
    ),
    "spacing": lambda s: dataset(frames((1, 21, 35)), s, PixelSpacing=["0.3", "0.2"]),
}  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("case", CASES)
def test_pixels_spacing_and_time_are_the_same(
    tmp_path: Path, bridge: str, case: str, syntax: str
) -> None:
    path = tmp_path / "scan.dcm"
    pydicom.dcmwrite(path, CASES[case](syntax), enforce_file_format=True)
    (ours,) = call(tmp_path, bridge, ("read", [path.read_bytes()]))
    theirs = read_scan(path)
    assert (ours["frames"], ours["height"], ours["width"]) == (
        theirs.num_frames, theirs.height, theirs.width,
    )  # fmt: skip
    for index, image in enumerate(ours["images"]):
        assert np.array_equal(image["data"], theirs.frame(index).ravel())
    assert ours["spacing"] == (None if theirs.spacing is None else pytest.approx(theirs.spacing))
    assert ours["frameTime"] == theirs.frame_time


def test_a_compression_that_browsers_do_not_have_is_named(tmp_path: Path, bridge: str) -> None:
    made = dataset(frames((1, 21, 35)))
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless
    made["PixelData"].is_undefined_length = True
    made.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    path = tmp_path / "scan.dcm"
    made.save_as(path)
    with pytest.raises(JsError, match="compressed as JPEG 2000"):
        call(tmp_path, bridge, ("read", [path.read_bytes()]))


def test_a_file_that_is_cut_off_is_refused_or_told(tmp_path: Path, bridge: str) -> None:
    path = tmp_path / "scan.dcm"
    dataset(frames((4, 20, 36))).save_as(path)
    data = path.read_bytes()
    (found,) = call(tmp_path, bridge, ("read", [data[:-1000]]))
    assert found["frames"] == 2
    assert found["notes"] == ["Only 2 of 4 frames are in the file; it may be cut off."]
    for end in (140, 300, 500):
        with pytest.raises(JsError):
            call(tmp_path, bridge, ("read", [data[:end]]))
