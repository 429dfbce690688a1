"""Elements of a DICOM header, read so that a malformed one costs no more than itself.

pydicom raises where an element is accessed whose text is malformed, and warns by `warnings`, which threads
share. The elements are therefore converted here, from their bytes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs

with needs("Reading DICOM", extra="dicom"):
    from pydicom.config import IGNORE
    from pydicom.datadict import dictionary_VR
    from pydicom.dataset import Dataset
    from pydicom.multival import MultiValue
    from pydicom.uid import UID

_BINARY = {
    "US": "u2", "SS": "i2", "US or SS": "u2", "UL": "u4", "SL": "i4", "UV": "u8", "SV": "i8",
    "FL": "f4", "FD": "f8",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MAX_SHOWN = 40  # characters of a malformed value that a note repeats


class MalformedError(ValueError):
    """An element does not hold what the standard demands; the message is the beginning of a sentence."""


def strings(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an element of any type as text; none if the element is absent or empty."""
    element = dataset.get_item(keyword)
    value: Any = None if element is None else element.value
    if isinstance(value, bytes):
        vr = element.VR if element.VR not in (None, "UN") else dictionary_VR(keyword)
        if vr in _BINARY:
            order = "<" if getattr(element, "is_little_endian", True) else ">"
            kind = np.dtype(order + _BINARY[vr])
            if len(value) % kind.itemsize:
                raise MalformedError(f"{keyword} holds {len(value)} bytes")
            value = np.frombuffer(value, kind).tolist()
        else:
            value = value.decode("latin-1").split("\\")
    many = isinstance(value, (list, tuple, MultiValue))
    parts = [str(part).strip(" \0\n\r\t") for part in (value if many else [value])]
    return [] if value is None or not any(parts) else parts


def uid(dataset: Dataset, keyword: str) -> UID:
    """The value of an element as a UID, which is invalid if the value is."""
    return UID("".join(strings(dataset, keyword)[:1]), validation_mode=IGNORE)


def numbers(dataset: Dataset, keyword: str, *, count: int | None = None) -> tuple[float, ...]:
    """The values of an element as finite numbers; none if the element is absent or empty.

    Raises:
        MalformedError: A value is not a finite number, or there are not `count` values.
    """
    parts = strings(dataset, keyword)
    for part in parts:
        if not _NUMBER.fullmatch(part) or not math.isfinite(float(part)):
            raise MalformedError(f"{keyword} is '{_shown(parts)}', which is not a number")
    if parts and count is not None and len(parts) != count:
        held = f"one value ('{_shown(parts)}')" if len(parts) == 1 else f"{len(parts)} values"
        raise MalformedError(f"{keyword} holds {held}")
    return tuple(float(part) for part in parts)


def whole_number(dataset: Dataset, keyword: str) -> int | None:
    """The value of an element that holds one whole number, or None if it is absent or empty.

    Raises:
        MalformedError: The element holds anything else.
    """
    found = numbers(dataset, keyword, count=1)
    if found and found[0] != int(found[0]):
        raise MalformedError(f"{keyword} is {found[0]:g}")
    return int(found[0]) if found else None


def words(dataset: Dataset, keyword: str, count: int) -> npt.NDArray[np.uint16]:
    """A table of `count` entries of 8 or 16 bits; empty if the element is absent.

    Returns:
        All entries that the element holds.
    """
    element = dataset.get_item(keyword)
    value: Any = () if element is None or element.value is None else element.value
    if isinstance(value, bytes):
        if len(value) < 2 * count and len(value) - count in (0, 1):
            return np.frombuffer(value[:count], np.uint8).astype(np.uint16)
        order = "<" if getattr(element, "is_little_endian", True) else ">"
        return np.frombuffer(value[: len(value) // 2 * 2], order + "u2").astype(np.uint16)
    return np.atleast_1d(np.array(value, dtype=np.int64)).astype(np.uint16)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none if it is absent, empty or cannot be read."""
    try:
        value = dataset.get(keyword)
        return [item for item in value or () if isinstance(item, Dataset)]
    except Exception:  # whatever pydicom raises for bytes that are no sequence
        return []


def functional_groups(dataset: Dataset, keyword: str, frames: int) -> list[Dataset | None]:
    """The functional group of each frame: its own, else the one that all frames share (PS3.3 C.7.6.16)."""

    def first(groups: Dataset) -> Dataset | None:
        return next(iter(items(groups, keyword)), None)

    shared = next(
        (first(group) for group in items(dataset, "SharedFunctionalGroupsSequence")), None
    )
    own = [first(group) for group in items(dataset, "PerFrameFunctionalGroupsSequence")[:frames]]
    return [group or shared for group in own] + [shared] * (frames - len(own))


def _shown(parts: list[str]) -> str:
    text = "".join(c if c.isprintable() else "?" for c in "\\".join(parts))
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]} …"
