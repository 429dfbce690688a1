"""What `measure` says: numbers with units and doubt, and what is wrong with a mask."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes import Mask, blob, ellipse_mask
from ultrasam.errors import MeasurementError
from ultrasam.measure.border import LevelMasks
from ultrasam.measure.calibration import Calibration
from ultrasam.measure.kinds import KINDS
from ultrasam.measure.measuring import Structure, measure
from ultrasam.measure.observations import observations, touched_edges
from ultrasam.measure.quantities import Measurement, Quantity

MM = Calibration((0.2, 0.2), True, "of the file")
PX = Calibration((1.0, 1.0), False, "the file states no pixel spacing")


def structure(mask: Mask, calibration: Calibration = MM, **more: Mask) -> Structure:
    return Structure(LevelMasks(mask, **more), calibration)


def disc(radius: float, size: int = 200) -> Mask:
    rows, columns = np.indices((size, size))
    return np.asarray(np.hypot(rows - size / 2, columns - size / 2) <= radius)


def test_every_kind_measures_and_every_number_has_a_name_and_a_unit() -> None:
    cavity, _ = ellipse_mask(140, 70, 1.2)
    band = np.zeros((60, 300), bool)
    band[20:40, 10:290] = True
    for name, kind in KINDS.items():
        mask = band if name in ("vessel", "imt") else cavity
        found = measure(name, [structure(mask)] * len(kind.views))
        assert len({m.name for m in found.measurements}) == len(found.measurements) > 0
        for measurement in found.measurements:
            assert math.isfinite(measurement.value)
            assert measurement.unit in ("mm", "mm²", "ml", "%", "°")
            assert (measurement.low, measurement.high, measurement.doubt) == (None, None, None)


def test_areas_are_in_square_millimeters_volumes_in_milliliters_and_else_in_pixels() -> None:
    mask, _ = ellipse_mask(140, 70, 1.2)
    ours, pixels = (measure("ventricle", [structure(mask, c)]) for c in (MM, PX))
    assert [m.unit for m in ours.measurements] == ["ml", "mm", "mm²"]
    assert [m.unit for m in pixels.measurements] == ["px³", "px", "px²"]
    scales = (0.2**3 / 1000, 0.2, 0.2**2)
    for one, other, scale in zip(ours.measurements, pixels.measurements, scales, strict=True):
        assert one.value == pytest.approx(other.value * scale, rel=1e-6)
    assert ours.notes == ()
    assert pixels.notes == (
        "is measured in pixels, taken for square: the file states no pixel spacing",
    )


def test_the_doubt_is_how_far_the_levels_move_the_number() -> None:
    levels = structure(disc(50), wide=disc(54), tight=disc(47))
    found = measure("shape", [levels])
    alone = [measure("shape", [structure(disc(r))]).measurements[0].value for r in (47, 50, 54)]
    (area, *_) = found.measurements
    assert (area.low, area.value, area.high) == pytest.approx(tuple(alone))
    assert area.doubt == pytest.approx(alone[2] - alone[1])
    assert str(area) == f"{area.value:.1f} ± {area.doubt:.1f} mm²"
    large = structure(disc(80), wide=disc(82), tight=disc(78))
    small = structure(disc(60), wide=disc(64), tight=disc(57))
    fraction = measure("ejection-fraction", [large, small])
    assert fraction.value("ejection fraction") == pytest.approx(100 * (1 - (60 / 80) ** 3), abs=0.6)
    first = fraction.measurements[0]
    assert first.low is not None
    assert first.high is not None
    assert first.low <= first.value <= first.high


def test_other_pieces_of_a_wide_mask_move_nothing() -> None:
    """At a lower level, what is not connected to the measured part is something else."""
    wide = disc(54)
    wide[:20, :20] = True
    with_piece = measure("shape", [structure(disc(50), wide=wide, tight=disc(47))])
    without = measure("shape", [structure(disc(50), wide=disc(54), tight=disc(47))])
    assert with_piece.measurements == without.measurements


def test_a_level_without_the_structure_leaves_the_number_and_is_told() -> None:
    found = measure("shape", [structure(disc(50), wide=disc(54), tight=disc(-1))])
    assert found.measurements[0].doubt is None
    assert found.notes == ("has no such measure at the level 0.7 of its probability",)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), levels=st.tuples(st.floats(0.05, 0.3), st.floats(0.05, 0.3)))
def test_the_area_lies_between_its_levels_whatever_the_mask(
    seed: int, levels: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(40, 50))
    field = np.cumsum(np.cumsum(field, 0), 1)
    wide, mask, tight = (
        field > np.quantile(field, q) for q in (0.6 - levels[0], 0.6, 0.6 + levels[1])
    )
    found = measure("shape", [structure(mask, wide=wide, tight=tight)]).measurements[0]
    assert found.low is None or (found.high is not None and found.low <= found.value <= found.high)


def test_an_empty_mask_is_refused_and_pieces_holes_and_edges_are_told() -> None:
    empty = np.zeros((50, 60), bool)
    for name, kind in KINDS.items():
        with pytest.raises(MeasurementError, match=r"The mask( of the .*)? is empty, so there"):
            measure(name, [structure(disc(50))] * (len(kind.views) - 1) + [structure(empty)])
    assert observations(empty) == ("is empty, so there is nothing to measure",)
    mask = empty.copy()
    mask[0:30, 10:40] = True
    mask[10:15, 20:26] = False
    mask[40:45, 50:56] = True
    assert observations(mask) == (
        "has 2 pieces; only the largest is measured, with 97% of the area",
        "has holes of 30 pixels, which are measured as part of it",
        "touches the top edge of the image; the structure may be cut off, and larger than measured",
    )
    assert observations(mask, (10, 0, 60, 50))[2].startswith(
        "touches the left and top edge of the ultrasound region"
    )
    assert measure("shape", [structure(mask)]).value("area") == pytest.approx(900 * 0.04)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_an_edge_is_touched_where_the_mask_has_pixels_on_it(seed: int) -> None:
    mask = blob(np.random.default_rng(seed), (14, 17))
    expected = {
        "left": mask[:, 0].any(), "top": mask[0].any(),
        "right": mask[:, -1].any(), "bottom": mask[-1].any(),
    }  # fmt: skip
    assert set(touched_edges(mask)) == {name for name, touched in expected.items() if touched}
    assert touched_edges(np.pad(mask, 1)) == ()


def test_planes_of_several_images_need_millimeters_and_one_image_does_not() -> None:
    mask, _ = ellipse_mask(140, 70, 1.2)
    with pytest.raises(
        MeasurementError, match="every plane, but transverse has none: the file states"
    ):
        measure("prostate", [structure(mask), structure(mask, PX)])
    with pytest.raises(MeasurementError, match="first view, end-diastole has none"):
        measure("ejection-fraction-biplane", [structure(mask, PX)] * 4)
    single = measure("ejection-fraction", [structure(mask, PX), structure(mask[:, ::-1], PX)])
    assert single.value("ejection fraction") == pytest.approx(0, abs=0.5)
    with pytest.raises(MeasurementError, match="every plane"):  # one frame within a region, one not
        measure("ejection-fraction", [structure(mask), structure(mask, PX)])


def test_a_wrong_kind_number_of_planes_or_factor_is_told() -> None:
    mask = disc(50)
    with pytest.raises(
        MeasurementError, match="'heart' is not a kind of structure; use shape, lesion"
    ):
        measure("heart", [structure(mask)])
    with pytest.raises(MeasurementError, match=r"2 planes \(sagittal, transverse\), not 1"):
        measure("prostate", [structure(mask)])
    with pytest.raises(MeasurementError, match="head takes no factor"):
        measure("head", [structure(mask)], factor=0.5)
    with pytest.raises(MeasurementError, match="needs a positive factor, not -1"):
        measure("bladder", [structure(mask)] * 2, factor=-1)
    ours, other = (measure("bladder", [structure(mask)] * 2, factor=f) for f in (None, 0.72))
    ratio = other.value("volume") / ours.value("volume")
    assert ratio == pytest.approx(0.72 * 6 / math.pi)


def test_depth_begins_at_the_transducers_surface() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:60, 30:70] = True
    found = measure("lesion", [Structure(LevelMasks(mask), MM, surface=10)])
    assert found.value("depth of the top") == pytest.approx(6)
    assert found.value("depth of the bottom") == pytest.approx(10)


def test_numbers_for_json_are_short_and_unknown_doubt_is_null() -> None:
    quantity = Quantity("area", 1234.56789, "area")
    assert Measurement.of(quantity, calibrated=True).as_json() == {
        "quantity": "area", "unit": "mm²", "value": 1234.57, "low": None, "high": None,
    }  # fmt: skip
    assert str(Measurement("x", 3.14159, "mm")) == "3.1 mm"
    turned = Measurement.of(Quantity("tilt", 88.0, "angle"), calibrated=True, others=(-89.0, 85.0))
    assert (turned.low, turned.high) == (85, 91)
    nan = Measurement.of(quantity, calibrated=True, others=(math.nan, 3.0))
    assert nan.doubt is None
