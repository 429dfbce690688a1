"""DICOM files whose headers contradict their pixels, lack elements, or hold malformed ones."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.images.files import dicom_bytes, picture, ultrasound_region
from ultrasam.errors import ScanError
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan

Pixels = npt.NDArray[Any]
Change = Callable[[Dataset], None]


def compressed(pixels: Pixels, syntax: UID | None, **tags: Any) -> bytes:
    """As `dicom_bytes`, uncompressed if there is no syntax."""
    return dicom_bytes(pixels, syntax=syntax, **tags) if syntax else dicom_bytes(pixels, **tags)


def scan_of(folder: Path, data: bytes, name: str = "a.dcm") -> Scan:
    """Read bytes as a file, while every warning of a library is an error."""
    (folder / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = read_scan(folder / name)
        for index in range(len(scan)):
            scan.frame(index)
    return scan


def edited(data: bytes, change: Change) -> bytes:
    """A DICOM object after a change to its elements."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(out, dataset)
    return out.getvalue()


def without(*keywords: str) -> Change:
    def change(dataset: Dataset) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def gray_rgb(height: int = 60, width: int = 80) -> Pixels:
    """An ultrasound-like image: gray, with a small colored part and a black margin."""
    gray = np.random.default_rng(3).integers(30, 220, (height, width)).astype(np.uint8)
    gray = np.repeat(gray[::3], 3, axis=0)[:height]
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    rgb[:, :10] = 0
    rgb[20:30, 30:40] = (200, 30, 40)
    return rgb


def to_ybr(rgb: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=95, **options)
    return out.getvalue()


def jpeg_dicom(frames: list[bytes], pixels: Pixels, kind: str, **tags: Any) -> bytes:
    """A DICOM object of JPEG codestreams, padded to an even length as the standard demands."""

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([f + b"\0" * (len(f) % 2) for f in frames])
        dataset["PixelData"].is_undefined_length = True

    return edited(dicom_bytes(pixels, kind, **tags), change)


# ---- Colors


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("stored", ["RGB", "YBR_FULL"])
def test_colors_called_subsampled_but_stored_for_each_pixel(
    tmp_path: Path, frames: int, stored: str
) -> None:
    rgb = gray_rgb()
    pixels = rgb if stored == "RGB" else to_ybr(rgb)
    scan = scan_of(
        tmp_path,
        dicom_bytes(np.stack([pixels] * frames)[0 if frames == 1 else ...], "YBR_FULL_422"),
    )
    assert len(scan) == frames
    off = np.abs(scan.frame(frames - 1).astype(int) - rgb)
    assert off.max() <= (0 if stored == "RGB" else 3)
    assert scan.notes[0].startswith(
        "PhotometricInterpretation is YBR_FULL_422, but each pixel has its own"
    )


def test_two_frames_of_colors_are_not_three_of_subsampled_ones(tmp_path: Path) -> None:
    frames = np.stack([gray_rgb(), gray_rgb()[::-1]])
    data = edited(dicom_bytes(frames, "YBR_FULL_422"), without("NumberOfFrames"))
    scan = scan_of(tmp_path, data)
    assert np.array_equal(scan.read_all(), frames)


def test_subsampled_colors_are_read_as_such(tmp_path: Path) -> None:
    rgb = np.repeat(gray_rgb()[:, ::2], 2, axis=1)
    ybr = to_ybr(rgb)
    pairs = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)

    def change(dataset: Dataset) -> None:
        dataset.PixelData = pairs.tobytes()

    scan = scan_of(tmp_path, edited(dicom_bytes(rgb, "YBR_FULL_422"), change))
    assert np.abs(scan.frame().astype(int) - rgb).max() <= 3
    assert scan.notes == ()


@pytest.mark.parametrize(("said", "stored"), [("RGB", "YBR_FULL"), ("YBR_FULL", "RGB")])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_wrong_color_model_is_seen_by_the_gray_pixels(
    tmp_path: Path, said: str, stored: str, syntax: UID | None
) -> None:
    rgb = gray_rgb()
    pixels = rgb if stored == "RGB" else to_ybr(rgb)
    data = compressed(pixels, syntax, kind="RGB")

    def change(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = said

    scan = scan_of(tmp_path, edited(data, change))
    assert np.abs(scan.frame().astype(int) - rgb).max() <= 3
    assert scan.notes == (
        f"PhotometricInterpretation is {said}, but the pixels are {stored}; {stored} is used.",
    )


def test_a_colorful_picture_is_read_as_its_header_says(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    scan = scan_of(tmp_path, dicom_bytes(rgb, "RGB"))
    assert np.array_equal(scan.frame(), rgb)
    assert scan.notes == ()


@pytest.mark.parametrize("said", [0, 1])
def test_a_wrong_order_of_samples_is_seen_by_the_gray_pixels(tmp_path: Path, said: int) -> None:
    rgb = gray_rgb()
    order = rgb if said == 1 else np.moveaxis(rgb, -1, 0)

    def change(dataset: Dataset) -> None:
        dataset.PixelData = order.tobytes()
        dataset.PlanarConfiguration = said

    scan = scan_of(tmp_path, edited(dicom_bytes(rgb, "RGB"), change))
    assert np.array_equal(scan.frame(), rgb)
    assert scan.notes == (f"PlanarConfiguration is {said}; by the pixels, it is {1 - said}.",)


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"keep_rgb": True}])
def test_a_jpeg_says_itself_in_which_colors_it_is(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)  # nothing of it is gray but the black
    rgb[8:40, 8:56] = (200, 120, 40)
    scan = scan_of(tmp_path, jpeg_dicom([jpeg(rgb, **options)], rgb, kind))
    assert np.abs(scan.frame()[12:36, 12:52].astype(int) - (200, 120, 40)).max() <= 6
    assert scan.frame()[:4].max() <= 6
    is_rgb = "keep_rgb" in options
    assert bool(scan.notes) == (is_rgb != (kind == "RGB"))


