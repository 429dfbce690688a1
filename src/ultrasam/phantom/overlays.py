"""What scanners and users draw into and round a picture: calipers, boxes, text, scales, icons and logos."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.display import GrayImage
from ultrasam.phantom.tissue import BoolMap

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX)
_LETTERS = list("ABCDEFGHIKLMNOPRSTUV0123456789 .:/%")


def draw_in_picture(
    rng: np.random.Generator, pixels: GrayImage, view: BoolMap, masks: list[BoolMap]
) -> None:
    """Draw into the picture, in place: each kind of mark in some of the images.

    Args:
        rng: source of randomness.
        pixels: [H, W], the image.
        view: [H, W] bool, the field of view in it.
        masks: [H, W] bool, the structures that calipers and boxes mark.
    """
    marked = [mask for mask in masks if mask.any()]
    if marked and rng.random() < 0.2:
        _calipers(rng, pixels, marked[int(rng.integers(len(marked)))])
    if marked and rng.random() < 0.07:
        _region_box(rng, pixels, marked[int(rng.integers(len(marked)))])
    if rng.random() < 0.2:
        _depth_marks(rng, pixels, pixels.shape[1] - int(rng.integers(4, 12)))
    if rng.random() < 0.1:
        top = pixels.shape[0] // 10
        _gray_bar(pixels, (top, 6), (pixels.shape[0] // 3, int(rng.integers(4, 10))))
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            at = (
                int(rng.uniform(0, 0.8) * pixels.shape[1]),
                int(rng.choice((0.05, 0.1, 0.92, 0.97)) * pixels.shape[0]),
            )
            _text(rng, pixels, at)
    if view.any() and rng.random() < 0.25:
        _probe_marker(rng, pixels, view)
    if rng.random() < 0.07:
        _corner(rng, pixels, masks)


def draw_round_picture(
    rng: np.random.Generator, pixels: GrayImage, place: tuple[int, int, int, int]
) -> None:
    """Draw the rest of a screen, in place, round a picture at ``place`` (top, left, height, width)."""
    height, width = pixels.shape
    top, left, rows, columns = place
    right, bottom = left + columns, top + rows
    if rng.random() < 0.35:  # a frame
        shade = int(rng.integers(40, 200))
        cv2.rectangle(pixels, (left - 1, top - 1), (right, bottom), shade, 1)
    if width - right > 16 and rng.random() < 0.7:
        _depth_marks(rng, pixels, min(width - 2, right + 8), (top, bottom))
    beside = left if left > 20 else right + 10
    if beside < width - 12 and rng.random() < 0.5:
        column = left - 14 if left > 20 else right + 10
        _gray_bar(pixels, (top + 4, column), (rows // 4, 6))
    for _ in range(int(rng.integers(0, 5))):  # settings in the margins
        lines = int(rng.integers(1, 6))
        if left > 40 and rng.random() < 0.5:
            at = (3, int(rng.uniform(0.1, 0.6) * height))
        elif width - right > 40 and rng.random() < 0.5:
            at = (right + 4, int(rng.uniform(0.1, 0.8) * height))
        elif top > 12 and rng.random() < 0.5:
            at = (int(rng.uniform(0, 0.7) * width), 9)
            lines = min(lines, 1 + top // 20)
        elif height - bottom > 12:
            at = (int(rng.uniform(0, 0.7) * width), int(rng.uniform(bottom + 9, height)))
        else:
            continue
        _text(rng, pixels, at, lines=lines)
    if top > 14 and rng.random() < 0.5:
        _logo(rng, pixels, (left, 2), min(top - 4, 22))
    if rng.random() < 0.35:
        _body_mark(rng, pixels, (bottom, right))


def _calipers(rng: np.random.Generator, pixels: GrayImage, mask: BoolMap) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0]
    shade = int(rng.integers(150, 256))
    marks = (cv2.MARKER_CROSS, cv2.MARKER_TILTED_CROSS, cv2.MARKER_CROSS)
    mark, size = marks[int(rng.integers(3))], int(rng.integers(5, 12))
    turn = rng.uniform(-0.5, 0.5)
    for axis in range(int(rng.integers(1, 3))):
        angle = turn + axis * np.pi / 2
        reach = contour @ np.array((np.cos(angle), np.sin(angle)))
        first, last = contour[np.argmin(reach)], contour[np.argmax(reach)]
        for x, y in (first, last):
            cv2.drawMarker(pixels, (int(x), int(y)), shade, mark, size, 1)
        if rng.random() < 0.6:
            _dots(pixels, first, last, shade, gap=float(rng.uniform(3, 8)))
    if rng.random() < 0.15:  # a traced outline
        pixels[contour[::4, 1], contour[::4, 0]] = shade


def _dots(
    pixels: GrayImage, first: np.ndarray, last: np.ndarray, shade: int, *, gap: float
) -> None:
    steps = max(2, int(np.hypot(*(last - first)) / gap))
    line = np.linspace(first, last, steps).astype(int)
    line = np.clip(line, 0, (pixels.shape[1] - 1, pixels.shape[0] - 1))
    pixels[line[:, 1], line[:, 0]] = shade


def _region_box(rng: np.random.Generator, pixels: GrayImage, mask: BoolMap) -> None:
    """The box of a color or elastography window, off the structure's center; solid or dotted."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    grow = rng.uniform(0.1, 0.8, 4) * np.array([width, height, width, height])
    x0, y0 = int(x - grow[0]), int(y - grow[1])
    x1, y1 = int(x + width + grow[2]), int(y + height + grow[3])
    lean = int(rng.normal(0, 0.1) * (y1 - y0)) if rng.random() < 0.3 else 0  # a steered box
    corners = np.array([[x0 + lean, y0], [x1 + lean, y0], [x1 - lean, y1], [x0 - lean, y1]])
    shade = int(rng.integers(90, 256))
    if rng.random() < 0.5:
        cv2.polylines(pixels, [corners.astype(np.int32)], True, shade, 1)
        return
    for first, last in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        _dots(pixels, first, last, shade, gap=4)


