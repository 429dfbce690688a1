"""From annotations as their files state them to the instances of an image; what cannot be used is reported.

An image whose annotations cannot be used never becomes an image without objects: `read_annotated` leaves it
out. An annotation whose place is known, but not its outline or its structure, becomes a region to ignore.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ultrasam.datasets.annotated_image import CaseImage, Instance
from ultrasam.datasets.file_tree import FileEntry, Skip
from ultrasam.datasets.readers.label_rules import resize_values
from ultrasam.datasets.readers.objects import BACKGROUND_NAMES, IGNORED_NAMES, Added, Objects
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask
from ultrasam.images.raster import decode_frame

Size = tuple[int, int]
"""(height, width) in pixels."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""
Points = npt.NDArray[np.float64]
"""[N, 2] of (x, y) in pixels."""

# Reasons; each cause has one wording, so that reasons can be counted.
NO_OUTLINE = "annotation without a polygon or mask"
NO_STRUCTURE = "annotation without a known category or label"
NOTHING_USABLE = "no annotation could be used"
UNREADABLE = "outline that cannot be read"
EMPTY = "outline without a pixel"
OUTSIDE = "outline outside the image"
OTHER_SIZE = "outline beyond the image, whose size its file does not state; drawn at another size?"
FRACTIONS = "outline in fractions of the image's size; pixels are needed"
OTHER_ASPECT = "drawn at another aspect ratio than the image's"
BAD_RLE = "RLE that does not add up to its size; export it again"
CROWD = "crowd region, which is ignored"
IGNORED = "region labeled to be ignored"
BACKGROUND = "outline labeled as background"
TWICE = "annotation of the same structure with the same pixels as another one"
GROUPED = "shapes of a group, which are one object"
CUT = "outlines far beyond the image, cut at its edge"
SCALED = "outlines scaled: its file states another size of the image"
TURNED = "outlines turned with the image by its EXIF orientation"
_UNKNOWN = "unknown"
_MARGIN = 0.05  # of the image's side; annotators overshoot by less
_SMALLEST = 8  # pixels; in larger images, an outline within one pixel is none
_OUTSIDE_RANGE = 4  # an outline this many times larger than the image is of another image


class UnusableError(DataError):
    """An annotation cannot be used; the message is the reason to report.

    Attributes:
        damage: whether its file is damaged; otherwise the annotation is of a kind that is left out.
    """

    def __init__(self, reason: str, *, damage: bool = True) -> None:
        super().__init__(reason)
        self.damage = damage


