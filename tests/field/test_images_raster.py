"""Pictures of more than 8 bits, in every kind that a TIFF or PNG may have."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from ultrasam.errors import ScanError
from ultrasam.images import quiet
from ultrasam.images.raster import count_frames, decode_frame, decode_image, decode_values
from ultrasam.images.reading import read_scan

Pixels = npt.NDArray[Any]
KINDS = ["int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def ramp(kind: str, top: float = 250) -> Pixels:
    """A ramp from 0 to ``top`` (or 1, of floats), which no outlier rule changes."""
    values = np.linspace(0, 1, 40 * 50).reshape(40, 50)
    return np.asarray(values if kind.startswith("float") else np.rint(values * top)).astype(kind)


def expected(kind: str, top: float = 250) -> Pixels:
    """The ramp in 8 bits: integers up to 250 fit 8 bits and are kept."""
    factor = 255 if kind.startswith("float") else 255 / next(t for t in (255, 1023) if t >= top)
    return np.clip(ramp(kind, top) * factor + 0.5, 0, 255).astype(np.uint8)


def png(pixels: Pixels, color_type: int) -> bytes:
    """Encode [H, W, C] of 16 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gray_tiff_of_any_kind_keeps_its_gray_levels(
    tmp_path: Path, kind: str, order: str
) -> None:
    path = tmp_path / "a.tif"
    top = 120 if kind == "int8" else 250
    tifffile.imwrite(path, ramp(kind, top), photometric="minisblack", byteorder=order)
    scan = read_scan(path)
    assert not scan.is_rgb
    assert np.array_equal(scan.frame(), expected(kind, top))
    assert np.array_equal(decode_frame(path.read_bytes(), "a.tif"), expected(kind, top))
    data = path.read_bytes()
    assert np.array_equal(decode_values(data, "a.tif"), ramp(kind, top))
    assert np.allclose(decode_image(data, "a.tif", np.asarray), ramp(kind, top))


