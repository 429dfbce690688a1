"""Videos and contact sheets hold the pictures that were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultrasam.errors import UltraSamError
from ultrasam.images.reading import read_scan
from ultrasam.images.writing.frame_sheet import write_frame_sheet
from ultrasam.images.writing.video import write_video


def pictures(count: int = 5, height: int = 61, width: int = 83) -> Iterator[np.ndarray]:
    """A bright square that moves, in a picture of odd sides."""
    for index in range(count):
        picture = np.full((height, width, 3), 40, np.uint8)
        picture[20:40, 10 + 8 * index : 30 + 8 * index] = (230, 159, 0)
        yield picture


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_is_read_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"film{suffix}"
    write_video(path, pictures(), frame_time=100)
    scan = read_scan(path)
    assert scan.num_frames == 5
    for index, picture in enumerate(pictures()):
        frame = scan.frame(index)[:61, :83].astype(int)
        assert np.abs(frame - picture).mean() < 6
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_video_for_browsers_is_of_vp8(tmp_path: Path) -> None:
    path = tmp_path / "film.webm"
    write_video(path, pictures())
    content = path.read_bytes()
    assert content[:4] == b"\x1a\x45\xdf\xa3"
    assert b"V_VP8" in content


def test_a_gif_keeps_the_frame_time(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    write_video(path, pictures(), frame_time=120)
    with Image.open(path) as image:
        assert image.info["duration"] == 120


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UltraSamError, match=r"must end in \.mp4"):
        write_video(tmp_path / "film.mkv", pictures())
    with pytest.raises(UltraSamError, match="no picture"):
        write_video(tmp_path / "film.mp4", [])

    def broken() -> Iterator[np.ndarray]:
        yield from pictures(2)
        raise KeyboardInterrupt

    for suffix in (".mp4", ".gif"):
        with pytest.raises(KeyboardInterrupt):
            write_video(tmp_path / f"film{suffix}", broken())
    assert not list(tmp_path.iterdir())


def test_a_contact_sheet_shows_each_picture_in_reading_order(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    shades = [np.full((40, 60, 3), shade, np.uint8) for shade in (50, 100, 150, 200)]
    write_frame_sheet(path, [(one, str(i)) for i, one in enumerate(shades)], columns=3, tile=60)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * (40 + 24) + 4, 3 * 64 + 4, 3)
    found = [int(sheet[4 + 20 + 64 * (i // 3), 4 + 30 + 64 * (i % 3), 0]) for i in range(4)]
    assert found == [50, 100, 150, 200]
