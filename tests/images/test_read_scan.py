from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEGLSLossless, RLELossless

from tests.examples import examples
from tests.images.files import (
    LOSSLESS_SYNTAXES,
    dicom_bytes,
    picture,
    sample_files,
    ultrasound_region,
    write_video,
)
from ultrasam import Scan, read_scan
from ultrasam.errors import ScanError
from ultrasam.images.pixels import to_uint8


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_gray_picture_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(path)
    scan = read_scan(path)
    assert (scan.num_frames, scan.height, scan.width, scan.is_rgb) == (1, 72, 95, False)
    assert np.array_equal(scan.frame(0), picture())
    assert scan.read_all().shape == (1, 72, 95)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "CMYK"])
def test_every_mode_becomes_gray_or_rgb(tmp_path: Path, mode: str) -> None:
    rgb = np.stack([picture(), picture()[::-1], picture()[:, ::-1]], axis=-1)
    image = Image.fromarray(rgb).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    frame = read_scan(path).frame()
    expected = np.asarray(image.convert("L") if mode == "1" else image.convert("RGB"))
    assert np.array_equal(frame, expected)


def test_transparent_pixels_are_black(tmp_path: Path) -> None:
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[:2, :, 3], rgba[2:, :, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    frame = read_scan(tmp_path / "a.png").frame()
    assert (frame[:2] == 0).all()
    assert (frame[2:] == 200).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_mapped_by_the_bits_in_use(tmp_path: Path, suffix: str) -> None:
    values = (picture().astype(np.uint16) * 16)[:, :30]  # 12 bits in use
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    expected = np.round(values * (255 / 4095))
    assert np.abs(read_scan(path).frame().astype(int) - expected).max() <= 1


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(8, 20)).save(tmp_path / "a.jpg", exif=exif)
    scan = read_scan(tmp_path / "a.jpg")
    assert (scan.height, scan.width) == (20, 8)


def test_pages_and_animation_frames_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((6, 9), 20 * i, np.uint8)) for i in range(4)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=40)
    for name in ("a.tif", "a.gif"):
        scan = read_scan(tmp_path / name)
        assert scan.num_frames == 4
        assert [int(scan.frame(i).max()) for i in (3, 0, 2)] == [60, 0, 40]
    assert read_scan(tmp_path / "a.gif").frame_time == 40


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
def test_dicom_frames_are_exact_in_every_lossless_syntax(tmp_path: Path, syntax: str) -> None:
    stack = np.stack([picture(), picture()[::-1], picture() // 2])
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(stack, syntax=syntax))
    scan = read_scan(path)
    assert scan.num_frames == 3
    assert np.array_equal(scan.frame(1), stack[1])
    assert np.array_equal(scan.read_all(), stack)
    assert scan.subject == "subject-7"


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(picture(), "MONOCHROME1"))
    assert np.array_equal(read_scan(tmp_path / "a.dcm").frame(), 255 - picture())


@pytest.mark.parametrize("syntax", [LOSSLESS_SYNTAXES[0], RLELossless, JPEGLSLossless])
def test_rgb_dicom_is_rgb(tmp_path: Path, syntax: str) -> None:
    rgb = np.stack([picture(), picture()[::-1], picture()[:, ::-1]], axis=-1)
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(rgb, "RGB", syntax))
    scan = read_scan(tmp_path / "a.dcm")
    assert scan.is_rgb
    assert np.array_equal(scan.frame(), rgb)


def test_ybr_dicom_becomes_rgb(tmp_path: Path) -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:4], rgb[4:] = (200, 30, 40), (90, 90, 90)
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(ybr, "YBR_FULL"))
    assert np.abs(read_scan(tmp_path / "a.dcm").frame().astype(int) - rgb).max() <= 3


