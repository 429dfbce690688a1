"""`measure`: the numbers of a structure, each with its unit, its doubt, and what should be known of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ultrasam.errors import MeasurementError
from ultrasam.images.masks import BoolMask
from ultrasam.measure.border import TIGHT, WIDE, LevelMasks
from ultrasam.measure.calibration import Calibration
from ultrasam.measure.kinds import KINDS, Kind, Plane
from ultrasam.measure.observations import observations
from ultrasam.measure.quantities import Measurement, Quantity


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What is measured in one plane.

    Attributes:
        masks: its mask, with those at other levels of probability if the network gave them.
        calibration: which spacing holds there (`ultrasam.measure.calibration.calibration_of`).
        surface: row of the transducer's surface, in pixels.
    """

    masks: LevelMasks
    calibration: Calibration
    surface: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The numbers of a structure.

    Attributes:
        measurements: in the order of its kind.
        notes: what should be known of them, such as that the structure is cut off: sentences without their
            subject, the mask, and without a period.
    """

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...] = ()

    def value(self, name: str) -> float:
        """The value of a measurement by its name."""
        return next(m.value for m in self.measurements if m.name == name)


def kind_of(name: str) -> Kind:
    """A kind by its name.

    Raises:
        MeasurementError: There is none of that name.
    """
    if name not in KINDS:
        raise MeasurementError(f"'{name}' is not a kind of structure; use {', '.join(KINDS)}.")
    return KINDS[name]


def measure(kind: str, structures: Sequence[Structure], *, factor: float | None = None) -> Measured:
    """Measure a structure in the planes of its kind.

    Lengths are in mm, areas in mm² and volumes in ml where all planes are calibrated; else in pixels, which
    are then taken for square. Planes of several images have no common pixel, so a kind that combines them
    needs mm in all.

    Args:
        kind: a name in `KINDS`.
        structures: one for each of the kind's views, in their order.
        factor: of length × width × height, in place of the kind's own.

    Raises:
        MeasurementError: The kind is unknown or has other planes, a mask is empty or has no such measure, the
            planes need a calibration, or the factor does not apply.
    """
    what = kind_of(kind)
    if len(structures) != len(what.views):
        raise MeasurementError(
            f"{kind} is measured in {len(what.views)} planes ({', '.join(what.views)}), not "
            f"{len(structures)}."
        )
    if factor is not None and (what.factor is None or not 0 < factor < math.inf):
        reason = (
            "takes no factor" if what.factor is None else f"needs a positive factor, not {factor:g}"
        )
        raise MeasurementError(f"{kind} {reason}.")
    for view, s in zip(what.views, structures, strict=True):
        if not s.masks.mask.any():
            which = "" if len(structures) == 1 else f" of the {view}"
            raise MeasurementError(f"The mask{which} is empty, so there is nothing to measure.")
    calibrated = _is_calibrated(kind, what, structures)
    factor = factor or what.factor or 1.0

    def numbers(masks: Sequence[BoolMask]) -> list[Quantity]:
        planes = [
            Plane(mask, s.calibration.spacing, s.surface)
            for mask, s in zip(masks, structures, strict=True)
        ]
        return what.formula(planes, factor)

    quantities = numbers([s.masks.mask for s in structures])
    others, notes = _at_levels(structures, numbers)
    measurements = tuple(
        Measurement.of(
            quantity,
            calibrated=calibrated,
            others=None if others is None else tuple(other[index].value for other in others),
        )
        for index, quantity in enumerate(quantities)
    )
    return Measured(measurements, (*_notes(what, structures), *notes))


def _is_calibrated(kind: str, what: Kind, structures: Sequence[Structure]) -> bool:
    missing = [
        (view, s.calibration.note)
        for view, s in zip(what.views, structures, strict=True)
        if not s.calibration.calibrated
    ]
    if not missing:
        return True
    # End-diastole and end-systole of one view have the same pixels.
    if len(structures) == 1 or (kind == "ejection-fraction" and len(missing) == 2):
        return False
    view, why = missing[0]
    raise MeasurementError(
        f"{kind} needs sizes in mm in every plane, but {view} has none: {why}. State it with --pixel-size."
    )


def _at_levels(
    structures: Sequence[Structure], numbers: Callable[[Sequence[BoolMask]], list[Quantity]]
) -> tuple[list[list[Quantity]] | None, tuple[str, ...]]:
    """The numbers at the wide and the tight level, if all masks have them, and what is to say of them."""
    masks = [s.masks.others() for s in structures]
    known = [pair for pair in masks if pair is not None]
    if len(known) < len(masks):
        return None, ()
    found = []
    for index, level in enumerate((WIDE, TIGHT)):
        try:
            found.append(numbers([pair[index] for pair in known]))
        except MeasurementError:
            return None, (f"has no such measure at the level {level:g} of its probability",)
    return found, ()


def _notes(what: Kind, structures: Sequence[Structure]) -> list[str]:
    """What should be known of the masks; of several, with the view that it is about."""
    found = []
    for view, s in zip(what.views, structures, strict=True):
        notes = list(observations(s.masks.mask, s.calibration.box))
        if not s.calibration.calibrated:
            notes.append(f"is measured in pixels, taken for square: {s.calibration.note}")
        found += notes if len(structures) == 1 else [f"({view}) {note}" for note in notes]
    return found