def test_a_jpeg_without_markers_is_judged_by_its_gray_pixels(tmp_path: Path) -> None:
    rgb = gray_rgb()
    rgb[20:30, 30:40] = 90
    data = jpeg(rgb, subsampling=0)
    bare = data[:2] + data[2 + 2 + int.from_bytes(data[4:6], "big") :]  # without the JFIF marker
    assert b"JFIF" not in bare
    scan = scan_of(tmp_path, jpeg_dicom([bare], rgb, "RGB"))
    assert np.abs(scan.frame().astype(int) - rgb).mean() < 4
    assert "the pixels are YBR_FULL" in scan.notes[0]


@pytest.mark.parametrize("said", [0, 1])
def test_a_picture_of_few_colors_keeps_the_order_of_its_samples(tmp_path: Path, said: int) -> None:
    rgb = np.full((60, 81, 3), (255, 255, 0), np.uint8)
    rgb[:10, :30] = np.random.default_rng(0).integers(0, 255, (10, 30, 1))

    def change(dataset: Dataset) -> None:
        dataset.PixelData = (np.moveaxis(rgb, -1, 0) if said else rgb).tobytes()
        dataset.PlanarConfiguration = said

    scan = scan_of(tmp_path, edited(dicom_bytes(rgb, "RGB"), change))
    assert np.array_equal(scan.frame(), rgb)
    assert scan.notes == ()


def test_three_samples_called_gray_are_colors(tmp_path: Path) -> None:
    scan = scan_of(tmp_path, dicom_bytes(gray_rgb(), "MONOCHROME2"))
    assert np.array_equal(scan.frame(), gray_rgb())
    assert scan.notes == (
        "PhotometricInterpretation is MONOCHROME2, but pixels have 3 samples; RGB is used.",
    )


@pytest.mark.parametrize("kind", ["CMYK", "YBR_PARTIAL_420", "HSV"])
def test_other_colors_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(gray_rgb(), kind))
    with pytest.raises(ScanError, match=rf"colors of the kind '{kind}'.*export it as RGB"):
        read_scan(tmp_path / "a.dcm")


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_uses_its_own_bits(tmp_path: Path, bits: int) -> None:
    """A palette that reaches only a quarter of white stays dark, and every frame is shown alike."""
    table = (np.arange(256) * (0.25 if bits == 8 else 64)).astype(
        np.uint16 if bits == 16 else np.uint8
    )
    table[255] = 255 if bits == 8 else 65535
    tags: dict[str, Any] = {}
    for color in ("Red", "Green", "Blue"):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tags[f"{color}PaletteColorLookupTableData"] = table.tobytes()
    pixels = np.full((2, 40, 50), 200, np.uint8)
    pixels[1, 0, 0] = 255
    scan = scan_of(tmp_path, dicom_bytes(pixels, "PALETTE COLOR", **tags))
    assert scan.frame(0).max() == 50
    assert scan.frame(1)[1, 1].tolist() == [50, 50, 50]
    assert scan.frame(1)[0, 0].tolist() == [255, 255, 255]


def test_a_palette_that_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(picture(), "PALETTE COLOR"))
    with pytest.raises(
        ScanError, match=r"a\.dcm cannot be read: The palette is missing; export it again"
    ):
        read_scan(tmp_path / "a.dcm")


# ---- Frames


def stack(frames: int = 3) -> Pixels:
    return np.stack([np.roll(picture(), index, axis=1) for index in range(frames)])


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("said", [None, 1, 2])
def test_frames_are_counted_in_the_data(
    tmp_path: Path, syntax: UID | None, said: int | None
) -> None:
    data = compressed(stack(), syntax)

    def change(dataset: Dataset) -> None:
        if said is None:
            del dataset.NumberOfFrames
        else:
            dataset.NumberOfFrames = said

    scan = scan_of(tmp_path, edited(data, change))
    assert np.array_equal(scan.read_all(), stack())
    found = "missing or invalid" if said is None else said
    assert scan.notes == (
        f"NumberOfFrames is {found}, but the pixel data hold 3 frames; all are read.",
    )


def test_jpeg_frames_are_counted_in_the_data(tmp_path: Path) -> None:
    frames = [jpeg(frame) for frame in stack()]
    data = edited(jpeg_dicom(frames, stack(), "MONOCHROME2"), without("NumberOfFrames"))
    scan = scan_of(tmp_path, data)
    assert len(scan) == 3
    assert np.abs(scan.read_all().astype(int) - stack()).mean() < 5


