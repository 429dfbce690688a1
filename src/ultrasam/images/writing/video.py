"""Write pictures as a video: MP4 (MPEG-4 Part 2) for players, WebM (VP8) for browsers, GIF for slides, and
AVI (FFV1) without loss."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ultrasam.errors import UltraSamError
from ultrasam.files import atomic_file, is_disk_full, no_space
from ultrasam.images.pixels import Frame

_CODES = {".mp4": "mp4v", ".webm": "VP80"}
VIDEO_SUFFIXES = (*_CODES, ".gif")
FRAME_TIME = 50.0  # ms, where it is not known
_SHORTEST = 10.0  # ms; GIF counts in hundredths of a second, and viewers slow down what is faster


def write_video(path: Path, pictures: Iterable[Frame], *, frame_time: float | None = None) -> None:
    """Write pictures as a video; they are taken one at a time, and the file is complete or absent.

    Args:
        path: the file; its suffix is .mp4, .webm or .gif.
        pictures: [H, W, 3] uint8 RGB, all of one size; at least one.
        frame_time: milliseconds from one to the next; 50 if None.

    Raises:
        UltraSamError: The suffix is another, there is no picture, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        raise UltraSamError(f"{path} must end in {', '.join(VIDEO_SUFFIXES[:-1])} or .gif.")
    iterator = iter(pictures)
    first = next(iterator, None)
    if first is None:
        raise UltraSamError(f"There is no picture for {path}.")
    time = max(_SHORTEST, frame_time or FRAME_TIME)
    if suffix == ".gif":
        _write_gif(path, first, iterator, time)
    else:
        _write_coded(path, first, iterator, time, _CODES[suffix])


def write_lossless(
    path: Path, pictures: Iterable[Frame], *, frame_time: float | None = None
) -> None:
    """Write pictures as an AVI (FFV1) that keeps their values; otherwise as `write_video`.

    An odd number of rows or columns is made even by repeating the last one. The file holds no metadata.

    Args:
        path: the file; its suffix is .avi.
        pictures: [H, W, 3] uint8 RGB, all of one size; at least one.
        frame_time: milliseconds from one to the next; 50 if None.

    Raises:
        UltraSamError: The suffix is another, there is no picture, or the file cannot be written.
    """
    if path.suffix.lower() != ".avi":
        raise UltraSamError(f"{path} must end in .avi.")
    iterator = iter(pictures)
    first = next(iterator, None)
    if first is None:
        raise UltraSamError(f"There is no picture for {path}.")
    _write_coded(path, first, iterator, max(1.0, frame_time or FRAME_TIME), "FFV1")


def _write_gif(path: Path, first: Frame, others: Iterator[Frame], time: float) -> None:
    with atomic_file(path) as file:
        _indexed(first).save(
            file, format="gif", save_all=True, append_images=(_indexed(one) for one in others),
            duration=round(time), loop=0, disposal=1,
        )  # fmt: skip


def _indexed(picture: Frame) -> Image.Image:
    """With a palette of its own, as gray levels and a few colors need."""
    return Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE)


def _write_coded(path: Path, first: Frame, others: Iterator[Frame], time: float, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part{path.suffix}")
    size = _even(first).shape[1::-1]
    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*code), 1000 / time, size)
    try:
        if not writer.isOpened():
            raise UltraSamError(
                f"{path} cannot be written: OpenCV has no encoder for it, or the folder cannot be written; "
                "choose .gif."
            )
        writer.write(_even(first)[..., ::-1])
        for picture in others:
            writer.write(_even(picture)[..., ::-1])
        writer.release()
        # OpenCV does not tell of a full disk.
        if not _is_readable(part):
            raise UltraSamError(f"{path} could not be written; is the disk full?")
        part.replace(path)
    except OSError as error:
        if is_disk_full(error):
            raise no_space(path, error) from error
        raise UltraSamError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        writer.release()
        part.unlink(missing_ok=True)


def _even(picture: Frame) -> Frame:
    """Of an even number of rows and columns, as encoders need."""
    rows, columns = (n % 2 for n in picture.shape[:2])
    if not rows and not columns:
        return np.ascontiguousarray(picture)
    return np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")


def _is_readable(path: Path) -> bool:
    video: Any = cv2.VideoCapture(str(path))
    try:
        return bool(video.isOpened() and video.read()[0])
    finally:
        video.release()
