"""Distances between pixels and between frames in a DICOM header, and the regions of its screen; what is
malformed is unknown, and told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from ultrasam.extras import needs
from ultrasam.images.dicom_header import (
    MalformedError,
    functional_groups,
    items,
    numbers,
    strings,
    whole_number,
)
from ultrasam.images.regions import Region, Spacing, same_spacing

with needs("Reading DICOM", extra="dicom"):
    from pydicom.dataset import Dataset

_CENTIMETERS = 3  # PS3.3 C.8.5.5.1.15, units of ultrasound regions
_TISSUE = 1  # PS3.3 C.8.5.5.1.1, region spatial format: 2D
_PLAUSIBLE = (1e-4, 100.0)  # mm between pixels, from microscopy to far beyond any scanner
_SAME = 0.01  # relative difference up to which intervals count as equal
_KINDS = {  # PS3.3 C.8.5.5.1.1
    "1": "2-D", "2": "M-mode", "3": "spectral Doppler", "4": "waveform", "5": "graphics",
}  # fmt: skip
_MAX_FRAME_TIME = 3_600_000.0  # an hour, in ms


def read_spacing(dataset: Dataset, frames: int, notes: list[str]) -> Spacing | None:
    """(row, column) distance between pixel centers in mm, or None if unknown.

    It is that of the first two-dimensional ultrasound region in centimeters, else of the functional groups
    of an enhanced image, else of PixelSpacing or its kin.
    """
    regions = items(dataset, "SequenceOfUltrasoundRegions")
    sources: list[Callable[[], Spacing | None]] = [
        partial(_of_region, region, number) for number, region in enumerate(regions, 1)
    ]
    sources.append(partial(_of_groups, dataset, frames))
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        sources.append(partial(_of_element, dataset, keyword))
    problems, found = [], None
    for source in sources:
        try:
            found = source()
        except MalformedError as error:
            problems.append(str(error))
        if found is not None:
            break
    end = "the spacing is unknown" if found is None else "another element gives the spacing"
    notes += [f"{problem}; {end}." for problem in problems]
    if found is not None and _differ(found, regions):
        notes.append("The ultrasound regions differ in spacing; that of the first is used.")
    other = _pixel_spacing(dataset)
    if found is not None and other is not None and not same_spacing(found, other):
        notes.append(
            f"PixelSpacing is {other[0]:g} × {other[1]:g} mm, but another element says {found[0]:g} × "
            f"{found[1]:g} mm, which is used."
        )
    return found


def read_regions(dataset: Dataset, height: int, width: int, notes: list[str]) -> tuple[Region, ...]:
    """The regions of the screen (PS3.3 C.8.5.5), in the header's order.

    A region without a place is the whole image; one outside the image is left out, and one whose place is
    malformed is left out and told. One whose calibration is malformed has no spacing; `read_spacing` tells
    why.
    """
    found = []
    for number, region in enumerate(items(dataset, "SequenceOfUltrasoundRegions"), 1):
        try:
            box = _place(region, height, width)
        except MalformedError as error:
            notes.append(f"Ultrasound region {number} is left out: {error}.")
            continue
        if box is None:
            continue
        try:
            spacing = _of_region(region, number)
        except MalformedError:
            spacing = None
        try:
            kind = "".join(strings(region, "RegionSpatialFormat"))
        except MalformedError:
            kind = ""
        found.append(Region(box, spacing, _KINDS.get(kind, "unknown")))
    return tuple(found)


def _place(region: Dataset, height: int, width: int) -> tuple[int, int, int, int] | None:
    """The box of a region within the image, or None if it has no pixel there.

    Its corners in the header are pixels that belong to it.
    """
    corners = []
    for end in ("MinX0", "MinY0", "MaxX1", "MaxY1"):
        value = whole_number(region, f"RegionLocation{end}")
        if value is None:
            return 0, 0, width, height
        corners.append(value)
    if corners[0] > corners[2] or corners[1] > corners[3]:
        listed = ", ".join(str(corner) for corner in corners)
        raise MalformedError(f"its place {listed} is no rectangle")
    x0, y0 = max(corners[0], 0), max(corners[1], 0)
    x1, y1 = min(corners[2] + 1, width), min(corners[3] + 1, height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _of_region(region: Dataset, number: int) -> Spacing | None:
    units = {tuple(strings(region, f"PhysicalUnits{axis}Direction")) for axis in "XY"}
    kind = strings(region, "RegionSpatialFormat")
    if units != {(str(_CENTIMETERS),)} or kind != [str(_TISSUE)]:
        return None
    deltas = []
    for axis in "YX":
        keyword = f"PhysicalDelta{axis}"
        delta = numbers(region, keyword, count=1)
        if not delta:
            raise MalformedError(f"Ultrasound region {number} has no {keyword}")
        deltas.append(abs(delta[0]) * 10)  # its sign is the direction of the axis
    return _plausible(deltas[0], deltas[1], f"The spacing of ultrasound region {number}")


def _of_groups(dataset: Dataset, frames: int) -> Spacing | None:
    """From the pixel measures of an enhanced image, if all frames have the same."""
    groups = functional_groups(dataset, "PixelMeasuresSequence", frames)
    found = [None if group is None else _of_element(group, "PixelSpacing") for group in groups]
    if any(not same_spacing(pair, found[0]) for pair in found):
        raise MalformedError("PixelMeasuresSequence gives the frames different spacings")
    return found[0]


def _of_element(dataset: Dataset, keyword: str) -> Spacing | None:
    pair = numbers(dataset, keyword, count=2)
    return _plausible(pair[0], pair[1], keyword) if pair else None


def _pixel_spacing(dataset: Dataset) -> Spacing | None:
    try:
        return _of_element(dataset, "PixelSpacing")
    except MalformedError:
        return None  # told already, if it would have been used


def _plausible(row: float, column: float, what: str) -> Spacing:
    low, high = _PLAUSIBLE
    if not (low <= row <= high and low <= column <= high):
        raise MalformedError(f"{what} is {row:g} × {column:g} mm")
    return row, column


def _differ(found: Spacing, regions: list[Dataset]) -> bool:
    for number, region in enumerate(regions, 1):
        try:
            other = _of_region(region, number)
        except MalformedError:
            continue
        if other is not None and not same_spacing(found, other):
            return True
    return False


def read_frame_time(dataset: Dataset, frames: int, notes: list[str]) -> float | None:
    """Milliseconds between frames, or None for a still, if unknown, or if intervals differ."""
    if frames < 2:
        return None
    sources: tuple[Callable[[], float | None], ...] = (
        partial(_interval, dataset, "FrameTime"),
        partial(_of_vector, dataset),
        partial(_of_rate, dataset),
        partial(_of_offsets, dataset, frames),
    )
    for source in sources:
        try:
            found = source()
        except MalformedError as error:
            notes.append(f"{error}; the frame time is unknown.")
            return None
        if found is not None:
            return found
    return None


def _interval(dataset: Dataset, keyword: str) -> float | None:
    value = numbers(dataset, keyword, count=1)
    if not value:
        return None
    if not 0 < value[0] <= _MAX_FRAME_TIME:
        raise MalformedError(f"{keyword} is {value[0]:g}")
    return value[0]


def _of_vector(dataset: Dataset) -> float | None:
    return _regular(list(numbers(dataset, "FrameTimeVector")[1:]))  # the first interval is 0


def _of_rate(dataset: Dataset) -> float | None:
    rate = _interval(dataset, "CineRate")
    return None if rate is None else 1000 / rate


def _of_offsets(dataset: Dataset, frames: int) -> float | None:
    """From the temporal positions of the frames of an enhanced image, which are in seconds."""
    groups = functional_groups(dataset, "TemporalPositionSequence", frames)
    times = [
        () if group is None else numbers(group, "TemporalPositionTimeOffset", count=1)
        for group in groups
    ]
    if not all(times):
        return None
    return _regular([(b[0] - a[0]) * 1000 for a, b in pairwise(times)])


def _regular(intervals: list[float]) -> float | None:
    if not intervals or not 0 < min(intervals) <= max(intervals) <= _MAX_FRAME_TIME:
        return None
    mean = sum(intervals) / len(intervals)
    return mean if max(intervals) - min(intervals) <= _SAME * mean else None
