"""The text header of MHA/MHD and NRRD: what SimpleITK does not pass on.

PLUS and 3D Slicer write sequences of images as such files, with fields for each frame, such as
``Seq_Frame0003_Timestamp``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median

from ultrasam.errors import ScanError
from ultrasam.images.radiofrequency import B_MODE
from ultrasam.text import decode_text

_LONGEST = 64_000_000  # bytes; a sequence has some 500 a frame
_SEVERAL_FILES = ("LOCAL", "LIST", "SKIPLIST")  # or a pattern with %
_MM = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0, "meter": 1000.0,
       "um": 0.001, "µm": 0.001, "μm": 0.001, "micron": 0.001, "micrometer": 0.001, "nm": 1e-6}  # fmt: skip

_TIMES = ("s", "ms", "us", "µs", "μs", "sec", "second", "seconds")
_SPATIAL = ("domain", "space", "none", "???")  # kinds of NRRD


def read_fields(file: Path) -> dict[str, str]:
    """The fields of a header, named in lower case and without spaces; empty for a file of another format.

    Raises:
        ScanError: The file that the header names for its data does not exist.
    """
    fields: dict[str, str] = {}
    with file.open("rb") as opened:
        start = opened.readline(200).strip()
        if not re.match(rb"NRRD000|ObjectType|NDims|Comment", start):
            return fields
        opened.seek(0)
        for line in iter(lambda: opened.readline(_LONGEST), b""):
            if opened.tell() > _LONGEST or (not line.strip() and start.startswith(b"NRRD")):
                break
            found = re.match(r"\s*([^:=#]+?)\s*(?::=|[:=])\s*(.*)", decode_text(line).strip())
            if found:
                fields[found[1].replace(" ", "").lower()] = found[2].strip()
            if found and found[1] == "ElementDataFile":
                break
    _check_data_file(file, fields)
    return fields


def _check_data_file(file: Path, fields: Mapping[str, str]) -> None:
    name = fields.get("elementdatafile") or fields.get("datafile") or "LOCAL"
    if "%" in name or name.split()[0].upper() in _SEVERAL_FILES:
        return
    if not (file.parent / name).exists():
        raise ScanError(
            f"{file} is only a header: its pixels are in {name}, which is missing; copy that file too."
        )


def check_b_mode(file: Path, fields: Mapping[str, str]) -> None:
    """Refuse what PLUS marks as radiofrequency data.

    Raises:
        ScanError: The file holds radiofrequency data.
    """
    kind = fields.get("ultrasoundimagetype", "")
    if kind.upper().startswith("RF"):
        raise ScanError(f"{file} holds radiofrequency (RF) data ({kind}), not an image; {B_MODE}.")


def in_millimeters(
    fields: Mapping[str, str], spacing: tuple[float, float]
) -> tuple[float, float] | None:
    """A spacing in the header's unit, converted to mm; None if the unit is unknown.

    Headers that name no unit mean mm.
    """
    text = fields.get("spaceunits") or fields.get("units") or fields.get("distanceunits") or ""
    units = {unit for unit in re.findall(r"[^\s\"]+", text.lower()) if unit not in _TIMES}
    scales = {_MM.get(unit) or _MM.get(unit.rstrip("s")) for unit in units} or {1.0}
    scale = scales.pop()
    if scales or scale is None:
        return None
    return spacing[0] * scale, spacing[1] * scale


def frame_time(fields: Mapping[str, str]) -> float | None:
    """Milliseconds between the frames of a sequence: the median, as tracked sweeps are uneven."""
    times = []
    for _, text in _of_frames(fields, "timestamp"):
        try:
            times.append(float(text))
        except ValueError:
            return None
    steps = [after - before for before, after in pairwise(times)]
    step = median(steps) if steps else 0.0
    return 1000 * step if math.isfinite(step) and step > 0 else None


def is_stack_of_slices(fields: Mapping[str, str]) -> bool:
    """Whether the third axis of a header is one of space, and not time, a list, or frames of a sequence.

    Frames of a sequence are where the probe was held; what a header gives as their distance is none.
    """
    if any(key.startswith("seq_frame") for key in fields):
        return False
    kinds = fields.get("kinds", "").lower().split()
    if len(kinds) == 3 and kinds[2] not in _SPATIAL:
        return False
    units = re.findall(r'"([^"]*)"', fields.get("units", "")) or fields.get("units", "").split()
    return len(units) != 3 or units[2].strip().lower() not in _TIMES


def sequence_notes(fields: Mapping[str, str]) -> tuple[str, ...]:
    """What a sequence's header says against its pictures, a sentence each."""
    notes = []
    status = [*_of_frames(fields, "imagestatus"), *_of_frames(fields, "status")]
    invalid = [frame for frame, text in status if text.upper() != "OK"]
    if invalid:
        shown = ", ".join(map(str, invalid[:5])) + (", …" if len(invalid) > 5 else "")
        notes.append(f"{len(invalid)} of {len(status)} frames are marked as invalid: {shown}.")
    # PLUS: the directions of columns and rows; rows that run to the near side show it upside-down.
    orientation = fields.get("ultrasoundimageorientation", "").upper()
    if orientation[1:2] not in ("", "F"):
        notes.append(
            f"Its rows do not run away from the transducer (orientation {orientation}); the picture is "
            "turned or upside-down."
        )
    return tuple(notes)


def _of_frames(fields: Mapping[str, str], name: str) -> list[tuple[int, str]]:
    """The values of a field of frames, in order of the frames."""
    found = ((re.fullmatch(rf"seq_frame(\d+)_{name}", key), text) for key, text in fields.items())
    return sorted((int(match[1]), text) for match, text in found if match)