@pytest.mark.parametrize("extra", [{"bigtiff": True}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_the_container_of_a_deep_tiff_does_not_matter(
    tmp_path: Path, extra: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp("float64"), **extra)
    assert np.array_equal(read_scan(path).frame(), expected("float64"))


@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "float32", "float64"])
def test_deep_colors_keep_their_bits(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    red = ramp(kind, 1000)
    tifffile.imwrite(path, np.stack([red, red[::-1], 0 * red], -1), photometric="rgb")
    frame = read_scan(path).frame()
    gray = expected(kind, 1000)
    assert frame.shape == (40, 50, 3)
    assert np.array_equal(frame, np.stack([gray, gray[::-1], 0 * gray], -1))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_of_deep_colors_keeps_its_bits(tmp_path: Path, channels: int) -> None:
    value, alpha = ramp("uint16", 1000), np.full((40, 50), 65535, np.uint16)
    alpha[:, :5] = 0
    planes = {
        2: [value, alpha],
        3: [value, value[::-1], 0 * value],
        4: [value, value, 0 * value, alpha],
    }
    path = tmp_path / "a.png"
    path.write_bytes(png(np.stack(planes[channels], -1), {2: 4, 3: 2, 4: 6}[channels]))
    frame = read_scan(path).frame()
    first = frame if frame.ndim == 2 else frame[..., 0]
    gray = expected("uint16", 1000)
    if channels != 3:
        gray[:, :5] = 0
    assert frame.ndim == (2 if channels == 2 else 3)
    assert np.array_equal(first, gray)


def test_an_image_of_a_data_set_has_one_page() -> None:
    pages = [Image.fromarray(np.full((20, 30), value, np.uint8)) for value in (5, 60)]
    one, two = io.BytesIO(), io.BytesIO()
    pages[0].save(one, "TIFF")
    pages[0].save(two, "TIFF", save_all=True, append_images=pages[1:])
    assert decode_frame(one.getvalue(), "a.tif").max() == 5
    with pytest.raises(ScanError, match=r"^a\.tif has 2 pages; save each as a file of its own\.$"):
        decode_frame(two.getvalue(), "a.tif")


def test_pages_of_an_encoded_image_are_counted() -> None:
    for kind in ("uint8", "uint16", "float64"):
        opened = io.BytesIO()
        tifffile.imwrite(opened, np.stack([ramp(kind)] * 3), photometric="minisblack")
        assert count_frames(opened.getvalue(), "a.tif") == 3
    assert count_frames(png(np.zeros((5, 6, 3)), 2), "a.png") == 1
    with pytest.raises(ScanError, match=r"^a\.png is damaged"):
        count_frames(b"\x89PNG and nothing", "a.png")


def test_a_color_mask_of_sixteen_bits_keeps_its_values() -> None:
    mask = np.zeros((6, 5, 3), np.uint16)
    mask[2, 3] = (1, 0, 7)
    assert decode_values(png(mask, 2), "m.png")[2, 3].tolist() == [1, 0, 7]
    assert decode_values(png(mask * 9362, 2), "m.png")[2, 3].tolist() == [36, 0, 254]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64"])
def test_a_tiff_of_which_zero_is_white_is_inverted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(kind), photometric="miniswhite")
    assert np.array_equal(read_scan(path).frame(), 255 - expected(kind))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(kind), extratags=[(274, "H", 1, orientation, True)])
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(expected(kind)).save(tmp_path / "b.png", exif=exif)
    assert np.array_equal(read_scan(path).frame(), read_scan(tmp_path / "b.png").frame())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_deep_png_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    gray = np.stack([expected("uint16", 1000)] * 3, -1)
    Image.fromarray(gray).save(tmp_path / "b.png", exif=exif)
    chunk = b"Exif\0\0"
    data = exif.tobytes().removeprefix(chunk)
    deep = png(np.stack([ramp("uint16", 1000)] * 3, -1), 2)
    body = b"eXIf" + data
    deep = (
        deep[:33]
        + struct.pack(">I", len(data))
        + body
        + struct.pack(">I", zlib.crc32(body))
        + deep[33:]
    )
    (tmp_path / "a.png").write_bytes(deep)
    shown = read_scan(tmp_path / "a.png").frame()
    assert np.array_equal(
        shown if shown.ndim == 2 else shown[..., 0], read_scan(tmp_path / "b.png").frame()[..., 0]
    )