def test_palette_dicom_becomes_rgb(tmp_path: Path) -> None:
    table = np.arange(256, dtype=np.uint16) * 257
    tags = {
        "RedPaletteColorLookupTableDescriptor": [256, 0, 16],
        "GreenPaletteColorLookupTableDescriptor": [256, 0, 16],
        "BluePaletteColorLookupTableDescriptor": [256, 0, 16],
        "RedPaletteColorLookupTableData": table.tobytes(),
        "GreenPaletteColorLookupTableData": table[::-1].tobytes(),
        "BluePaletteColorLookupTableData": np.zeros(256, np.uint16).tobytes(),
    }
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(picture(), "PALETTE COLOR", **tags))
    frame = read_scan(tmp_path / "a.dcm").frame().astype(int)
    assert np.abs(frame[..., 0] - picture()).max() <= 1
    assert np.abs(frame[..., 1] - (255 - picture().astype(int))).max() <= 1
    assert (frame[..., 2] == 0).all()


def test_a_window_is_applied(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 2000, 3000]], np.uint16).repeat(4, axis=0)
    tags = {"WindowCenter": 1500, "WindowWidth": 1000}
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(values, **tags))
    assert read_scan(tmp_path / "a.dcm").frame()[0].tolist()[::3] == [0, 255]
    assert read_scan(tmp_path / "a.dcm").frame()[0, 1] < 5
    assert read_scan(tmp_path / "a.dcm").frame()[0, 2] > 250


def test_spacing_comes_from_the_ultrasound_region_first(tmp_path: Path) -> None:
    tags = {"SequenceOfUltrasoundRegions": [ultrasound_region(0.02)], "PixelSpacing": [9, 9]}
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(picture(), **tags))
    assert read_scan(tmp_path / "a.dcm").spacing == pytest.approx((0.4, 0.2))
    (tmp_path / "b.dcm").write_bytes(dicom_bytes(picture(), PixelSpacing=[0.3, 0.5]))
    assert read_scan(tmp_path / "b.dcm").spacing == (0.3, 0.5)
    (tmp_path / "c.dcm").write_bytes(dicom_bytes(picture()))
    assert read_scan(tmp_path / "c.dcm").spacing is None


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_dicom_without_an_image_is_refused(tmp_path: Path) -> None:
    data = pydicom.dcmread(_written(tmp_path, dicom_bytes(picture())))
    for tag in ("PixelData", "Rows", "Columns", "PhotometricInterpretation"):
        delattr(data, tag)
    data.save_as(tmp_path / "report.dcm")
    with pytest.raises(ScanError, match="holds no image"):
        read_scan(tmp_path / "report.dcm")
    data.SOPClassUID = "1.2.840\nLO subject-7"  # as a damaged length leaves it
    data.save_as(tmp_path / "damaged.dcm")
    with pytest.raises(ScanError, match="DICOM object: unknown kind") as caught:
        read_scan(tmp_path / "damaged.dcm")
    assert "\n" not in str(caught.value)


def test_old_dicom_without_a_preamble_is_read(tmp_path: Path) -> None:
    data = pydicom.dcmread(_written(tmp_path, dicom_bytes(picture())))
    del data.file_meta
    data.preamble = None
    data.save_as(
        tmp_path / "old.dcm", enforce_file_format=False, implicit_vr=True, little_endian=True
    )
    assert np.array_equal(read_scan(tmp_path / "old.dcm").frame(), picture())


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "mha", "mhd", "nrrd"])
def test_volumes_give_slices_and_spacing(tmp_path: Path, suffix: str) -> None:
    volume = np.stack([picture(), picture()[::-1]])
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.2, 0.3, 1.0))
    path = tmp_path / f"v.{suffix}"
    sitk.WriteImage(image, str(path))
    scan = read_scan(path)
    assert (scan.num_frames, scan.height, scan.width) == (2, 72, 95)
    assert scan.spacing == pytest.approx((0.3, 0.2))
    assert np.array_equal(scan.read_all(), volume)