def without_area(kind: object) -> UnusableError:
    """The error for a point, a line, or another shape that has no area."""
    return UnusableError(f"shape without area ({kind})", damage=False)


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation as its file states it, not rasterized yet.

    Attributes:
        id: names it in reports.
        name: its structure; None if that is unknown.
        outline: in the form of its format, as JSON values; None if there is only a box.
        size: (height, width) of the image on which it was drawn; None if the file does not say.
        box: in pixels of that image; None if unknown.
        region: why this is a region to ignore rather than an object; None if it is an object.
        note: what a user should know of it; None if nothing.
        group: annotations of one structure and one group are one object; None if it is one by itself.
    """

    id: str
    name: str | None
    outline: Any
    size: Size | None = None
    box: Box | None = None
    region: str | None = None
    note: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Canvas:
    """The image as annotations are rasterized on it.

    Attributes:
        shape: (height, width) of the masks to draw.
        drawn: (height, width) in whose pixels the outlines are given; of the same aspect ratio.
        orientation: EXIF orientation by which the drawn masks are turned.
        stated: whether the size at which outlines were drawn is known; if not, it is taken for the image's.
        notes: receives what a user should know of the outlines drawn.
    """

    shape: Size
    drawn: Size
    orientation: int = 1
    stated: bool = True
    notes: set[str] = field(default_factory=set, compare=False)

    def points(self, points: Points) -> Points:
        """Scale (x, y) to the canvas."""
        return np.asarray(points * self.scale)

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """The factors of x and y, [2]."""
        return np.array(self.shape[::-1], np.float64) / np.array(self.drawn[::-1], np.float64)

    def mask(self, mask: BoolMask) -> BoolMask:
        """Scale a mask of size ``drawn`` to the canvas.

        Raises:
            UnusableError: The mask has another size.
        """
        if mask.shape != self.drawn:
            raise UnusableError(OTHER_ASPECT)
        return resize_values(mask, self.shape).astype(bool)

    def turned(self, mask: BoolMask) -> BoolMask:
        """Turn a mask as the image was turned when it was read."""
        turn = {
            5: lambda m: m.T,
            6: lambda m: np.rot90(m, -1),
            7: lambda m: np.rot90(m, 2).T,
            8: lambda m: np.rot90(m, 1),
        }.get(self.orientation)
        return mask if turn is None else np.ascontiguousarray(turn(mask))


Draw = Callable[[Any, Canvas], BoolMask]
"""Rasterizes an outline of one format on a canvas; raises `UnusableError`."""


def read_annotated(
    image: FileEntry, annotations: Iterable[Annotation], draw: Draw
) -> Iterator[CaseImage | Skip]:
    """Read an image with its annotations.

    Yields a skip for each annotation that is no object. If none is one, the image is left out, too; an image
    without any annotation is an image without objects.

    Args:
        image: the image file.
        annotations: all annotations of the image.
        draw: rasterizes their outlines.
    """
    data = image.read()
    pixels = decode_frame(data, image.path)
    shape = pixels.shape[:2]
    objects = Objects()
    problems: list[UnusableError] = []
    notes: set[str] = set()
    total = 0
    for annotation in annotations:
        total += 1
        try:
            canvas = _canvas(annotation.size, shape, data)
            instance, problem = _instance(annotation, canvas, draw)
        except UnusableError as error:
            instance, problem = None, error
        else:
            if canvas.orientation > 1:
                notes.add(TURNED)
            if canvas.drawn != canvas.shape:
                notes.add(SCALED)
            notes |= canvas.notes
        if instance is not None and instance.ignore:
            objects.ignore(instance)
        elif instance is not None:
            added = objects.add(instance, annotation.group)
            if added is Added.TWICE:
                problem = UnusableError(TWICE, damage=False)
            elif added is Added.JOINED:
                notes.add(GROUPED)
        if problem is not None:
            problems.append(problem)
            yield Skip(f"{image.path}, annotation {annotation.id}", str(problem), what="annotation")
        if instance is not None and annotation.note is not None:
            notes.add(annotation.note)
    # If one outline was drawn at another size, they all were, also those that happen to lie inside.
    if any(str(problem) == OTHER_SIZE for problem in problems):
        yield Skip(image.path, OTHER_SIZE, damage=True)
        return
    if total and all(instance.ignore for instance in objects.instances):
        yield Skip(image.path, NOTHING_USABLE, damage=any(p.damage for p in problems))
        return
    for note in sorted(notes):
        yield Skip(image.path, note, what="note")
    yield CaseImage(pixels, tuple(objects.instances))


def _instance(
    annotation: Annotation, canvas: Canvas, draw: Draw
) -> tuple[Instance | None, UnusableError | None]:
    """The object, or the region to ignore and the reason, or no instance and the reason."""
    mask: BoolMask | None = None
    problem: UnusableError | None = None
    if annotation.outline is None:
        problem = UnusableError(NO_OUTLINE, damage=False)
    else:
        try:
            mask = canvas.turned(draw(annotation.outline, canvas))
            if not mask.any():
                raise UnusableError(EMPTY)
        except UnusableError as error:
            mask, problem = None, error
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError, MemoryError):
            mask, problem = None, UnusableError(UNREADABLE)
    if mask is None and annotation.box is not None:
        mask = _box_mask(annotation.box, canvas)
    if problem is None and annotation.region is not None:
        problem = UnusableError(annotation.region, damage=False)
    if problem is None and annotation.name is None:
        problem = UnusableError(NO_STRUCTURE)
    name = (annotation.name or "").strip().casefold()
    if problem is None and name in IGNORED_NAMES:
        problem = UnusableError(IGNORED, damage=False)
    if name in BACKGROUND_NAMES:
        return None, UnusableError(BACKGROUND, damage=False)  # what no object covers is background
    if mask is None:
        return None, problem
    return Instance(annotation.name or _UNKNOWN, mask, ignore=problem is not None), problem


def _box_mask(box: Box, canvas: Canvas) -> BoolMask | None:
    """All pixels that a box touches; None if it touches none."""
    (x0, y0), (x1, y1) = canvas.points(np.array(box).reshape(2, 2))
    height, width = canvas.shape
    mask = np.zeros(canvas.shape, dtype=bool)
    rows = slice(int(np.clip(np.floor(y0), 0, height)), int(np.clip(np.ceil(y1), 0, height)))
    columns = slice(int(np.clip(np.floor(x0), 0, width)), int(np.clip(np.ceil(x1), 0, width)))
    mask[rows, columns] = True
    return canvas.turned(mask) if mask.any() else None


def _canvas(size: Size | None, shape: Size, data: bytes) -> Canvas:
    """The canvas for annotations that were drawn on an image of ``size``.

    Args:
        size: as the annotation file says; None if it does not.
        shape: of the image as it is read, turned by its EXIF orientation.
        data: the encoded image.

    Raises:
        UnusableError: The aspect ratios differ.
    """
    if size is None or size == shape:
        return Canvas(shape, shape, stated=size is not None)
    upright = _same_aspect(size, shape)
    stored = shape[::-1]
    if size == stored or (not upright and _same_aspect(size, stored)):
        orientation = _orientation(data)
        if orientation >= 5:  # width and height are exchanged: the tool did not turn the image
            return Canvas(stored, size, orientation)
    if not upright:
        raise UnusableError(OTHER_ASPECT)
    return Canvas(shape, size)


def _same_aspect(a: Size, b: Size) -> bool:
    """Whether one size can be the other one, scaled and rounded to whole pixels."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(*a, *b)