@pytest.mark.parametrize("value", [0, -3])
def test_an_impossible_number_of_frames_is_told(tmp_path: Path, value: int) -> None:
    scan = scan_of(tmp_path, dicom_bytes(stack(), NumberOfFrames=value))
    assert len(scan) == 3
    assert scan.notes[0] == f"NumberOfFrames is {value}; frames are counted."


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit])
@pytest.mark.parametrize("size", [(95, 72), (72, 94), (100, 100)])
def test_compressed_pixels_have_the_size_that_their_codestream_states(
    tmp_path: Path, syntax: UID, size: tuple[int, int]
) -> None:
    if syntax == JPEGBaseline8Bit:
        data = jpeg_dicom([jpeg(frame) for frame in stack()], stack(), "MONOCHROME2")
    else:
        data = compressed(stack(), syntax)

    def change(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = size

    scan = scan_of(tmp_path, edited(data, change))
    assert (len(scan), scan.height, scan.width) == (3, 72, 95)
    off = np.abs(scan.read_all().astype(int) - stack())
    assert off.mean() < (5 if syntax == JPEGBaseline8Bit else 0.01)
    assert scan.notes == (
        f"The header says {size[1]} × {size[0]} pixels, but 95 × 72 are compressed; these are read.",
    )


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("frames", [1, 3])
def test_samples_are_counted_in_the_data(tmp_path: Path, syntax: UID | None, frames: int) -> None:
    rgb = np.stack([gray_rgb()] * frames) if frames > 1 else gray_rgb()

    def say_gray(dataset: Dataset) -> None:
        dataset.SamplesPerPixel = 1

    scan = scan_of(tmp_path, edited(compressed(rgb, syntax, kind="RGB"), say_gray))
    assert len(scan) == frames
    assert np.array_equal(scan.frame(frames - 1), gray_rgb())
    assert scan.notes[0] == "SamplesPerPixel is 1, but pixels have 3."

    def say_colors(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "RGB"

    scan = scan_of(
        tmp_path, edited(compressed(stack(frames)[0 if frames == 1 else ...], syntax), say_colors)
    )
    assert not scan.is_rgb
    assert np.array_equal(scan.frame(frames - 1), stack(frames)[-1])
    assert scan.notes == (
        "PhotometricInterpretation is RGB, but pixels have 1 sample; MONOCHROME2 is used.",
    )


def test_more_bits_stored_than_allocated_are_allocated(tmp_path: Path) -> None:
    values = picture().astype(np.uint16) * 16
    expected = scan_of(tmp_path, dicom_bytes(values, BitsStored=12, HighBit=11)).frame()
    scan = scan_of(tmp_path, dicom_bytes(values, BitsAllocated=8, BitsStored=12, HighBit=11))
    assert np.array_equal(scan.frame(), expected)
    assert scan.notes == ("BitsAllocated is 8, but BitsStored 12; 16 is used.",)
    (tmp_path / "b.dcm").write_bytes(dicom_bytes(picture(), BitsStored=12, HighBit=11))
    with pytest.raises(ScanError, match="its header is wrong"):
        read_scan(tmp_path / "b.dcm")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("wide", [False, True])
def test_a_frame_that_was_cut_is_named_and_costs_no_other(
    tmp_path: Path, syntax: UID, wide: bool
) -> None:
    values = stack().astype(np.uint16) * 9 if wide else stack()

    def change(dataset: Dataset) -> None:
        parts = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
        parts[1] = parts[1][: len(parts[1]) // 4 * 2]
        dataset.PixelData = encapsulate(parts)

    (tmp_path / "b.dcm").write_bytes(compressed(values, syntax))
    (tmp_path / "a.dcm").write_bytes(edited(compressed(values, syntax), change))
    scan = read_scan(tmp_path / "a.dcm")
    assert np.array_equal(scan.frame(2), read_scan(tmp_path / "b.dcm").frame(2))
    with pytest.raises(ScanError, match=r"pixels of frame 1 of .*a\.dcm: .* copy the file again"):
        scan.frame(1)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("lost", [2, 10, 400])
def test_frames_that_all_lack_their_end_are_refused_or_told(
    tmp_path: Path, syntax: UID, lost: int
) -> None:
    def change(dataset: Dataset) -> None:
        parts = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3)
        dataset.PixelData = encapsulate([part.rstrip(b"\0")[:-lost] for part in parts])

    (tmp_path / "a.dcm").write_bytes(edited(compressed(stack(), syntax), change))
    try:
        scan = read_scan(tmp_path / "a.dcm")
    except ScanError as error:
        assert re.search(r"are (damaged|cut off); copy the file again", str(error))
    else:
        assert scan.notes == ("The compressed data of 3 frames have no end; they may be cut off.",)


@pytest.mark.parametrize("place", [2, 3, 20, 22])
@pytest.mark.parametrize("options", [{}, {"keep_rgb": True}])
def test_a_jpeg_of_broken_markers_is_refused(
    tmp_path: Path, place: int, options: dict[str, Any]
) -> None:
    """The decoder would end the process."""
    data = bytearray(jpeg(gray_rgb(), **options))
    data[place] ^= 0x2D
    (tmp_path / "a.dcm").write_bytes(jpeg_dicom([bytes(data)], gray_rgb(), "YBR_FULL_422"))
    try:
        scan = read_scan(tmp_path / "a.dcm")
    except ScanError as error:
        assert "damaged" in str(error)
    else:
        assert np.abs(scan.frame().astype(int) - gray_rgb()).mean() < 12


@pytest.mark.parametrize("length", [0, 12, 400])
def test_a_jpeg_2000_file_as_a_frame_is_read(tmp_path: Path, length: int) -> None:
    """A box whose length is 0 made pydicom run for ever."""

    def change(dataset: Dataset) -> None:
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I", length) + b"ftypjp2 \0\0\0\0"
        dataset.PixelData = encapsulate([boxes + frame])

    scan = scan_of(tmp_path, edited(compressed(picture(), JPEG2000Lossless), change))
    assert np.array_equal(scan.frame(), picture())


def test_an_unknown_code_of_adobe_is_refused(tmp_path: Path) -> None:
    data = bytearray(jpeg(gray_rgb(), keep_rgb=True))
    data[data.index(b"Adobe") + 11] = 109
    (tmp_path / "a.dcm").write_bytes(jpeg_dicom([bytes(data)], gray_rgb(), "RGB"))
    with pytest.raises(ScanError, match="compressed data are damaged"):
        read_scan(tmp_path / "a.dcm")


def test_a_frame_in_several_fragments_is_one_frame(tmp_path: Path) -> None:
    frame = jpeg(picture())
    frame += b"\0" * (len(frame) % 2)

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
        dataset["PixelData"].is_undefined_length = True

    scan = scan_of(tmp_path, edited(dicom_bytes(picture()), change))
    assert (len(scan), scan.notes) == (1, ())


@pytest.mark.parametrize("frames", [1, 4])
def test_padding_is_no_frame(tmp_path: Path, frames: int) -> None:
    pixels = stack(frames) if frames > 1 else picture()

    def change(dataset: Dataset) -> None:
        dataset.PixelData += bytes(pixels[0].nbytes if frames > 1 else 1000)

    scan = scan_of(tmp_path, edited(dicom_bytes(pixels), change))
    assert (len(scan), scan.notes) == (frames, ())


def test_bytes_behind_the_pixels_are_told(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PixelData += b"\x07" * 1000

    scan = scan_of(tmp_path, edited(dicom_bytes(picture()), change))
    assert np.array_equal(scan.frame(), picture())
    assert scan.notes == (
        "The pixel data are 1,000 bytes longer than their frames; these are ignored.",
    )


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_of_a_cut_file_the_whole_frames_are_read(tmp_path: Path, syntax: UID | None) -> None:
    data = compressed(stack(), syntax)
    scan = scan_of(tmp_path, data[:-100])
    assert np.array_equal(scan.read_all(), stack()[:2])
    assert scan.notes == ("Only 2 of 3 frames are in the file; it may be cut off.",)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_a_cut_still_is_refused(tmp_path: Path, syntax: UID | None) -> None:
    data = compressed(picture(), syntax)
    (tmp_path / "a.dcm").write_bytes(data[:-50])
    with pytest.raises(ScanError, match=r"a\.dcm is cut off .*copy or export it again"):
        read_scan(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "tags", [{"Rows": 144}, {"BitsAllocated": 16, "BitsStored": 16}, {"Columns": 96}]
)
def test_a_header_that_asks_for_more_pixels_than_there_are_is_refused(
    tmp_path: Path, tags: dict[str, Any]
) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(picture(), **tags))
    with pytest.raises(ScanError, match=r"its header is wrong: its pixel data hold 6,840 bytes"):
        read_scan(tmp_path / "a.dcm")


# ---- Gray levels


def test_all_frames_share_one_gray_scale(tmp_path: Path) -> None:
    """Tissue of one value is equally bright in a frame without and with a brighter spot."""
    frames = np.full((3, 20, 30), 1000, np.uint16)
    frames[1, 5:10], frames[2, 5:10] = 1040, 5000
    for syntax in (None, JPEGLSLossless):
        data = compressed(frames, syntax)
        scan = scan_of(tmp_path, data)
        assert [int(scan.frame(i)[0, 0]) for i in (2, 0, 1)] == [16, 16, 16]
        assert int(scan.frame(2)[6, 0]) == 78


def test_signed_frames_share_one_gray_scale(tmp_path: Path) -> None:
    frames = np.array([[[-100, 0, 0, 100]] * 4, [[-1000, 0, 0, 1000]] * 4], np.int16)
    scan = scan_of(tmp_path, dicom_bytes(frames, PixelRepresentation=1))
    assert scan.frame(0)[0].tolist() == [115, 128, 128, 140]
    assert scan.frame(1)[0].tolist() == [0, 128, 128, 255]


@pytest.mark.parametrize(("bits", "top"), [(8, 255), (12, 4095), (16, 65535)])
def test_a_table_of_gray_levels_has_its_own_bits(tmp_path: Path, bits: int, top: int) -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, bits]
    item.LUTData = np.linspace(0, top, 4096).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    values = np.array([[0, 1024, 2048, 4095]], np.uint16).repeat(4, axis=0)
    data = dicom_bytes(values, BitsStored=12, HighBit=11, VOILUTSequence=Sequence([item]))
    shown = scan_of(tmp_path, data).frame()[0].astype(int)
    assert np.abs(shown - [0, 64, 128, 255]).max() <= 1


@pytest.mark.parametrize(
    ("center", "width", "note"),
    [
        ("1000", "0", "WindowWidth is 0; pixels are shown without a window."),
        ("1000", "0.5", "WindowWidth is 0.5; pixels are shown without a window."),
        ("1000", "-20", "WindowWidth is -20; pixels are shown without a window."),
        ("1000", "", "WindowWidth is missing or empty; pixels are shown without a window."),
        ("", "500", "WindowCenter is missing or empty; pixels are shown without a window."),
        ("", "", None),
        (
            "40x",
            "500",
            "WindowCenter is '40x', which is not a number; pixels are shown without a window.",
        ),
        (
            "-30000",
            "400",
            "The window (center -30000, width 400) shows nothing of the first frame; pixels",
        ),
    ],
)
def test_a_window_that_is_none_is_left_out(
    tmp_path: Path, center: str, width: str, note: str | None
) -> None:
    values = (picture().astype(np.uint16) * 4).astype(np.uint16)
    plain = scan_of(tmp_path, dicom_bytes(values)).frame()
    # Malformed values can only be written in place of valid ones of the same length.
    written = "11111111"[: len(center)]
    data = dicom_bytes(values, WindowCenter=written or None, WindowWidth=width or None)
    if written:
        mark = b"\x28\0\x50\x10DS"
        at = data.index(mark) + 8
        data = data[:at] + center.encode() + data[at + len(center) :]
    scan = scan_of(tmp_path, data)
    assert np.array_equal(scan.frame(), plain)
    assert plain.max() == 254
    assert "".join(scan.notes).startswith(note or "")
    assert bool(scan.notes) == (note is not None)


def test_windows_of_all_kinds(tmp_path: Path) -> None:
    values = np.array([[0, 100, 200, 300, 400]], np.uint16).repeat(3, axis=0)

    def shown(**tags: Any) -> list[int]:
        return [int(v) for v in scan_of(tmp_path, dicom_bytes(values, **tags)).frame()[0]]

    assert shown(WindowCenter=200, WindowWidth=1) == [0, 0, 255, 255, 255]
    exact = shown(WindowCenter=200, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")
    assert exact == [0, 0, 128, 255, 255]
    sigmoid = shown(WindowCenter=200, WindowWidth=200, VOILUTFunction="SIGMOID")
    assert sigmoid == [5, 30, 128, 225, 250]
    first_of_two = shown(WindowCenter=[200, 40], WindowWidth=[1, 80])
    assert first_of_two == [0, 0, 255, 255, 255]


def test_frames_of_an_enhanced_image_have_windows_of_their_own(tmp_path: Path) -> None:
    frames = np.full((2, 20, 30), 500, np.uint16)
    frames[:, :, :5] = 0

    def group(center: float, slope: float) -> Dataset:
        window, transform, found = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 1000
        transform.RescaleSlope, transform.RescaleIntercept = slope, 0
        found.FrameVOILUTSequence = Sequence([window])
        found.PixelValueTransformationSequence = Sequence([transform])
        return found

    groups = Sequence([group(500, 1), group(1000, 1)])
    scan = scan_of(tmp_path, dicom_bytes(frames, PerFrameFunctionalGroupsSequence=groups))
    assert [int(scan.frame(i)[0, 9]) for i in (0, 1)] == [128, 0]
    groups = Sequence([group(500, 1), group(1000, 2)])
    scan = scan_of(tmp_path, dicom_bytes(frames, PerFrameFunctionalGroupsSequence=groups))
    assert [int(scan.frame(i)[0, 9]) for i in (0, 1)] == [128, 128]


@pytest.mark.parametrize(("slope", "intercept"), [("1", "0"), ("0.003", "0"), ("2", "-1024")])
def test_a_line_without_a_window_changes_nothing(
    tmp_path: Path, slope: str, intercept: str
) -> None:
    for values in (picture(), picture().astype(np.uint16) * 5):
        plain = scan_of(tmp_path, dicom_bytes(values)).frame()
        data = dicom_bytes(values, RescaleSlope=slope, RescaleIntercept=intercept)
        assert np.array_equal(scan_of(tmp_path, data).frame(), plain)


@pytest.mark.parametrize("high", [11, 15])
def test_values_are_taken_from_the_bits_that_the_header_names(tmp_path: Path, high: int) -> None:
    values = np.array([[0, 1000, 4095]], np.uint16).repeat(4, axis=0)
    stored = (values << (high - 11)).astype(np.uint16)
    scan = scan_of(tmp_path, dicom_bytes(stored, BitsStored=12, HighBit=high))
    assert scan.frame()[0].tolist() == [0, 62, 255]


def test_an_overlay_in_unused_bits_is_not_shown(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 4095]], np.uint16).repeat(4, axis=0)
    overlaid = values | np.uint16(0x8000)

    def change(dataset: Dataset) -> None:
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 15)

    data = edited(dicom_bytes(overlaid, BitsStored=12, HighBit=11), change)
    assert scan_of(tmp_path, data).frame()[0].tolist() == [0, 62, 255]


