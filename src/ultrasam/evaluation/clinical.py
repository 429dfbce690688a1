"""What a clinician would measure in a predicted mask, beside the same in the ground truth.

A Dice of 0.97 says little to a clinician; an error of 2 mm in a head circumference does. Lengths are in mm
and areas in mm² where the pixel spacing is known, else in px and px²; a table or a plot has one unit
(`ClinicalMeasurement.unit`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ultrasam.errors import MeasurementError
from ultrasam.measure.ellipse import fit_ellipse
from ultrasam.measure.shape import area, long_and_short_axis

BoolMask = npt.NDArray[np.bool_]
Spacing = tuple[float, float]
Quantity = Literal[
    "head circumference",
    "abdominal circumference",
    "head or abdominal circumference",
    "long axis",
    "short axis",
    "area",
]
Unit = Literal["mm", "mm²", "px", "px²"]
QUANTITIES: tuple[Quantity, ...] = (
    "head circumference", "abdominal circumference", "head or abdominal circumference", "long axis",
    "short axis", "area",
)  # fmt: skip

# Structures whose circumference is measured, as that of an ellipse.
CIRCUMFERENCES: Mapping[str, Quantity] = {
    "fetal_head": "head circumference",
    "abdomen": "abdominal circumference",  # ACOUSLIC-AI annotates the fetal abdomen alone
    "fetal_abdomen": "abdominal circumference",
    "abdominal_or_head_circumference": "head or abdominal circumference",  # Fast-U-Net mixes the two
}
# Images from the mother's perineum during labor: the fetal head is cut through another plane, in which its
# circumference means nothing.
INTRAPARTUM = frozenset({"fh_ps_aop", "psfhs", "jnu_ifm", "iugc"})
# Words in the name of a structure that is measured as a lesion, by its axes. All lesions of the 43 data sets
# have one of them (the tumors of MMOTU-2D and GIST514-DB by their kind), and no organ, vessel or nerve has.
LESION_WORDS = frozenset({
    "nodule", "tumor", "tumour", "lesion", "mass", "cyst", "benign", "malignant", "cancer", "carcinoma",
    "cystadenoma", "teratoma", "leiomyoma", "gist", "serous",
})  # fmt: skip
_SOURCE_NAMES: Mapping[Quantity, str] = {
    "head circumference": "head_circumference_mm",
    "abdominal circumference": "abdominal_circumference_mm",
}


@dataclass(frozen=True, slots=True)
class ClinicalMeasurement:
    """One quantity of one object: what it should be, and what the predicted mask gives.

    Attributes:
        quantity: one of ``QUANTITIES``.
        unit: of the three values.
        reference: the source's own measurement if it has one, else ``truth``.
        truth: measured in the ground-truth mask, as in the prediction.
        predicted: measured in the predicted mask; NaN if that is empty or has no such measure, as an ellipse
            in a line. An empty mask has an area of 0.
        from_source: whether ``reference`` is the source's own measurement.
    """

    quantity: Quantity
    unit: Unit
    reference: float
    truth: float
    predicted: float
    from_source: bool = False

    @property
    def error(self) -> float:
        """Predicted minus reference."""
        return self.predicted - self.reference

    @property
    def floor(self) -> float:
        """Truth minus reference: the error that a perfect mask would still have; 0 without the source's own
        measurement."""
        return self.truth - self.reference


def is_lesion(structure: str) -> bool:
    """Whether a structure is measured as a lesion, by its long and short axis (see ``LESION_WORDS``)."""
    return not LESION_WORDS.isdisjoint(structure.casefold().replace("-", "_").split("_"))


def clinical_measurements(
    truth: BoolMask,
    predicted: BoolMask,
    *,
    structure: str,
    dataset: str = "",
    spacing: Spacing | None = None,
    measurements: Mapping[str, float] | None = None,
) -> list[ClinicalMeasurement]:
    """The clinical quantities of one object, in the order of ``QUANTITIES``.

    The area of any structure; the long and short axis of a lesion; the circumference of a fetal head or
    abdomen, by an ellipse. A quantity that the ground truth itself does not have is left out.

    Args:
        truth, predicted: [H, W].
        structure: name of the anatomical structure.
        dataset: id of its data set.
        spacing: (row, column) distance between pixel centers in mm; None if unknown.
        measurements: what the source measured in the image, such as ``head_circumference_mm``. They are used
            with a spacing only, and mean an object only if it is the image's only one of its structure: pass
            none otherwise.
    """
    found: list[ClinicalMeasurement] = []
    circumference = CIRCUMFERENCES.get(structure) if dataset not in INTRAPARTUM else None
    if circumference is not None:
        stated = (measurements or {}).get(_SOURCE_NAMES.get(circumference, ""))
        found += _measured(
            (circumference,), _circumference, truth, predicted, spacing, stated=stated
        )
    if is_lesion(structure):
        found += _measured(("long axis", "short axis"), _axes, truth, predicted, spacing)
    return [*found, *_measured(("area",), _area, truth, predicted, spacing)]


def _measured(
    quantities: tuple[Quantity, ...],
    measure: Callable[[BoolMask, Spacing], tuple[float, ...]],
    truth: BoolMask,
    predicted: BoolMask,
    spacing: Spacing | None,
    *,
    stated: float | None = None,
) -> list[ClinicalMeasurement]:
    """What one function measures; nothing if the truth does not have it."""
    unit: Unit = "mm" if spacing else "px"
    if quantities == ("area",):
        unit = "mm²" if spacing else "px²"
    try:
        true_values = measure(truth, spacing or (1.0, 1.0))
    except MeasurementError:
        return []
    try:
        values = measure(predicted, spacing or (1.0, 1.0))
    except MeasurementError:
        values = (float("nan"),) * len(quantities)
    source = stated if spacing else None
    return [
        ClinicalMeasurement(
            quantity, unit, true if source is None else source, true, value, source is not None
        )
        for quantity, true, value in zip(quantities, true_values, values, strict=True)
    ]


def _circumference(mask: BoolMask, spacing: Spacing) -> tuple[float]:
    return (fit_ellipse(mask, spacing).circumference,)


def _axes(mask: BoolMask, spacing: Spacing) -> tuple[float, float]:
    axes = long_and_short_axis(mask, spacing)
    return axes.long, axes.short


def _area(mask: BoolMask, spacing: Spacing) -> tuple[float]:
    return (area(mask, spacing),)
