"""Cine frames are exact in any order, compared with PyAV, which decodes from the start."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from ultrasam.errors import ScanError
from ultrasam.images.reading import read_scan

FRAMES = 30
# Name: file, codec, pixel format, options, ms between frames.
KINDS = {
    "closed groups": ("a.mp4", "libx264", "yuv420p", {"g": "7", "bf": "2"}, [100]),
    "open groups": ("b.mp4", "libx264", "yuv420p", {"g": "8", "bf": "3", "x264-params": "open-gop=1"}, [100]),
    "uneven times": ("c.mp4", "libx264", "yuv420p", {"g": "7", "bf": "2"}, [7, 33, 100, 12]),
    "MPEG-4": ("d.avi", "mpeg4", "yuv420p", {"g": "6"}, [100]),
    "gray": ("e.avi", "ffv1", "gray", {"g": "1"}, [100]),
}  # fmt: skip


def write(folder: Path, kind: str) -> Path:
    name, codec, pixel_format, options, gaps = KINDS[kind]
    path = folder / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, pixel_format, options
        uneven = len(gaps) > 1
        if uneven:
            stream.codec_context.time_base = Fraction(1, 1000)
        time = 0
        for index in range(FRAMES):
            image = np.full((48, 64, 3), 20 + 5 * index, np.uint8)
            image[10:20, index : 10 + index] = 250
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if uneven:
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                time += gaps[index % len(gaps)]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def in_order(path: Path, layout: str) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=layout) for frame in container.decode(video=0)]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_the_same_in_any_order(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    scan = read_scan(path)
    expected = in_order(path, "rgb24" if scan.is_rgb else "gray")
    assert scan.num_frames == len(expected) == FRAMES
    assert scan.is_rgb == (kind != "gray")
    shuffled = np.random.default_rng(0).permutation(FRAMES)
    for index in (*shuffled.tolist(), *range(FRAMES), *range(FRAMES - 1, -1, -1)):
        difference = np.abs(scan.frame(index).astype(int) - expected[index])
        assert difference.max() <= 2, index  # two builds of FFmpeg may round colors apart


def test_a_frame_whose_bytes_are_damaged_is_named_and_no_other_shown_for_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "gray")
    expected = in_order(path, "gray")
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[places[12] + 8 : places[13] - 8] = bytes(places[13] - places[12] - 16)
    path.write_bytes(bytes(data))
    scan = read_scan(path)
    wrong = []
    for index in range(FRAMES):
        try:
            assert index == 12 or np.array_equal(scan.frame(index), expected[index]), index
        except ScanError as error:
            assert f"Frame {index} of {path} is damaged or cut off" in str(error)
            wrong.append(index)
    assert wrong in ([], [12])  # what FFmpeg makes of the bytes, but never the frame after
    assert capfd.readouterr().err == ""


def test_a_truncated_cine_gives_its_remaining_frames_or_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "MPEG-4")
    expected = in_order(path, "rgb24")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    scan = read_scan(path)
    assert 0 < len(scan) < FRAMES
    assert np.array_equal(scan.frame(2), expected[2])


def test_a_file_without_a_video_is_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    with pytest.raises(ScanError, match=r"a\.mp4 is damaged, or has no video stream"):
        read_scan(path)
    assert capfd.readouterr().err == ""