def test_radiofrequency_data_are_refused(tmp_path: Path) -> None:
    lines = np.sin(np.arange(200) * 0.9) * np.random.default_rng(0).uniform(100, 9000, (40, 1))
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(lines.astype(np.int16), PixelRepresentation=1))
    with pytest.raises(ScanError, match="radiofrequency"):
        read_scan(tmp_path / "a.dcm").frame()


@pytest.mark.parametrize("padding", [-2000, 30000])
def test_padding_takes_no_part_in_the_gray_scale(tmp_path: Path, padding: int) -> None:
    values = np.full((20, 30), padding, np.int16)
    values[:, 10:20] = np.arange(10) * 100
    tags: dict[str, Any] = {"PixelRepresentation": 1, "PixelPaddingValue": padding}
    frame = scan_of(tmp_path, dicom_bytes(values, **tags)).frame()
    assert frame[0, 10:20].tolist() == [round(v * 100 * 255 / 1023) for v in range(10)]
    assert not frame[:, :10].any()


def test_float_pixels_are_read_and_nan_is_refused(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)

    def as_float(dataset: Dataset) -> None:
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        dataset.BitsAllocated = 32
        dataset.FloatPixelData = values.tobytes()

    scan = scan_of(tmp_path, edited(dicom_bytes(picture(20, 30)), as_float))
    assert np.abs(scan.frame() - values * 255).max() <= 0.51
    values = values.copy()
    values[3, 4] = np.nan
    for tags in ({}, {"WindowCenter": 0.5, "WindowWidth": 2}):
        data = edited(dicom_bytes(picture(20, 30), "MONOCHROME2", **tags), as_float)
        (tmp_path / "b.dcm").write_bytes(data)
        with pytest.raises(ScanError, match="not finite"):
            read_scan(tmp_path / "b.dcm").frame()


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.tile([1, 0, 0, 1, 1, 0, 1, 0], (16, 2)).astype(np.uint8)

    def change(dataset: Dataset) -> None:
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        dataset.PixelData = np.packbits(bits, bitorder="little").tobytes()

    assert np.array_equal(scan_of(tmp_path, edited(dicom_bytes(bits), change)).frame(), bits * 255)


