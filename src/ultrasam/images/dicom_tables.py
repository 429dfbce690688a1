"""Lookup tables in DICOM headers: modality, VOI and palettes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.dicom_header import MalformedError, numbers, words
from ultrasam.images.pixels import Frame, GrayScale

with needs("Reading DICOM", extra="dicom"):
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_color_lut

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """Maps `first` to the first entry, and so on; values beyond the ends get the end's entry.

    Attributes:
        first: lowest value that the table maps.
        entries: [N].
        scale: the gray scale of the entries, which have bits of their own (PS3.3 C.11.1.1.1).
    """

    first: int
    entries: Values
    scale: GrayScale

    def __call__(self, values: Values) -> Values:
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]


def read_table(dataset: Dataset, descriptor: str, data: str, *, signed: bool) -> LookupTable | None:
    """A table of one column, or None if it is absent.

    Args:
        dataset: the item or data set that holds it.
        descriptor: keyword of the number of entries, first value and bits.
        data: keyword of the entries.
        signed: values that the table maps can be negative.

    Raises:
        MalformedError: The table is damaged.
    """
    described = numbers(dataset, descriptor)
    if not described:
        return None
    if len(described) != 3:
        raise MalformedError(f"{descriptor} holds {len(described)} values")
    count, first, bits = (int(value) for value in described)
    count = count % 65536 or 65536  # read as a signed or unsigned number
    first = first % 65536
    if signed and first >= 32768:
        first -= 65536
    entries = words(dataset, data, count)
    if not len(entries):
        raise MalformedError(f"{data} is missing")
    if len(entries) < count:
        raise MalformedError(f"{data} holds {len(entries)} of {count} entries")
    entries = entries[:count]
    return LookupTable(first, entries, GrayScale.of(entries, bits=bits))


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Three tables that color the pixels."""

    tables: tuple[LookupTable, ...]
    scale: GrayScale

    def __call__(self, values: Values) -> Frame:
        return self.scale(np.stack([table(values) for table in self.tables], axis=-1))


def read_palette(dataset: Dataset, *, signed: bool) -> Palette:
    """The palette of an image of the kind PALETTE COLOR.

    Raises:
        MalformedError: The palette is missing or damaged.
    """
    colors = ("Red", "Green", "Blue")
    name = "PaletteColorLookupTable"
    if dataset.get_item(f"SegmentedRed{name}Data") is not None:
        tables = _segmented(dataset, signed=signed)
    else:
        found = [
            read_table(dataset, f"{color}{name}Descriptor", f"{color}{name}Data", signed=signed)
            for color in colors
        ]
        if any(table is None for table in found):
            raise MalformedError("The palette is missing")
        tables = [table for table in found if table is not None]
    bits = int(numbers(dataset, f"Red{name}Descriptor")[2])
    entries = np.concatenate([table.entries for table in tables])
    return Palette(tuple(tables), GrayScale.of(entries, bits=bits))


def _segmented(dataset: Dataset, *, signed: bool) -> list[LookupTable]:
    """Tables compressed as segments (PS3.3 C.7.9.2), as pydicom expands them."""
    descriptor = numbers(dataset, "RedPaletteColorLookupTableDescriptor")
    if len(descriptor) != 3:
        raise MalformedError("RedPaletteColorLookupTableDescriptor is missing")
    count, first = int(descriptor[0]) % 65536 or 65536, int(descriptor[1]) % 65536
    if signed and first >= 32768:
        first -= 65536
    index = np.arange(first, first + count)
    try:
        colors = apply_color_lut(index, dataset)
        return [LookupTable(first, c, GrayScale.of(c)) for c in np.moveaxis(colors, -1, 0)[:3]]
    except ScanError:
        raise
    except Exception as error:
        raise MalformedError("The segmented palette is damaged") from error
