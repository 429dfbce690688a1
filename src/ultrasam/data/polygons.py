"""Outlines kept as numbers: lists of points, LabelMe, COCO, and tables of tracings over clips."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ultrasam.data.labels import require_shape
from ultrasam.data.raw import Entry, Skip
from ultrasam.data.samples import Instance, Picture, grey
from ultrasam.errors import DataError, ScanError
from ultrasam.images.cine import read_cine
from ultrasam.images.masks import BoolMask, decode_rle, polygon_mask
from ultrasam.images.raster import decode_frame
from ultrasam.images.scan import Frame

_COLOUR_TRACES = 12
_LEAST_INSIDE = 0.25
_NONE = np.zeros((0, 2))

Polygon = tuple[tuple[float, float], ...]


def parse_json(entry: Entry) -> Any:
    """A JSON file; bytes that are not UTF-8 are read as Latin-1, which keeps ASCII as it is.

    Raises:
        DataError: not JSON.
    """
    data = entry.read()
    try:
        try:
            return json.loads(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return json.loads(data.decode("latin-1"))
    except ValueError as error:
        raise DataError(f"{entry.path} is not JSON: {error}") from error


def read_table(entry: Entry) -> pl.DataFrame:
    """A CSV file, all columns as text, their names stripped.

    Raises:
        DataError: not a table.
    """
    try:
        data = entry.read().decode("utf-8-sig", errors="replace")
        first = data.partition("\n")[0]
        separator = ";" if first.count(";") > first.count(",") else ","
        table = pl.read_csv(
            io.StringIO(data), separator=separator, infer_schema=False, truncate_ragged_lines=True
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{entry.path} is not a table of comma-separated values: {reason}"
        ) from error
    return table.rename({name: name.strip() for name in table.columns})


def column(table: pl.DataFrame, entry: Entry, *names: str) -> list[str]:
    """One column's cells as text, by the first of ``names`` that it has, in any case.

    Raises:
        DataError: it has none of them.
    """
    by_name = {name.casefold(): name for name in table.columns}
    for name in names:
        if name.casefold() in by_name:
            cells = table[by_name[name.casefold()]].cast(pl.String).fill_null("")
            return [cell.strip() for cell in cells]
    raise DataError(
        f"{entry.path} has no column '{names[0]}'; it has {', '.join(table.columns) or 'none'}"
    )


def points_of(points: Any, where: str) -> Polygon:
    """[[x, y], …] as read from JSON.

    Raises:
        DataError: anything else.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} is not a list of [x, y]") from error
    if array.ndim != 2 or array.shape[1] != 2:
        raise DataError(f"{where} is not a list of [x, y]")
    return tuple((float(x), float(y)) for x, y in array)


def read_polygon_lists(
    image: Entry, outlines: tuple[tuple[Entry, str], ...]
) -> Iterator[Picture | Skip]:
    """An image with one JSON list of points per structure."""
    pixels = decode_frame(image.read(), image.path)
    instances = [
        Instance(name, _mask([points_of(parse_json(e), e.path)], pixels.shape[:2], e.path))
        for e, name in outlines
    ]
    yield Picture(pixels, tuple(instances))


def read_labelme(image: Entry, file: Entry, names: Mapping[str, str]) -> Iterator[Picture | Skip]:
    """An image with a LabelMe file; labels that ``names`` lacks are skipped, each told.

    An empty ``names`` takes every label as it is.
    """
    pixels = decode_frame(image.read(), image.path)
    content = parse_json(file)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise DataError(f"{file.path} is not a LabelMe file: it has no 'shapes'")
    instances = []
    for shape in shapes:
        label = str(shape.get("label", "")).strip()
        name = names.get(label.casefold()) if names else label
        kind = shape.get("shape_type") or "polygon"
        if not name:
            yield Skip(file.path, f"unknown label '{label}'")
        elif kind not in ("polygon", "rectangle", "circle"):
            yield Skip(file.path, f"a shape of type '{kind}' has no area")
        else:
            points = _outline(kind, points_of(shape.get("points"), file.path))
            instances.append(Instance(name, _mask([points], pixels.shape[:2], file.path)))
    yield Picture(pixels, tuple(instances))


def _mask(polygons: Sequence[npt.ArrayLike], shape: tuple[int, int], where: str) -> BoolMask:
    """The union of polygons.

    Raises:
        DataError: less than a quarter of their box lies in the image: they are another image's, or were
            drawn at another size. What leaves the image by less is cut off.
    """
    points = np.concatenate([np.asarray(p, np.float64).reshape(-1, 2) for p in polygons] or [_NONE])
    points = points[np.isfinite(points).all(axis=1)]
    if len(points):
        low, high = points.min(axis=0), points.max(axis=0)
        seen = np.minimum(high, shape[::-1]) - np.maximum(low, 0)
        if (seen < 0).any() or np.prod(seen) < _LEAST_INSIDE * np.prod(high - low):
            (x0, y0), (x1, y1) = low, high
            raise DataError(
                f"{where}: an outline from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) lies outside its image of "
                f"{shape[1]} × {shape[0]} pixels; was it drawn on the image at another size?"
            )
    return polygon_mask(polygons, shape)