UNSUPPORTED = {
    "its values are complex numbers, as in IQ data": (np.ones((6, 5), np.complex64), {}),
    "it has 2 channels; save one of them as a gray image": (
        np.zeros((6, 5, 2), np.uint8), {"photometric": "minisblack", "extrasamples": ["unspecified"]},
    ),
    "it has 5 channels; save one of them as a gray image": (
        np.zeros((6, 5, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"},
    ),
    "its pixels are 16-bit floats; save it with 32-bit floats or 8 bits": (np.zeros((6, 5), np.float16), {}),
    "its colors are stored as separate planes of 16-bit unsigned integers": (
        np.zeros((3, 6, 5), np.uint16), {"photometric": "rgb", "planarconfig": "separate"},
    ),
    "its 3 channels of 32-bit floats are no RGB": (
        np.zeros((6, 5, 3), np.float32), {"photometric": "minisblack", "planarconfig": "contig"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_a_kind_of_tiff_that_is_not_supported_is_named_instead_of_called_damaged(
    tmp_path: Path, reason: str
) -> None:
    pixels, options = UNSUPPORTED[reason]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, **options)
    for read in (
        lambda: read_scan(path),
        lambda: decode_frame(path.read_bytes(), str(path)),
        lambda: decode_values(path.read_bytes(), str(path)),
    ):
        with pytest.raises(ScanError) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: this kind of TIFF is not supported: {reason}")
        assert "damaged" not in str(caught.value)


def test_colors_as_separate_planes_of_eight_bits_are_read(tmp_path: Path) -> None:
    planes = np.stack([expected("uint16")] * 2 + [np.zeros((40, 50), np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_scan(tmp_path / "a.tif").frame(), np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "float32", "float64"])
def test_pages_share_a_gray_scale(tmp_path: Path, kind: str) -> None:
    pages = np.zeros((4, 40, 50), kind)
    for page, value in zip(pages, (1000, 1040, 100, 3000), strict=True):
        page[:, 10:] = value
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    scan = read_scan(tmp_path / "a.tif")
    top = 3000 if kind.startswith("float") else 4095
    assert [int(frame[0, 20]) for frame in scan] == [
        int(255 * value / top + 0.5) for value in (1000, 1040, 100, 3000)
    ]


def test_a_page_of_another_size_or_type_or_with_nan_costs_only_itself(tmp_path: Path) -> None:
    page = np.full((40, 50), 1000, np.uint16)
    odd: Sequence[Pixels] = [
        page,
        page[:20],
        page.astype(np.float32),
        page + 40,
        page * np.float32("nan"),
    ]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for one in odd:
            writer.write(one, photometric="minisblack")
    scan = read_scan(tmp_path / "a.tif")
    assert [int(scan.frame(index)[0, 0]) for index in (0, 2, 3)] == [62, 255, 65]
    with pytest.raises(ScanError, match="frame 1 is 50 × 20 pixels, but the first is 50 × 40"):
        scan.frame(1)
    with pytest.raises(ScanError, match=r"frame 4 of .*a\.tif: Some pixels are not finite numbers"):
        scan.frame(4)


@pytest.mark.parametrize("kind", ["uint16", "float64"])
@pytest.mark.parametrize("cut", [5, 3000])
def test_a_truncated_deep_tiff_is_damaged(
    tmp_path: Path, kind: str, cut: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([ramp(kind)] * 3, -1), photometric="rgb")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ScanError, match=r"a\.tif(:| is) .*damaged"):
        read_scan(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("cut", [60, 3000])
def test_a_truncated_deep_png_is_damaged(
    tmp_path: Path, cut: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 1000, (40, 50, 3)).astype(np.uint16)
    path.write_bytes(png(noise, 2)[:-cut])
    with pytest.raises(ScanError, match=r"a\.png(:| is) .*damaged"):
        read_scan(path)
    assert capfd.readouterr().err == ""


def test_a_large_imagej_stack_behind_one_directory_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, ramp("uint16"), description="ImageJ=1.53t\nimages=5\nslices=5\n", metadata=None
    )
    assert read_scan(path).notes == ("ImageJ wrote 5 images into it, of which only 1 can be read.",)
    tifffile.imwrite(path, np.stack([ramp("uint16")] * 5), imagej=True)
    assert (len(read_scan(path)), read_scan(path).notes) == (5, ())


def test_a_truncated_gif_says_that_its_end_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    noise = np.random.default_rng(0).integers(0, 255, (6, 60, 80)).astype(np.uint8)
    first, *others = (Image.fromarray(frame) for frame in noise)
    first.save(path, save_all=True, append_images=others, duration=50)
    whole, frames = path.read_bytes(), read_scan(path).read_all()
    path.write_bytes(whole + bytes(20))
    assert (len(read_scan(path)), read_scan(path).notes) == (6, ())
    path.write_bytes(whole[: len(whole) // 2])
    scan = read_scan(path)
    assert len(scan) == 3
    assert np.array_equal(scan.read_all(), frames[:3])
    assert scan.notes == ("Its end is missing: 3 frames are there; copy or download it again.",)


def test_threads_that_read_leave_warnings_and_logging_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([ramp("float64")] * 4), photometric="minisblack")
    before = list(warnings.filters)
    set_level: Any = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    level = set_level(3)
    scan = read_scan(path)
    threads = [
        threading.Thread(target=lambda: [scan.frame(k % 4) for k in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
    assert set_level(level) == 3


def test_what_is_silenced_is_restored_by_the_last_of_several(
    recwarn: pytest.WarningsRecorder,
) -> None:
    first, second = quiet.quiet_warnings(), quiet.quiet_warnings()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("hidden", UserWarning, stacklevel=1)
    second.__exit__(None, None, None)
    warnings.warn("shown", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in recwarn] == ["shown"]
