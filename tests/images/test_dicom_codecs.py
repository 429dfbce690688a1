"""Common DICOM compressions are decoded without GPL packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import pixel_array

import ultrasam.images.dicom  # noqa: F401  # adds the decoder
from tests.images.files import dicom_bytes, picture
from ultrasam.errors import MissingDependencyError, ScanError
from ultrasam.images import dicom_codecs
from ultrasam.images.dicom_codecs import check_decodable
from ultrasam.images.reading import read_scan

# Files from pydicom: compressed, uncompressed, and by how many gray levels they may differ.
PAIRS = [
    ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", 0),  # JPEG Lossless, selection value 1
    ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),
    ("MR_small_jp2klossless.dcm", "MR_small.dcm", 0),
    ("MR_small_RLE.dcm", "MR_small.dcm", 0),
    ("SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm", 0),  # JPEG 2000
    ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_rle.dcm", 2),  # JPEG Baseline, RGB
    ("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm", 6),  # JPEG Baseline, YBR
    ("SC_rgb_jls_lossy_sample.dcm", "SC_rgb_rle.dcm", 2),  # JPEG-LS Near-Lossless
]


def example(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"this pydicom does not bring {name}")
    return Path(str(found))


@pytest.mark.parametrize(("compressed", "plain", "levels"), PAIRS)
def test_compressed_pixels_are_decoded(compressed: str, plain: str, levels: int) -> None:
    found = pixel_array(example(compressed), raw=False).astype(int)
    expected = pixel_array(example(plain), raw=False).astype(int)
    assert np.abs(found - expected).max() <= levels


def test_jpeg_of_twelve_bits_is_decoded() -> None:
    """The same picture as JPEG 2000 and as JPEG Extended, as compressed by the standard's own test set."""
    dicom_codecs.register()
    extended = pixel_array(example("JPGExtended.dcm"), raw=False).astype(int)
    reference = pixel_array(example("JPEG2000.dcm"), raw=False).astype(int)
    assert extended.shape == reference.shape
    assert np.abs(extended - reference).mean() < 5
    assert np.corrcoef(extended.ravel(), reference.ravel())[0, 1] > 0.9
    assert read_scan(example("JPEG-lossy.dcm")).frame().max() > 0


def test_no_decoder_is_under_the_gpl() -> None:
    code = (
        "import sys, ultrasam.images.dicom; from pydicom.pixels import get_decoder\n"
        "for n in ('50', '51', '57', '70', '80', '81', '90', '91'):\n"
        "    assert 'gdcm' in get_decoder('1.2.840.10008.1.2.4.' + n).available_plugins, n\n"
        "print('libjpeg' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if out.stdout.strip() == "True":
        pytest.skip("pylibjpeg-libjpeg is installed here beside what UltraSam installs")
    assert out.stdout.strip() == "False", out.stderr


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.112", r"JPEG XL \(1\.2\.840\.10008\.1\.2\.4\.112\)"),
        ("1.2.840.10008.1.2.4.102", r"MPEG-4 AVC/H\.264 High Profile .*4\.102\)"),
        ("1.2.3.4.5", r"1\.2\.3\.4\.5"),
    ],
)
def test_an_unsupported_compression_is_named(tmp_path: Path, syntax: str, name: str) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(picture()))
    data = pydicom.dcmread(path)
    # pydicom writes no syntax that it does not know: another of the same length is written in its place.
    stands_in = "1.2.840.10008.1.2.4.102" if len(syntax) == 23 else syntax
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(stands_in)
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\x0a" + bytes(100)])
    pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=True)
    path.write_bytes(path.read_bytes().replace(stands_in.encode(), syntax.encode()))
    with pytest.raises(ScanError, match=rf"a\.dcm is compressed as {name}, which is not supported"):
        read_scan(path)


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = get_decoder("1.2.840.10008.1.2.4.70")
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(MissingDependencyError, match=r"JPEG Lossless.*\[dicom\]"):
        check_decodable(tmp_path / "a.dcm", pydicom.uid.JPEGLosslessSV1)


def test_without_gdcm_our_plug_in_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_codecs, "find_spec", lambda name: None)
    assert not dicom_codecs.is_available(pydicom.uid.JPEGExtended12Bit)