def _depth_marks(
    rng: np.random.Generator, pixels: GrayImage, x: int, span: tuple[int, int] | None = None
) -> None:
    top, bottom = span or (0, pixels.shape[0])
    step = float(rng.uniform(0.06, 0.14)) * (bottom - top)
    shade = int(rng.integers(110, 256))
    for index, y in enumerate(np.arange(top + step / 2, bottom, step).astype(int)):
        cv2.line(pixels, (x - (5 if index % 5 == 0 else 2), int(y)), (x, int(y)), shade, 1)
    if rng.random() < 0.3:
        cv2.line(pixels, (x, top), (x, bottom - 1), shade, 1)
    if rng.random() < 0.4:  # the focus
        y = int(rng.uniform(top, bottom))
        points = np.array([[x - 9, y - 4], [x - 9, y + 4], [x - 3, y]], np.int32)
        cv2.fillPoly(pixels, [points], shade)


def _gray_bar(pixels: GrayImage, corner: tuple[int, int], size: tuple[int, int]) -> None:
    part = pixels[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    part[:] = np.linspace(255, 0, len(part)).astype(np.uint8)[:, None]


def _text(
    rng: np.random.Generator, pixels: GrayImage, at: tuple[int, int], *, lines: int = 1
) -> None:
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    scale = float(rng.uniform(0.25, 0.5)) * (2 if font == cv2.FONT_HERSHEY_PLAIN else 1)
    shade, pitch = int(rng.integers(100, 256)), int(22 * scale) + 5
    for k in range(lines):
        letters = "".join(rng.choice(_LETTERS, int(rng.integers(2, 12))))
        place = (at[0], at[1] + k * pitch)
        cv2.putText(pixels, letters, place, font, scale, shade, 1, cv2.LINE_AA)


def _logo(rng: np.random.Generator, pixels: GrayImage, at: tuple[int, int], size: int) -> None:
    x, y = at
    shade = int(rng.integers(100, 240))
    if rng.random() < 0.5:
        cv2.ellipse(
            pixels, (x + size, y + size // 2), (size, size // 2), 0, 0, 360, shade,
            -1 if rng.random() < 0.5 else 1, cv2.LINE_AA,
        )  # fmt: skip
    else:
        cv2.rectangle(pixels, (x, y), (x + 2 * size, y + size), shade, -1)
        cv2.line(pixels, (x, y + size), (x + 2 * size, y), 0, 2, cv2.LINE_AA)


def _body_mark(rng: np.random.Generator, pixels: GrayImage, corner: tuple[int, int]) -> None:
    """A small outline of a body part with a bar for the probe, at the picture's lower right corner."""
    size = int(rng.uniform(0.08, 0.14) * min(pixels.shape)) + 8
    y, x = corner[0] - size - 3, corner[1] - size - 3
    if rng.random() < 0.5:
        pixels[y : y + size, x : x + size] = int(rng.integers(60, 190))
    shade = int(rng.integers(0, 2) * 200 + 40)
    middle = (x + size // 2, y + size // 2)
    axes = (int(size * rng.uniform(0.25, 0.42)), int(size * rng.uniform(0.3, 0.45)))
    cv2.ellipse(pixels, middle, axes, 0, 0, int(rng.choice((180, 360))), shade, 1, cv2.LINE_AA)
    angle = rng.uniform(0, np.pi)
    step = (int(0.2 * size * np.cos(angle)), int(0.2 * size * np.sin(angle)))
    ends = [(middle[0] + k * step[0], middle[1] + k * step[1]) for k in (-1, 1)]
    cv2.line(pixels, ends[0], ends[1], 255, 2, cv2.LINE_AA)


def _corner(rng: np.random.Generator, pixels: GrayImage, masks: list[BoolMap]) -> None:
    """A blackened box in a corner, as where text was removed; not over a structure."""
    height, width = (int(side * rng.uniform(0.08, 0.2)) for side in pixels.shape)
    rows = slice(0, height) if rng.random() < 0.5 else slice(pixels.shape[0] - height, None)
    columns = slice(0, width) if rng.random() < 0.5 else slice(pixels.shape[1] - width, None)
    if not any(mask[rows, columns].any() for mask in masks):
        pixels[rows, columns] = 0


def _probe_marker(rng: np.random.Generator, pixels: GrayImage, view: BoolMap) -> None:
    first = int(np.argmax(view.any(axis=1)))
    left = int(np.argmax(view[first]))
    y, x = first + 8, int(np.clip(left - 10, 8, pixels.shape[1] - 8))
    shade = int(rng.integers(150, 256))
    if rng.random() < 0.5:
        cv2.circle(pixels, (x, y), 5, shade, 1, cv2.LINE_AA)
    else:
        cv2.putText(
            pixels, "P", (x - 5, y + 5), cv2.FONT_HERSHEY_DUPLEX, 0.5, shade, 1, cv2.LINE_AA
        )
