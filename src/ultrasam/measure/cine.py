"""MaskedCine: an object's masks in the frames of a scan, measured frame by frame, and its beats.

A still is a cine of one frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.errors import MeasurementError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.pixels import BLACK
from ultrasam.images.scan import Scan
from ultrasam.inference.postprocessing import scanned_area
from ultrasam.measure.border import LevelMasks
from ultrasam.measure.calibration import calibration_of
from ultrasam.measure.cycle import Beat, find_beats
from ultrasam.measure.measuring import Measured, Structure, measure
from ultrasam.measure.outline import Spacing, largest_part
from ultrasam.text import counted

_NAMES = ("mask", "wide", "tight")
_LIT_PIXELS = 3  # in a row that shows the scan


@dataclass(frozen=True, slots=True, eq=False)
class MaskedCine:
    """An object's masks in the frames of a scan.

    Attributes:
        scan: the frames.
        name: of the object, as outputs show it.
        masks: a sequence that holds the object's masks.
        index: which object of the sequence it is.
        wide, tight: which objects are its masks at the levels 0.3 and 0.7 of their probability; None if
            there are none.
        spacing: (row, column) in mm, if the user states it.
    """

    scan: Scan
    name: str
    masks: MaskSequence
    index: int = 0
    wide: int | None = None
    tight: int | None = None
    spacing: Spacing | None = None

    @classmethod
    def empty(
        cls, scan: Scan, name: str, *, has_levels: bool, spacing: Spacing | None = None
    ) -> MaskedCine:
        """Without masks yet, to `put` them.

        Args:
            has_levels: whether they have other levels, as those of a network do.
        """
        names = _NAMES if has_levels else _NAMES[:1]
        wide, tight = (1, 2) if has_levels else (None, None)
        sequence = MaskSequence(scan.num_frames, scan.height, scan.width, names)
        return cls(scan, name, sequence, wide=wide, tight=tight, spacing=spacing)

    def put(self, frame: int, levels: LevelMasks) -> None:
        """Set the masks of a frame; they are kept as run-length encodings.

        Raises:
            DataError: The frame does not exist.
            MeasurementError: The masks have another size than the scan, or no other levels although all have.
        """
        check_size(self.scan, levels.mask, self.name)
        stack = [m for m in (levels.mask, levels.wide, levels.tight) if m is not None]
        count = len(self.masks.names)
        if len(stack) < count:
            raise MeasurementError(f"The mask of frame {frame} of {self.name} has no other levels.")
        self.masks.put(frame, np.stack(stack[:count]))

    @classmethod
    def of(
        cls,
        scan: Scan,
        name: str,
        masks: Mapping[int, LevelMasks],
        *,
        spacing: Spacing | None = None,
    ) -> MaskedCine:
        """From the masks of at least one frame; other levels are kept if all have them.

        Raises:
            MeasurementError: There are none, or they have another size than the scan.
        """
        if not masks:
            raise MeasurementError(f"{scan.source or 'The scan'} has no masks to measure.")
        has_levels = all(m.wide is not None and m.tight is not None for m in masks.values())
        found = cls.empty(scan, name, has_levels=has_levels, spacing=spacing)
        for frame, levels in masks.items():
            found.put(frame, levels)
        return found

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that have masks."""
        return self.masks.frames

    def levels(self, frame: int) -> LevelMasks:
        """The masks of a frame; empty if it has none."""
        stack = self.masks.masks(frame)
        wide, tight = (None if i is None else stack[i] for i in (self.wide, self.tight))
        return LevelMasks(stack[self.index], wide, tight)

    def structure(self, frame: int, *, with_surface: bool = False) -> Structure:
        """What `measure` takes, for one frame.

        Args:
            with_surface: look for the transducer's surface, for which the frame is decoded.
        """
        levels = self.levels(frame)
        calibration = calibration_of(self.scan, levels.mask, spacing=self.spacing)
        surface = surface_row(self.scan, frame, calibration.box) if with_surface else 0.0
        return Structure(levels, calibration, surface)

    def areas(self) -> npt.NDArray[np.float64]:
        """The area of the largest part of each frame's mask in pixels, [T]; NaN where there is none."""
        found = np.full(self.masks.num_frames, np.nan)
        for frame in self.frames:
            mask = self.masks.masks(frame)[self.index]
            if mask.any():
                found[frame] = np.count_nonzero(largest_part(mask))
        return found


