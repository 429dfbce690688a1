"""Cines that are turned, cut off, or damaged in their middle: the right frame or none."""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from ultrasam.errors import ScanError
from ultrasam.images.cine import _MOST_OPEN
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan

Pixels = npt.NDArray[np.uint8]
FRAMES = 16
# Name: codec, pixel format, options of the codec, options of the container.
KINDS: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    "a.mp4": ("libx264", "yuv420p", {"g": "6", "bf": "2"}, {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", "yuv420p", {"g": "6", "bf": "2"}, {"movflags": "frag_keyframe+empty_moov"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"g": "6"}, {}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {}, {}),
    "h264.avi": ("libx264", "yuv420p", {"g": "6", "bf": "2"}, {}),
    "raw.avi": ("rawvideo", "bgr24", {}, {}),
}  # fmt: skip


def write(path: Path, kind: str) -> bytes:
    codec, pixel_format, options, container = KINDS[kind]
    with av.open(str(path), "w", options=container) as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, pixel_format, options
        for index in range(FRAMES):
            small = np.random.default_rng(index).integers(0, 255, (6, 8, 3), dtype=np.uint8)
            image = small.repeat(8, 0).repeat(8, 1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    return path.read_bytes()


def decoded(path: Path) -> list[Pixels]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def read_or_none(scan: Scan, index: int) -> Pixels | None:
    try:
        return scan.frame(index)
    except ScanError as error:
        assert f"Frame {index} of " in str(error)
        assert "is damaged or truncated" in str(error)
        return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "damage", ["cut at 80 %", "cut at 50 %", "cut at 35 %", "zeros in its middle"]
)
def test_each_frame_of_a_damaged_cine_is_right_or_refused(
    tmp_path: Path, kind: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / kind
    data = write(path, kind)
    whole = decoded(path)
    if damage.startswith("cut"):
        data = data[: len(data) * int(damage.split()[2]) // 100]
    else:
        middle = len(data) // 2
        data = data[:middle] + bytes(3000) + data[middle + 3000 :]
    path.write_bytes(data)
    try:
        scan = read_scan(path)
    except ScanError as error:
        assert "damaged" in str(error)
    else:
        assert "Its end is missing or damaged" in " ".join(scan.notes)
        for index in (*range(len(scan)), *range(len(scan) - 1, -1, -1)):
            frame = read_or_none(scan, index)
            assert frame is None or np.abs(frame.astype(int) - whole[index]).max() <= 3, index
    printed = capfd.readouterr().err.splitlines()  # nothing of FFmpeg's own
    assert all(line.startswith("ultrasam: ") for line in printed)


def test_what_a_cut_cine_lacks_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "raw.avi"
    data = write(path, "raw.avi")
    first = data.index(b"00dc", data.index(b"movi"))
    path.write_bytes(data[: first + 2 * (64 * 48 * 3 + 8) + 100])
    scan = read_scan(path)
    assert scan.notes == (
        "1 of 3 frames cannot be read, because they or frames before them are damaged: 2.",
        "Its end is missing or damaged: 16 frames are declared and 3 are there; copy or download it again.",
    )
    for index in (0, 1, 2, 0, 2, 1, 2):
        assert (read_or_none(scan, index) is None) == (index == 2)


def test_a_whole_cine_has_no_notes(tmp_path: Path) -> None:
    for kind in KINDS:
        write(tmp_path / kind, kind)
        scan = read_scan(tmp_path / kind)
        assert (len(scan), scan.notes) == (FRAMES, ())


TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def turn(data: bytes, degrees: int) -> bytes:
    """Set the matrix of the first track (ISO 14496-12, 8.3.2) as phones do."""
    a, b, c, d = TURNS[degrees]
    place = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    return data[:place] + matrix + data[place + 36 :]


@pytest.mark.parametrize("degrees", TURNS)
def test_frames_are_turned_as_players_turn_them(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "a.mp4"
    data = write(path, "a.mp4")
    upright = decoded(path)
    path.write_bytes(turn(data, degrees))
    scan = read_scan(path)
    assert (scan.height, scan.width) == ((48, 64) if degrees % 180 == 0 else (64, 48))
    for index in (0, 9, 3, FRAMES - 1, 4):
        expected = np.rot90(upright[index], -degrees // 90)
        assert np.abs(scan.frame(index).astype(int) - expected).max() <= 3


def test_many_open_cines_and_threads_give_the_right_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path, "a.mp4")
    expected = decoded(path)
    scans = [read_scan(path) for _ in range(_MOST_OPEN + 3)]
    wrong: list[Any] = []

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(20):
            index = int(random.integers(FRAMES))
            frame = scans[int(random.integers(len(scans)))].frame(index)
            if np.abs(frame.astype(int) - expected[index]).max() > 3:
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