def _outline(kind: str, points: Polygon) -> Polygon:
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    if kind == "circle" and len(points) == 2:
        (x, y), (u, v) = points
        radius = float(np.hypot(u - x, v - y))
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return tuple((x + radius * float(np.cos(a)), y + radius * float(np.sin(a))) for a in angles)
    return points


def coco_instances(
    segmentations: Sequence[tuple[str, Any]],
    shape: tuple[int, int],
    *,
    split_polygons: bool,
    where: str = "an annotation",
) -> list[Instance]:
    """(structure, COCO segmentation) pairs to instances.

    Args:
        split_polygons: each polygon of an annotation is an instance of its own.

    Raises:
        DataError: a segmentation is neither polygons nor run lengths, or lies outside the image.
    """
    found = []
    for name, segmentation in segmentations:
        if isinstance(segmentation, list):
            polygons = [np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation]
            groups = [[p] for p in polygons] if split_polygons else [polygons]
            found += [Instance(name, _mask(group, shape, where)) for group in groups]
        elif isinstance(segmentation, dict) and "counts" in segmentation:
            found.append(Instance(name, decode_rle(segmentation)))  # type: ignore[arg-type]
        else:
            raise DataError(
                f"an annotation of '{name}' has neither polygons nor run lengths; export masks as RLE"
            )
    return found


def read_coco_image(
    image: Entry, segmentations: tuple[tuple[str, Any], ...], *, split_polygons: bool = False
) -> Iterator[Picture | Skip]:
    """An image with (structure, COCO segmentation) pairs."""
    pixels = decode_frame(image.read(), image.path)
    found = coco_instances(
        segmentations, pixels.shape[:2], split_polygons=split_polygons, where=image.path
    )
    for instance in found:
        require_shape(instance.mask, pixels.shape[:2], image.path)
    yield Picture(pixels, tuple(found))


def read_tracings(
    clip: Entry, name: str, tracings: tuple[tuple[int, Polygon], ...]
) -> Iterator[Picture | Skip]:
    """The traced frames of a clip: (0-based frame, polygon)."""
    with clip.on_disk() as path:
        scan = read_cine(path)
        for frame, polygon in tracings:
            where = f"{clip.path} frame {frame}"
            if not 0 <= frame < len(scan):
                yield Skip(where, "the clip has no such frame")
                continue
            try:
                pixels = scan.frame(frame)
            except ScanError:
                yield Skip(where, "frame cannot be decoded", damage=True)
                continue
            pixels = grey_if_grey(pixels)
            yield Picture(
                pixels, (Instance(name, polygon_mask([polygon], pixels.shape[:2])),), frame
            )


def grey_if_grey(pixels: Frame) -> Frame:
    """A clip's frame as [H, W] where it has no colour but a lossy coder's traces of it, else as given."""
    if pixels.ndim == 2:
        return pixels
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return grey(pixels) if int(spread.max()) <= _COLOUR_TRACES else pixels


def number(text: str) -> float | None:
    """A cell's finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_via(
    image: Entry, regions: tuple[dict[str, Any], ...], attribute: str | None, default: str
) -> Iterator[Picture | Skip]:
    """An image with VIA regions (polygons, rectangles, circles, ellipses)."""
    pixels = decode_frame(image.read(), image.path)
    instances = []
    for region in regions:
        shape = region.get("shape_attributes", {})
        outline = _via_outline(shape)
        if outline is None:
            yield Skip(image.path, f"a region of kind '{shape.get('name')}' has no area")
            continue
        attributes = region.get("region_attributes") or {}
        named = attributes.get(attribute) if attribute else None
        if named is None and attribute is None and attributes:
            named = attributes.get("name", next(iter(attributes.values())))
        name = str(named).strip() if isinstance(named, str) and named.strip() else default
        instances.append(Instance(name, _mask([outline], pixels.shape[:2], image.path)))
    yield Picture(pixels, tuple(instances))


def _via_outline(shape: Mapping[str, Any]) -> Polygon | None:
    kind = shape.get("name")
    try:
        if kind in ("polygon", "polyline"):
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            return tuple((float(x), float(y)) for x, y in zip(xs, ys, strict=True))
        if kind == "rect":
            x, y, w, h = (float(shape[k]) for k in ("x", "y", "width", "height"))
            return ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
        if kind in ("circle", "ellipse"):
            cx, cy = float(shape["cx"]), float(shape["cy"])
            rx = float(shape["r"] if kind == "circle" else shape["rx"])
            ry = float(shape["r"] if kind == "circle" else shape["ry"])
            turn = float(shape.get("theta", 0.0))
            angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            u, v = rx * np.cos(angles), ry * np.sin(angles)
            x_, y_ = (
                cx + u * np.cos(turn) - v * np.sin(turn),
                cy + u * np.sin(turn) + v * np.cos(turn),
            )
            return tuple(zip(x_.tolist(), y_.tolist(), strict=True))
    except (KeyError, TypeError, ValueError):
        return None
    return None