def check_size(scan: Scan, mask: npt.NDArray[np.bool_], name: str) -> None:
    """Refuse a mask of another size than its scan.

    Raises:
        MeasurementError: It has another size.
    """
    if mask.shape != (scan.height, scan.width):
        raise MeasurementError(
            f"The mask {name} is {mask.shape[1]} × {mask.shape[0]} pixels, but {scan.source or 'the scan'} "
            f"is {scan.width} × {scan.height}; give the mask of this image, not resized."
        )


def surface_row(scan: Scan, frame: int, box: tuple[int, int, int, int] | None) -> float:
    """The top row of what is scanned in a frame, or in a box of it: where the transducer's surface is.

    It is the edge of the image or of the box if nothing black surrounds the scan there.
    """
    left, top, right, bottom = box or (0, 0, scan.width, scan.height)
    pixels = scan.frame(frame)[top:bottom, left:right]
    scanned = scanned_area(pixels)
    if scanned is None:
        return float(top)
    brightest = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    # The scanned area reaches a few pixels into the black around it.
    lit = np.flatnonzero(((brightest > BLACK) & scanned).sum(axis=1) >= _LIT_PIXELS)
    return float(top + (lit[0] if len(lit) else 0))


@dataclass(frozen=True, slots=True)
class BeatMeasured:
    """The ejection fraction of one beat.

    Attributes:
        beats: end-diastole and end-systole, of each view.
        measured: the numbers.
    """

    beats: tuple[Beat, ...]
    measured: Measured


def measure_beats(
    views: Sequence[MaskedCine], notes: list[str] | None = None
) -> list[BeatMeasured]:
    """The ejection fraction and volumes of each beat, from a tracked cavity in one or two apical views.

    End-diastole and end-systole are the frames of the largest and the smallest area
    (`ultrasam.measure.cycle.find_beats`). Two views are recorded one after the other: their first beats are
    taken together, then the second ones.

    Args:
        notes: takes a sentence if the views have different numbers of beats.

    Raises:
        MeasurementError: There are not one or two views, no beat is found in one, or the masks of a beat
            cannot be measured.
    """
    if len(views) not in (1, 2):
        raise MeasurementError(f"An ejection fraction has one view or two, not {len(views)}.")
    of_views = [find_beats(view.areas()) for view in views]
    counts = [len(beats) for beats in of_views]
    if notes is not None and len(set(counts)) > 1:
        notes.append(
            f"The first view has {counted(counts[0], 'beat')}, the second {counts[1]}; what one "
            "has alone is left out."
        )
    kind = "ejection-fraction" if len(views) == 1 else "ejection-fraction-biplane"
    found = []
    for beats in zip(*of_views, strict=False):
        structures = [
            view.structure(frame)
            for view, beat in zip(views, beats, strict=True)
            for frame in (beat.end_diastole, beat.end_systole)
        ]
        found.append(BeatMeasured(tuple(beats), measure(kind, structures)))
    return found


def missing_frames(view: MaskedCine) -> str | None:
    """A sentence about frames without a mask among those that were to have one; None if there are none."""
    empty = [f for f in view.frames if not view.masks.masks(f)[view.index].any()]
    if not empty:
        return None
    listed = ", ".join(str(frame) for frame in empty[:5]) + (", …" if len(empty) > 5 else "")
    return f"{view.name}: the mask of {counted(len(empty), 'frame')} is empty ({listed})"