def _orientation(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return int(image.getexif().get(0x0112, 1) or 1)


def size_of(height: object, width: object) -> Size | None:
    """The size that a file states; None unless both are positive whole numbers, possibly as text."""
    try:
        values = float(height), float(width)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if any(not 1 <= v < 1e6 or v != round(v) for v in values):
        return None
    return int(values[0]), int(values[1])


def box_of(x: object, y: object, width: object, height: object) -> Box | None:
    """A box from its corner and size; None unless these are finite numbers and the box has an area."""
    try:
        x0, y0, w, h = (float(v) for v in (x, y, width, height))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if not np.isfinite([x0, y0, w, h]).all() or w <= 0 or h <= 0:
        return None
    return x0, y0, x0 + w, y0 + h


def bounds_of(points: Points) -> Box | None:
    """The box around points, [N, 2]; None unless they are finite and the box has an area."""
    if len(points) == 0:
        return None
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return box_of(x0, y0, x1 - x0, y1 - y0)


def place_mask(part: BoolMask, corner: tuple[int, int], canvas: Canvas) -> BoolMask:
    """The mask of an image, of which a part is given; what lies outside the image is clipped.

    Args:
        part: [height, width].
        corner: (x, y) of its first pixel, in pixels of the size at which it was drawn.
        canvas: the image.

    Raises:
        UnusableError: The part lies outside the image, or beyond one whose size was not stated.
    """
    x, y = corner
    height, width = canvas.drawn
    if not canvas.stated:
        end = (x + part.shape[1], y + part.shape[0])
        require_inside(np.array([corner, end], dtype=np.float64), canvas)
    inside = part[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
    if not inside.size:
        raise UnusableError(OUTSIDE)
    whole = np.zeros(canvas.drawn, dtype=bool)
    top, left = max(0, y), max(0, x)
    whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas.mask(whole)


def points_of(values: Any) -> Points:
    """Points from JSON: [[x, y], …], [x, y, x, y, …], or one of these in another list.

    Raises:
        UnusableError: They are anything else, or none.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusableError("outline with coordinates that are not numbers") from error
    if array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    if array.size == 0:
        raise UnusableError(NO_OUTLINE, damage=False)
    if array.ndim == 1 and len(array) % 2:
        raise UnusableError("outline with an odd number of coordinates")
    if array.ndim == 1:
        array = array.reshape(-1, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise UnusableError("outline that is not a list of points")
    if not np.isfinite(array).all():
        raise UnusableError("outline with coordinates that are not numbers")
    return array


def require_inside(points: Points, canvas: Canvas) -> None:
    """Check that an outline lies in the image; parts of it may lie outside.

    Args:
        points: [N, 2] of (x, y) in pixels of the canvas.
        canvas: the image.

    Raises:
        UnusableError: Less than a quarter of the outline's bounding box lies in the image, or the outline
            goes far beyond an image whose size was not stated: it belongs to another image, or to another
            size of it. Or its coordinates are fractions.

    What goes far beyond an image of the stated size is noted on the canvas.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array(canvas.shape[::-1], dtype=np.float64)
    inside = np.minimum(high, size) - np.maximum(low, 0)
    if low.min() >= 0 and high.max() <= 1 and size.min() > _SMALLEST:
        raise UnusableError(FRACTIONS)
    beyond = bool(((high > size * (1 + _MARGIN)) | (low < -size * _MARGIN)).any())
    if beyond and not canvas.stated:
        raise UnusableError(OTHER_SIZE)
    if (
        (inside < 0).any()
        or (high - low > _OUTSIDE_RANGE * size).any()
        or np.prod(inside) < np.prod(high - low) / _OUTSIDE_RANGE
    ):
        raise UnusableError(OUTSIDE)
    if beyond:
        canvas.notes.add(CUT)