# ---- Elements beside the picture

MALFORMED = [
    ("PixelSpacing", "0.1\\0.2", b"0,1\\0,2", "PixelSpacing is '0,1\\0,2', which is not a number"),
    ("PixelSpacing", "0.1\\0.2", b"0.10.2 ", "PixelSpacing is '0.10.2', which is not a number"),
    ("PixelSpacing", "0.100000", b"0.100000", "PixelSpacing holds one value ('0.100000')"),
    ("PixelSpacing", "0.1\\0.2", b"0\\0    ", "PixelSpacing is 0 × 0 mm"),
    ("PixelSpacing", "0.1\\0.2", b"NaN\\NaN", "PixelSpacing is 'NaN\\NaN', which is not a number"),
    ("FrameTime", "33.333", b"33 ms ", "FrameTime is '33 ms', which is not a number"),
    ("FrameTime", "33.333", b"33\\33 ", "FrameTime holds 2 values"),
    ("FrameTime", "33.333", b"-33.3 ", "FrameTime is -33.3"),
    ("RescaleSlope", "1.0000", b"eins  ", "RescaleSlope is 'eins', which is not a number"),
]


@pytest.mark.parametrize(("keyword", "valid", "malformed", "note"), MALFORMED)
def test_a_malformed_element_costs_no_more_than_itself(
    tmp_path: Path, keyword: str, valid: str, malformed: bytes, note: str
) -> None:
    data = dicom_bytes(
        stack(), "MONOCHROME2", ExplicitVRLittleEndian, **{keyword: valid.split("\\")}
    )
    old = valid.encode()
    assert data.count(old) == 1
    scan = scan_of(tmp_path, data.replace(old, malformed[: len(old)]))
    assert np.array_equal(scan.read_all(), stack())
    assert (scan.spacing, scan.frame_time) == (None, None)
    assert len(scan.notes) == 1
    assert scan.notes[0].startswith(note)


