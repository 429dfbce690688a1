"""What is measured of a kind of structure: each kind has its formula, in one plane or in several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ultrasam.images.masks import BoolMask
from ultrasam.measure.ellipse import equivalent_ellipse
from ultrasam.measure.fetal import abdominal_circumference, fetal_head
from ultrasam.measure.outline import PIXELS, Spacing, largest_part
from ultrasam.measure.quantities import Quantity
from ultrasam.measure.shape import area, extent, long_and_short_axis, perimeter
from ultrasam.measure.solid import (
    BLADDER,
    ELLIPSOID,
    PROSTATE,
    THYROID_LOBE,
    lesion_axes,
    organ_axes,
)
from ultrasam.measure.ventricle import (
    biplane_volume,
    discs,
    ejection_fraction,
    single_plane_volume,
)
from ultrasam.measure.vessel import band_thickness, round_diameter


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A mask in one plane.

    Attributes:
        mask: [H, W].
        spacing: (row, column) distance between pixel centers.
        surface: row of the transducer's surface, in pixels.
    """

    mask: BoolMask
    spacing: Spacing = PIXELS
    surface: float = 0.0


Formula = Callable[[Sequence[Plane], float], list[Quantity]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of structure, and what is measured of it.

    Attributes:
        text: what it measures, in a few words.
        formula: takes the planes and the factor of a volume.
        views: what each plane shows, in order.
        factor: of length × width × height; None if the volume is not computed by it.
    """

    text: str
    formula: Formula
    views: tuple[str, ...] = ("image",)
    factor: float | None = None


def _part(plane: Plane) -> BoolMask:
    return largest_part(plane.mask)


def _area(plane: Plane) -> Quantity:
    return Quantity("area", area(_part(plane), plane.spacing), "area")


def _axes(plane: Plane) -> list[Quantity]:
    axes = long_and_short_axis(plane.mask, plane.spacing)
    return [Quantity("long axis", axes.long), Quantity("short axis", axes.short)]


def _place(plane: Plane) -> list[Quantity]:
    reach = extent(plane.mask, plane.spacing, surface=plane.surface)
    return [
        Quantity("width", reach.width),
        Quantity("height", reach.height),
        Quantity("depth of the top", reach.top),
        Quantity("depth of the bottom", reach.bottom),
    ]


def _shape(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    ellipse = equivalent_ellipse(plane.mask, plane.spacing)
    return [
        _area(plane),
        Quantity("perimeter", perimeter(plane.mask, plane.spacing)),
        *_axes(plane),
        *_place(plane),
        Quantity("equivalent ellipse, long axis", 2 * ellipse.semi_major),
        Quantity("equivalent ellipse, short axis", 2 * ellipse.semi_minor),
        Quantity("equivalent ellipse, angle", math.degrees(ellipse.angle), "angle"),
    ]


def _head(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    head = fetal_head(plane.mask, plane.spacing)
    return [
        Quantity("head circumference", head.circumference),
        Quantity("biparietal diameter", head.biparietal),
        Quantity("occipitofrontal diameter", head.occipitofrontal),
        Quantity("cephalic index", head.cephalic_index, "percent"),
    ]


def _abdomen(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    return [
        Quantity("abdominal circumference", abdominal_circumference(plane.mask, plane.spacing))
    ]  # fmt: skip


def _lesion(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    return [*_axes(plane), _area(plane), *_place(plane)]


def _lesion_volume(planes: Sequence[Plane], factor: float) -> list[Quantity]:
    first, second = planes
    axes = lesion_axes(
        first.mask, second.mask, first_spacing=first.spacing, second_spacing=second.spacing
    )
    return [
        Quantity("volume", axes.volume(factor), "volume"),
        Quantity("first axis", axes.length),
        Quantity("second axis", axes.height),
        Quantity("third axis", axes.width),
    ]


def _organ(planes: Sequence[Plane], factor: float) -> list[Quantity]:
    sagittal, transverse = planes
    axes = organ_axes(
        sagittal.mask, transverse.mask,
        sagittal_spacing=sagittal.spacing, transverse_spacing=transverse.spacing,
    )  # fmt: skip
    return [
        Quantity("volume", axes.volume(factor), "volume"),
        Quantity("length", axes.length),
        Quantity("width", axes.width),
        Quantity("height", axes.height),
    ]


def _ventricle(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    view = discs(plane.mask, plane.spacing)
    return [
        Quantity("volume", single_plane_volume(view), "volume"),
        Quantity("long axis", view.length),
        _area(plane),
    ]


def _ventricle_biplane(planes: Sequence[Plane], _: float) -> list[Quantity]:
    first, second = (discs(plane.mask, plane.spacing) for plane in planes)
    return [
        Quantity("volume", biplane_volume(first, second), "volume"),
        Quantity("long axis, first view", first.length),
        Quantity("long axis, second view", second.length),
    ]


def _ejection(planes: Sequence[Plane], _: float) -> list[Quantity]:
    """Of a view's end-diastolic and end-systolic plane, or of those of two views, one after the other."""
    cut = [discs(plane.mask, plane.spacing) for plane in planes]
    if len(cut) == 2:
        diastolic, systolic = (single_plane_volume(view) for view in cut)
    else:
        diastolic, systolic = biplane_volume(cut[0], cut[2]), biplane_volume(cut[1], cut[3])
    return [
        Quantity("ejection fraction", ejection_fraction(diastolic, systolic), "percent"),
        Quantity("end-diastolic volume", diastolic, "volume"),
        Quantity("end-systolic volume", systolic, "volume"),
        Quantity("stroke volume", diastolic - systolic, "volume"),
    ]


def _vessel(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    band = band_thickness(plane.mask, plane.spacing)
    return [
        Quantity("mean diameter", band.mean),
        Quantity("smallest diameter", band.smallest),
        Quantity("largest diameter", band.largest),
        Quantity("measured length", band.length),
    ]


def _vessel_transverse(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    axes = long_and_short_axis(plane.mask, plane.spacing)
    return [
        Quantity("mean diameter", round_diameter(plane.mask, plane.spacing)),
        Quantity("largest diameter", axes.long),
        Quantity("smallest diameter", axes.short),
        _area(plane),
    ]


def _intima_media(planes: Sequence[Plane], _: float) -> list[Quantity]:
    (plane,) = planes
    band = band_thickness(plane.mask, plane.spacing)
    return [
        Quantity("mean intima-media thickness", band.mean),
        Quantity("largest intima-media thickness", band.largest),
        Quantity("measured length", band.length),
    ]


_PLANES = ("sagittal", "transverse")
_BEAT = ("end-diastole", "end-systole")
KINDS: Mapping[str, Kind] = {
    "shape": Kind("area, perimeter, axes, depth, equivalent ellipse", _shape),
    "lesion": Kind("a lesion's axes, area and depth", _lesion),
    "lesion-volume": Kind(
        "a lesion's three axes and volume",
        _lesion_volume,
        ("first plane", "second plane"),
        ELLIPSOID,
    ),
    "head": Kind("fetal head: circumference and diameters", _head),
    "abdomen": Kind("fetal abdominal circumference", _abdomen),
    "ventricle": Kind("volume by discs, one view", _ventricle),
    "ventricle-biplane": Kind(
        "volume by discs, two views", _ventricle_biplane, ("first view", "second view")
    ),
    "ejection-fraction": Kind("of a cine, or of end-diastole and end-systole", _ejection, _BEAT),
    "ejection-fraction-biplane": Kind(
        "of two cines, or of two stills of each view",
        _ejection,
        tuple(f"{view} view, {moment}" for view in ("first", "second") for moment in _BEAT),
    ),
    "prostate": Kind("volume and axes", _organ, _PLANES, PROSTATE),
    "bladder": Kind("volume and axes", _organ, _PLANES, BLADDER),
    "thyroid": Kind("volume and axes of a lobe", _organ, _PLANES, THYROID_LOBE),
    "vessel": Kind("diameter along its course", _vessel),
    "vessel-transverse": Kind("diameter of a vessel cut across", _vessel_transverse),
    "imt": Kind("intima-media thickness", _intima_media),
}