def test_a_volume_of_signed_numbers_is_mapped_over_its_whole_range(tmp_path: Path) -> None:
    volume = np.stack([np.full((5, 6), -1000), np.full((5, 6), 1000)]).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "v.mha"))
    scan = read_scan(tmp_path / "v.mha")
    assert scan.frame(0).max() == 0
    assert scan.frame(1).min() > 200


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4")])
def test_cine_frames_come_in_any_order(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"c.{suffix}"
    sent = write_video(path, codec)
    scan = read_scan(path)
    assert scan.num_frames == len(sent)
    assert scan.frame_time == pytest.approx(100)
    for index in (5, 0, 6, 3, 3, 4):
        gray = scan.frame(index).mean(axis=-1)
        assert np.abs(gray - sent[index]).mean() < 6, index


def test_a_missing_frame_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with pytest.raises(ScanError, match="frame 1 does not exist"):
        read_scan(tmp_path / "a.png").frame(1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "empty"),
        ("a.png", b"not an image at all", "not a valid PNG file"),
        ("notes.txt", b"hello there", "not in a supported format"),
        (
            "a.zip",
            b"PK\x03\x04" + b"\0" * 40,
            r"is a ZIP archive; extract it first \(predict, embed",
        ),
        (
            "a.tar",
            b"a" * 257 + b"ustar\0" + b"\0" * 249,
            "is a TAR archive; extract it first .predict, embed",
        ),
        ("a.png", b"Rar!\x1a\x07\0", r"is a RAR archive; extract it first\."),
        ("a.dcm", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "holds PNG; if that is intended, rename"),
        ("a.nii.gz", gzip.compress(b"nothing of the kind", mtime=0), "damaged"),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + b"\0" * 100, "damaged"),
    ],
)
def test_a_file_that_is_not_a_scan_gives_one_clear_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScanError, match=message) as caught:
        read_scan(path).frame(0)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="does not exist"):
        read_scan(tmp_path / "a.png")
    with pytest.raises(ScanError, match="is a folder"):
        read_scan(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    png += struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT" + b"\0" * 20
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(ScanError, match="more"):
        read_scan(tmp_path / "bomb.png").frame()
    (tmp_path / "bomb.dcm").write_bytes(dicom_bytes(picture(), Rows=60000, Columns=60000))
    with pytest.raises(ScanError, match="more"):
        read_scan(tmp_path / "bomb.dcm").frame()


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sample_files(tmp_path_factory.mktemp("good"))


@settings(max_examples=examples(50), deadline=None)
@given(data=st.data())
def test_damaged_files_give_a_clear_error_or_pixels_but_nothing_else(
    good_files: dict[str, Path], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(good_files)))
    bad = bytearray(good_files[name].read_bytes())
    if data.draw(st.booleans(), label="cut off"):
        bad = bad[: data.draw(st.integers(0, len(bad) - 1))]
    flips = st.tuples(st.integers(0, max(0, len(bad) - 1)), st.integers(0, 7))
    for place, bit in data.draw(st.lists(flips, max_size=30)) if bad else []:
        bad[place] ^= 1 << bit
    target = good_files[name].with_name(f"bad.{name}")
    target.write_bytes(bytes(bad))
    try:
        scan = read_scan(target)
        scan.frame(scan.num_frames - 1)
    except ScanError as error:
        assert "\n" not in str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_tiff_directories_raise_only_scan_errors(
    good_files: dict[str, Path],
) -> None:
    """A pointer to a next page that is none is met when pages are counted, not when the first is opened."""
    whole = good_files["tif"].read_bytes()
    (start,) = struct.unpack("<I", whole[4:8])
    (entries,) = struct.unpack("<H", whole[start : start + 2])
    end = start + 2 + 12 * entries + 4
    target = good_files["tif"].with_name("bit.tif")
    refused = 0
    for place in (*range(8), *range(start, end)):
        for bit in range(8):
            bad = bytearray(whole)
            bad[place] ^= 1 << bit
            target.write_bytes(bytes(bad))
            try:
                scan = read_scan(target)
                scan.frame(scan.num_frames - 1)
            except ScanError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("shape", [(3,), (2, 3, 5), (0, 4), (2, 2, 2, 2)])
def test_an_array_that_is_not_a_frame_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ScanError):
        Scan.from_array(np.zeros(shape, np.uint8))


def test_floats_are_stretched_or_rounded() -> None:
    assert to_uint8(np.array([[0.0, 1.0]])).tolist() == [[0, 255]]
    assert to_uint8(np.array([[0.0, 200.4]])).tolist() == [[0, 200]]
    assert to_uint8(np.array([[True, False]])).tolist() == [[255, 0]]
    with pytest.raises(ScanError, match="finite"):
        to_uint8(np.array([[np.nan]]))
    with pytest.raises(ScanError, match="not supported"):
        to_uint8(np.array([["a"]]))


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "written.dcm"
    path.write_bytes(content)
    return path