def test_a_region_without_deltas_leaves_the_spacing_to_the_next(tmp_path: Path) -> None:
    broken, whole = ultrasound_region(0.02), ultrasound_region(0.03)
    del broken.PhysicalDeltaY
    regions = Sequence([broken, whole])
    scan = scan_of(tmp_path, dicom_bytes(picture(), SequenceOfUltrasoundRegions=regions))
    assert scan.spacing == pytest.approx((0.6, 0.3))
    assert scan.notes == (
        "Ultrasound region 1 has no PhysicalDeltaY; another element gives the spacing.",
    )
    scan = scan_of(tmp_path, dicom_bytes(picture(), SequenceOfUltrasoundRegions=Sequence([broken])))
    assert scan.spacing is None


def test_regions_that_differ_are_told(tmp_path: Path) -> None:
    regions = Sequence([ultrasound_region(0.02), ultrasound_region(0.03)])
    scan = scan_of(tmp_path, dicom_bytes(picture(), SequenceOfUltrasoundRegions=regions))
    assert scan.spacing == pytest.approx((0.4, 0.2))
    assert scan.notes == ("The ultrasound regions differ in spacing; that of the first is used.",)


@pytest.mark.parametrize("where", ["shared", "per frame", "differing"])
def test_an_enhanced_image_has_spacing_in_functional_groups(tmp_path: Path, where: str) -> None:
    def group(row: float) -> Dataset:
        measures, found = Dataset(), Dataset()
        measures.PixelSpacing = [row, 0.3]
        found.PixelMeasuresSequence = Sequence([measures])
        return found

    tags: dict[str, Any]
    if where == "shared":
        tags = {"SharedFunctionalGroupsSequence": Sequence([group(0.2)])}
    else:
        rows = (0.2, 0.2, 0.2 if where == "per frame" else 0.4)
        tags = {"PerFrameFunctionalGroupsSequence": Sequence([group(row) for row in rows])}
    scan = scan_of(tmp_path, dicom_bytes(stack(), **tags))
    if where == "differing":
        assert scan.spacing is None
        assert "different spacings" in scan.notes[0]
    else:
        assert scan.spacing == (0.2, 0.3)
        assert scan.notes == ()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"FrameTime": "33.3"}, 33.3),
        ({"FrameTimeVector": ["0", "40", "40"]}, 40.0),
        ({"FrameTimeVector": ["0", "40", "80"]}, None),
        ({"CineRate": "25"}, 40.0),
        ({}, None),
    ],
)
def test_time_between_frames(tmp_path: Path, tags: dict[str, Any], expected: float | None) -> None:
    assert scan_of(tmp_path, dicom_bytes(stack(), **tags)).frame_time == expected


def test_a_sequence_that_is_none_costs_no_picture(tmp_path: Path) -> None:
    data = dicom_bytes(picture(), SequenceOfUltrasoundRegions=Sequence([ultrasound_region(0.02)]))
    at = data.index(b"\x18\0\x11\x60SQ") + 8
    length = struct.unpack("<I", data[at : at + 4])[0]
    at += 4
    scan = scan_of(tmp_path, data[:at] + b"\x55" * length + data[at + length :])
    assert np.array_equal(scan.frame(), picture())
    assert scan.spacing is None


# ---- Encodings


