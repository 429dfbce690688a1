"""From the stored values of DICOM pixels to gray levels: modality, window or table, scale (PS3.4 N.2).

All frames of a scan that have no window of their own share one gray scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.dicom_format import PixelFormat
from ultrasam.images.dicom_header import (
    MalformedError,
    functional_groups,
    items,
    numbers,
    strings,
    whole_number,
)
from ultrasam.images.dicom_tables import LookupTable, read_table
from ultrasam.images.pixels import Frame, GrayScale

with needs("Reading DICOM", extra="dicom"):
    from pydicom.dataset import Dataset

Values = npt.NDArray[Any]

_UNUSABLE = 2  # levels of 255 that remain of a picture under a window meant for other pixels
_VARIED = 16  # range of stored values in which there is something to see
_SAMPLES = 4_000_000  # pixels of all frames from which a scale is found


@dataclass(frozen=True, slots=True)
class Window:
    """A linear or sigmoid window (PS3.3 C.11.2.1)."""

    center: float
    width: float
    function: str = "LINEAR"

    def __call__(self, values: Values) -> Frame:
        x = values.astype(np.float64)
        if not np.isfinite(x).all():
            raise ScanError("Some pixels are not finite numbers; replace NaN and infinity.")
        if self.function == "SIGMOID":
            out = 1 / (1 + np.exp(np.clip(-4 * (x - self.center) / self.width, -50, 50)))
        elif self.function == "LINEAR_EXACT":
            out = (x - self.center) / self.width + 0.5
        elif self.width == 1:
            out = (x > self.center - 0.5).astype(np.float64)
        else:
            out = (x - (self.center - 0.5)) / (self.width - 1) + 0.5
        return np.clip(out * 255 + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Modality:
    """What stored values mean: a line, or a table."""

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None

    def __call__(self, stored: Values) -> Values:
        if self.table is not None:
            return self.table(stored)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored
        return stored * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class Display:
    """How one frame is shown; without `voi`, in the scale of the scan."""

    modality: Modality = Modality()
    voi: Window | LookupTable | None = None


def read_displays(
    dataset: Dataset, pixels: PixelFormat, frames: int, notes: list[str]
) -> list[Display]:
    """How each frame is shown: by its functional group, else by the elements of the whole image."""
    new_notes: list[str] = []
    common = Display(
        _modality(dataset, pixels, new_notes) or Modality(), _voi(dataset, pixels, new_notes)
    )
    transforms = functional_groups(dataset, "PixelValueTransformationSequence", frames)
    windows = functional_groups(dataset, "FrameVOILUTSequence", frames)
    displays = []
    for transform, window in zip(transforms, windows, strict=True):
        display = common
        if transform is not None:
            modality = _modality(transform, pixels, new_notes)
            display = replace(display, modality=modality or common.modality)
        if window is not None:
            display = replace(display, voi=_voi(window, pixels, new_notes) or common.voi)
        displays.append(display)
    notes += dict.fromkeys(new_notes)  # each once, though every frame may have the same fault
    return displays


def _modality(dataset: Dataset, pixels: PixelFormat, notes: list[str]) -> Modality | None:
    try:
        for item in items(dataset, "ModalityLUTSequence"):
            table = read_table(item, "LUTDescriptor", "LUTData", signed=pixels.signed)
            if table is not None:
                return Modality(table=table)
    except MalformedError as error:
        notes.append(f"{error} in ModalityLUTSequence; the table is ignored.")
    try:
        slope = numbers(dataset, "RescaleSlope", count=1)
        intercept = numbers(dataset, "RescaleIntercept", count=1)
    except MalformedError as error:
        notes.append(f"{error}; stored values are used.")
        return None
    if slope and slope[0] == 0:
        notes.append("RescaleSlope is 0; stored values are used.")
        return None
    if not slope and not intercept:
        return None
    return Modality(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)


def _voi(dataset: Dataset, pixels: PixelFormat, notes: list[str]) -> Window | LookupTable | None:
    """The first table, else the first window; further ones are alternatives."""
    try:
        for item in items(dataset, "VOILUTSequence"):
            # Modality values can be negative though stored ones are not.
            signed = pixels.signed or "RescaleIntercept" in dataset
            table = read_table(item, "LUTDescriptor", "LUTData", signed=signed)
            if table is not None:
                return table
    except MalformedError as error:
        notes.append(f"{error} in VOILUTSequence; the table is ignored.")
    end = "pixels are shown without a window"
    try:
        centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    except MalformedError as error:
        notes.append(f"{error}; {end}.")
        return None
    if not centers and not widths:
        return None
    if not centers or not widths:
        missing = "WindowWidth" if centers else "WindowCenter"
        notes.append(f"{missing} is missing or empty; {end}.")
        return None
    function = "".join(strings(dataset, "VOILUTFunction")[:1]).upper() or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append(f"VOILUTFunction is '{function[:40]}', which is unknown; LINEAR is used.")
        function = "LINEAR"
    width = widths[0]
    if width <= 0 or (function == "LINEAR" and width < 1):
        notes.append(f"WindowWidth is {width:g}; {end}.")
        return None
    return Window(centers[0], width, function)


def without_unused_bits(values: Values, dataset: Dataset, pixels: PixelFormat) -> Values:
    """Stored values without the bits that are not part of them (PS3.5 8.1.1)."""
    if pixels.keyword != "PixelData" or pixels.allocated == 1:
        return values
    shift = pixels.high - pixels.stored + 1
    unused = pixels.allocated - pixels.stored
    if unused and pixels.signed:
        return np.asarray((values << (unused - shift)) >> unused)
    if unused and _has_embedded_overlay(dataset):
        return np.asarray((values >> shift) & values.dtype.type((1 << pixels.stored) - 1))
    # Where no overlay is said to be there, higher bits mean that the header states too few.
    return np.asarray(values >> shift) if shift else values


class GrayPixels:
    """Shows frames of one sample per pixel.

    Args:
        dataset: the header.
        pixels: type of the pixels.
        frames: number of frames.
        stored: returns a frame's stored values, [H, W].
        notes: receives what is odd.
    """

    def __init__(
        self,
        dataset: Dataset,
        pixels: PixelFormat,
        frames: int,
        stored: Callable[[int], Values],
        notes: list[str],
    ) -> None:
        self._pixels = pixels
        self._stored = stored
        self._padding = _padding(dataset, pixels)
        self._displays = read_displays(dataset, pixels, frames, notes)
        # A line that is the same for all frames changes no picture but by its direction, which is kept: its
        # values, which may be floats, have no bits from which a scale could be found.
        lines = {(d.modality.slope, d.modality.intercept) for d in self._displays}
        if len(lines) == 1 and all(d.voi is None for d in self._displays):
            sign = 1.0 if lines.pop()[0] > 0 else -1.0
            self._displays = [
                replace(d, modality=replace(d.modality, slope=sign, intercept=0.0))
                for d in self._displays
            ]
        self._scale = lru_cache(maxsize=1)(self._find_scale)
        self._check(notes)

    def frame(self, index: int) -> Frame:
        """Frame `index`, [H, W] uint8."""
        stored = self._stored(index)
        out = self._show(stored, self._displays[index])
        if self._pixels.kind == "MONOCHROME1":
            out = 255 - out
        if (
            self._padding is not None and self._pixels.allocated > 8
        ):  # 255 may also be a bright echo
            out = np.where(stored == self._padding, np.uint8(0), out)
        return np.asarray(out)

    def _show(self, stored: Values, display: Display) -> Frame:
        values = display.modality(stored)
        if isinstance(display.voi, LookupTable):
            return display.voi.scale(display.voi(values))
        if display.voi is not None:
            return display.voi(values)
        scale = display.modality.table.scale if display.modality.table else self._scale()
        return scale(values)

    def _find_scale(self) -> GrayScale:
        """The scale of all frames that have no window; a frame that cannot be decoded does not count."""
        parts, failure = [], None
        plain = [i for i, d in enumerate(self._displays) if d.voi is None and not d.modality.table]
        for index in plain:
            try:
                stored = self._stored(index)
            except Exception as error:
                failure = error
                continue
            stored = stored[:: -(-stored.size * len(plain) // _SAMPLES)]  # whole lines
            is_padding = stored == self._padding if self._padding is not None else None
            if is_padding is not None and is_padding.any() and not is_padding.all():
                stored = np.where(is_padding, stored[~is_padding].min(), stored)
            parts.append(self._displays[index].modality(stored))
        if not parts:
            raise failure or ScanError("No frame can be decoded.")
        # More bits are often stated than are in use, so that they would make the picture dark.
        few = self._pixels.stored if self._pixels.stored < 8 else None
        return GrayScale.of(*parts, bits=few)

    def _check(self, notes: list[str]) -> None:
        """Drop windows that leave nothing of the first frame: they were meant for other pixels."""
        first = self._displays[0]
        if not isinstance(first.voi, Window):
            return
        stored = self._stored(0)
        if float(stored.max()) - float(stored.min()) < _VARIED:
            return
        if np.ptp(self._show(stored, first)) <= _UNUSABLE:
            notes.append(
                f"The window (center {first.voi.center:g}, width {first.voi.width:g}) shows nothing of the "
                "first frame; pixels are shown without a window."
            )
            self._displays = [replace(d, voi=None) for d in self._displays]


def _has_embedded_overlay(dataset: Dataset) -> bool:
    """Whether unused bits hold an overlay: one that has a position in the pixels, but no data of its own."""
    return any(
        (group << 16 | 0x0102) in dataset and (group << 16 | 0x3000) not in dataset
        for group in range(0x6000, 0x6020, 2)
    )


def _padding(dataset: Dataset, pixels: PixelFormat) -> int | None:
    try:
        value = whole_number(dataset, "PixelPaddingValue")
    except MalformedError:
        return None
    if value is not None and pixels.signed and value >= 1 << 15 and pixels.allocated == 16:
        value -= 1 << 16
    return value