@pytest.mark.parametrize("zlib_header", [False, True])
def test_a_deflated_file_is_inflated(tmp_path: Path, zlib_header: bool) -> None:
    data = dicom_bytes(stack())
    start = data.index(b"\x08\0\x16\0UI")
    meta = data[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    at = meta.index(b"\x02\0\x10\0UI") + 6
    meta = meta[:at] + struct.pack("<H", 22) + meta[at + 2 :]
    at = meta.index(b"\x02\0\0\0UL") + 8
    length = struct.unpack("<I", meta[at : at + 4])[0]
    meta = meta[:at] + struct.pack("<I", length + 2) + meta[at + 4 :]
    deflate = zlib.compressobj(wbits=15 if zlib_header else -15)
    packed = deflate.compress(data[start:]) + deflate.flush()
    scan = scan_of(tmp_path, meta + packed)
    assert np.array_equal(scan.read_all(), stack())
    assert scan.notes == ()
    with pytest.raises(ScanError, match=r"cannot be inflated; it is damaged"):
        scan_of(tmp_path, meta + b"\xff" * 100)


def test_every_byte_order_and_a_wrong_statement_of_it(tmp_path: Path) -> None:
    values = picture().astype(np.uint16) * 3
    expected = scan_of(tmp_path, dicom_bytes(values)).frame()
    for syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian):
        dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(values)))
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = values.astype(">u2").tobytes()
        out = io.BytesIO()
        pydicom.dcmwrite(
            out,
            dataset,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax == ImplicitVRLittleEndian,
        )
        assert np.array_equal(scan_of(tmp_path, out.getvalue()).frame(), expected)
    wrong = dicom_bytes(values).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    assert np.array_equal(scan_of(tmp_path, wrong).frame(), expected)


@pytest.mark.parametrize(
    "preamble", [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"\x89PNG\r\n\x1a\n", b"BM"]
)
@pytest.mark.parametrize("name", ["a.dcm", "IM_0001", "1.2.840.113619.2.1"])
def test_any_preamble_is_allowed(tmp_path: Path, preamble: bytes, name: str) -> None:
    data = dicom_bytes(picture())
    scan = scan_of(tmp_path, preamble + data[len(preamble) :], name)
    assert np.array_equal(scan.frame(), picture())


@pytest.mark.parametrize("kind", ["implicit", "explicit", "big-endian"])
def test_a_file_without_preamble_and_suffix_is_found(tmp_path: Path, kind: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(picture())))
    del dataset.file_meta
    dataset.preamble = None
    out = io.BytesIO()
    pydicom.dcmwrite(
        out,
        dataset,
        implicit_vr=kind == "implicit",
        little_endian=kind != "big-endian",
        force_encoding=True,
    )
    assert np.array_equal(scan_of(tmp_path, out.getvalue(), "IM_0001").frame(), picture())


def test_uncompressed_pixels_called_compressed_are_told(tmp_path: Path) -> None:
    data = dicom_bytes(picture())
    at = data.index(b"\x02\0\x10\0UI")
    stated = b"1.2.840.10008.1.2.5\0"
    data = data[: at + 8] + stated + data[at + 8 + len(stated) :]
    scan = scan_of(tmp_path, data)
    assert np.array_equal(scan.frame(), picture())
    assert scan.notes == ("The header says RLE Lossless, but the pixels are not compressed.",)


@pytest.mark.parametrize(
    ("syntax", "sentence"),
    [
        (
            "1.2.840.10008.1.2.4.112",
            r"JPEG XL \(.*\), which is not supported; export it as JPEG 2000",
        ),
        ("1.2.840.10008.1.2.4.102", r"H\.264 .*, which is not supported; export the video as MP4"),
        ("1.2.840.10008.1.2.4.100", r"MPEG2 .*, which is not supported; export the video as MP4"),
        ("1.2.840.10008.1.2.4.94", r"JPIP Referenced .*, which is not supported; export it"),
    ],
)
def test_an_unsupported_compression_is_named_with_a_way_out(
    tmp_path: Path, syntax: str, sentence: str
) -> None:
    data = with_syntax(jpeg_dicom([jpeg(picture())], picture(), "MONOCHROME2"), syntax)
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(ScanError, match=sentence):
        read_scan(tmp_path / "a.dcm")


def with_syntax(data: bytes, syntax: UID | str) -> bytes:
    """A file that states another transfer syntax."""
    at = data.index(b"\x02\0\x10\0UI") + 6
    old = struct.unpack("<H", data[at : at + 2])[0]
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    return data[:at] + struct.pack("<H", len(text)) + text + data[at + 2 + old :]


@pytest.mark.parametrize(
    "stated", [ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEG2000Lossless, None]
)
@pytest.mark.parametrize("actual", [JPEGLSLossless, JPEG2000Lossless, JPEGBaseline8Bit])
def test_a_codestream_says_how_it_is_compressed(
    tmp_path: Path, stated: UID | None, actual: UID
) -> None:
    if actual == JPEGBaseline8Bit:
        data = jpeg_dicom([jpeg(frame) for frame in stack()], stack(), "MONOCHROME2")
    else:
        data = compressed(stack(), actual)
    data = with_syntax(data, stated) if stated else data[data.index(b"\x08\0\x16\0UI") :]
    scan = scan_of(tmp_path, data)
    off = np.abs(scan.read_all().astype(int) - stack())
    assert off.mean() < (5 if actual == JPEGBaseline8Bit else 0.01)
    assert bool(scan.notes) == (stated != actual)
    if scan.notes:
        assert re.fullmatch(
            r"The header says .*, but the pixels are compressed as JPEG.*", scan.notes[0]
        )


def test_compressed_pixels_of_unknown_kind_are_refused(tmp_path: Path) -> None:
    data = with_syntax(compressed(stack(), RLELossless), ExplicitVRLittleEndian)
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(ScanError, match=r"compressed, but its header does not say how"):
        read_scan(tmp_path / "a.dcm")


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(edited(dicom_bytes(picture()), without("PixelData")))
    with pytest.raises(ScanError, match=r"holds no pixels, or is cut off before them"):
        read_scan(tmp_path / "a.dcm")


# ---- Whole files


@pytest.mark.parametrize("character_set", ["ISO_IR", "latin1", "ISO_IR 192", ""])
def test_an_unknown_character_set_costs_nothing(tmp_path: Path, character_set: str) -> None:
    data = dicom_bytes(picture(), SpecificCharacterSet="ISO_IR 100")
    at = data.index(b"ISO_IR 100")
    scan = scan_of(tmp_path, data[:at] + character_set.ljust(10).encode() + data[at + 10 :])
    assert np.array_equal(scan.frame(), picture())
    assert (scan.subject, scan.notes) == ("subject-7", ())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_header_gives_a_scan_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("a")
    tags = {
        "SequenceOfUltrasoundRegions": Sequence([ultrasound_region(0.02)]),
        "WindowCenter": 100,
        "WindowWidth": 200,
        "FrameTime": "33.3",
    }
    syntax = data.draw(st.sampled_from([None, RLELossless, JPEG2000Lossless]))
    bad = bytearray(compressed(stack(), syntax, **tags))
    places = st.integers(132, 760)  # up to the pixels
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        bad[place] = value
    try:
        scan = scan_of(folder, bytes(bad))
    except ScanError as error:
        assert "\n" not in str(error)
    else:
        assert scan.read_all().shape[:3] == (len(scan), scan.height, scan.width)


def test_threads_read_the_same(tmp_path: Path) -> None:
    """Warnings are not switched off for the process, and none is needed."""
    paths = []
    for index in range(4):
        paths.append(tmp_path / f"{index}.dcm")
        paths[-1].write_bytes(compressed(stack().astype(np.uint16) * 9 + index, JPEG2000Lossless))
    expected = [read_scan(path).read_all() for path in paths]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda path: read_scan(path).read_all(), paths * 8))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected * 8, strict=True))
    assert warnings.filters == filters


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 4),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    seed=st.integers(0, 9),
    syntax=st.sampled_from([None, RLELossless, JPEG2000Lossless]),
)
def test_gray_levels_keep_the_order_of_values_in_all_frames(
    tmp_path_factory: pytest.TempPathFactory,
    frames: int,
    bits: int,
    signed: bool,
    seed: int,
    syntax: UID | None,
) -> None:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    kind = (np.int16 if signed else np.uint16) if bits > 8 else (np.int8 if signed else np.uint8)
    values = np.random.default_rng(seed).integers(low, high, (frames, 34, 36)).astype(kind)
    values = np.sort(values, axis=-1)  # signed noise would be taken for radiofrequency data
    values = values if frames > 1 else values[0]
    tags: dict[str, Any] = {
        "PixelRepresentation": int(signed),
        "BitsStored": bits,
        "HighBit": bits - 1,
    }
    if syntax == JPEG2000Lossless:
        tags = {"PixelRepresentation": int(signed)}
    data = compressed(values, syntax, **tags)
    shown = scan_of(tmp_path_factory.mktemp("a"), data).read_all().reshape(-1).astype(int)
    order = np.argsort(values.reshape(-1), kind="stable")
    assert (np.diff(shown[order]) >= 0).all()
    same: dict[int, int] = {}
    for value, level in zip(values.reshape(-1).tolist(), shown.tolist(), strict=True):
        assert same.setdefault(value, level) == level


# ---- Files of others, if they are at hand

SHARED = Path(__file__).resolve().parents[3] / "shared"
REPORTED = {
    "dicom-16bit-frames/mono16_frames_1000_1040.dcm": (2, [31.1, 32.3]),
    "dicom-deflated/deflated.dcm": (1, [99.0]),
    "dicom-enhanced-spacing/enhanced_spacing.dcm": (2, [99.0, 99.0]),
    "dicom-no-frame-count/multi3_no_NumberOfFrames.dcm": (3, [99.0, 99.0, 156.0]),
    "dicom-side-elements/frametime_two.dcm": (1, [99.0]),
    "dicom-side-elements/pixelspacing_one.dcm": (1, [99.0]),
    "dicom-side-elements/region_no_delta.dcm": (1, [99.0]),
    "dicom-window/win_empty.dcm": (1, [124.5]),
    "dicom-window/win_zero.dcm": (1, [99.0]),
}


@pytest.mark.parametrize("name", REPORTED)
def test_reported_files_give_the_picture_that_was_expected(tmp_path: Path, name: str) -> None:
    file = SHARED / "field" / name
    if not file.is_file():
        pytest.skip(f"{name} is not at hand")
    scan = scan_of(tmp_path, file.read_bytes())
    frames, means = REPORTED[name]
    assert len(scan) == frames
    assert [round(float(frame.mean()), 1) for frame in scan] == means


FORMATS = {
    "pydicom/ExplVR_BigEnd.dcm": ((1, 60, 80, True), None, ""),
    "pydicom/examples_palette.dcm": ((1, 350, 800, True), 0.2623, ""),
    "pydicom/examples_rgb_color.dcm": ((1, 240, 320, True), None, ""),
    "pydicom/examples_ybr_color.dcm": ((30, 240, 320, True), 0.5105, ""),
    "itkpocus-dicom/sonoque_anechoic-3mm-3mm.dcm": (
        (1, 1455, 2083, True),
        0.0291,
        "PhotometricInterpretation is RGB, but the pixels are YBR_FULL; YBR_FULL is used.",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_scanners_are_read(tmp_path: Path, name: str) -> None:
    file = SHARED / "formats" / name
    if not file.is_file():
        pytest.skip(f"{name} is not at hand")
    scan = scan_of(tmp_path, file.read_bytes())
    shape, spacing, note = FORMATS[name]
    assert (len(scan), scan.height, scan.width, scan.is_rgb) == shape
    assert scan.spacing == (pytest.approx((spacing, spacing), abs=1e-4) if spacing else None)
    assert " ".join(scan.notes) == note
