"""Clinical quantities of analytic shapes, of every structure in the catalog, and of real fetal heads."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import ellipe

from tests.shapes import ellipse_mask
from ultrasam.datasets.catalogue import catalogue
from ultrasam.evaluation.clinical import (
    CIRCUMFERENCES,
    INTRAPARTUM,
    QUANTITIES,
    clinical_measurements,
    is_lesion,
)
from ultrasam.evaluation.metrics.agreement import agreement
from ultrasam.images.masks import fill_holes

LESIONS = {
    "benign_breast_lesion", "benign_tumour", "breast_benign", "breast_malignant", "breast_nodule",
    "breast_nodule_benign", "breast_nodule_malignant", "breast_tumour", "chocolate_cyst", "gist",
    "high_grade_serous", "leiomyoma", "lesion", "malignant_breast_lesion", "malignant_tumour", "mass",
    "mucinous_cystadenoma", "other_lesion", "serous_cystadenoma", "simple_cyst", "teratoma",
    "theca_cell_tumor", "thyroid_nodule", "tumor",
}  # fmt: skip


def test_exactly_the_lesions_of_the_papers_data_sets_are_lesions() -> None:
    names = {
        name
        for spec in catalogue().values()
        if spec.info.part_of_paper
        for name in (*spec.info.structures, *spec.info.optional_structures)
    }
    assert {name for name in names if is_lesion(name)} == LESIONS
    assert is_lesion("Brain-Tumor")
    assert not is_lesion("massive_artery")


def test_a_head_is_measured_against_the_source_and_against_the_truth() -> None:
    truth, _ = ellipse_mask(40, 30, 0.4, spacing=(0.2, 0.2))
    predicted, _ = ellipse_mask(41, 31, 0.4, spacing=(0.2, 0.2))
    predicted = predicted[5:-5, 5:-5]
    head, area = clinical_measurements(
        truth, predicted, structure="fetal_head", dataset="hc18", spacing=(0.2, 0.2),
        measurements={"head_circumference_mm": 221.0},
    )  # fmt: skip
    true, larger = (4 * a * ellipe(1 - (b / a) ** 2) for a, b in ((40, 30), (41, 31)))
    assert (head.quantity, head.unit, head.reference) == ("head circumference", "mm", 221.0)
    assert head.from_source
    assert head.truth == pytest.approx(true, rel=0.001)
    assert head.predicted == pytest.approx(larger, rel=0.001)
    assert head.error == pytest.approx(larger - 221, abs=0.2)
    assert head.floor == pytest.approx(true - 221, abs=0.2)
    assert (area.quantity, area.unit, area.from_source) == ("area", "mm²", False)
    assert area.truth == area.reference == pytest.approx(math.pi * 1200, rel=0.002)


def test_without_a_spacing_all_is_in_pixels_and_no_millimeter_is_a_reference() -> None:
    truth, _ = ellipse_mask(40, 30)
    found = clinical_measurements(
        truth, truth, structure="fetal_head", measurements={"head_circumference_mm": 221.0}
    )
    assert [m.unit for m in found] == ["px", "px²"]
    assert all(m.reference == m.truth == m.predicted and not m.from_source for m in found)
    assert found[0].reference == pytest.approx(4 * 40 * ellipe(1 - 0.75**2), rel=0.002)


def test_a_lesion_has_two_axes_and_an_area() -> None:
    truth, _ = ellipse_mask(60, 40, 0.7, spacing=(0.3, 0.15))
    found = clinical_measurements(truth, truth, structure="breast_nodule", spacing=(0.3, 0.15))
    assert [m.quantity for m in found] == ["long axis", "short axis", "area"]
    assert [m.unit for m in found] == ["mm", "mm", "mm²"]
    assert [m.predicted for m in found] == pytest.approx([120, 80, math.pi * 2400], rel=0.006)
    assert [m.error for m in found] == [0, 0, 0]


def test_an_empty_prediction_has_no_axes_and_no_area() -> None:
    truth, _ = ellipse_mask(20, 15)
    nothing = np.zeros_like(truth)
    long, short, area = clinical_measurements(truth, nothing, structure="tumor")
    assert math.isnan(long.predicted)
    assert math.isnan(short.error)
    assert area.predicted == 0


def test_what_the_truth_does_not_have_is_left_out() -> None:
    """A head of which the image shows less than half has no circumference."""
    truth = np.ones((50, 50), bool)
    found = clinical_measurements(truth, truth, structure="fetal_head")
    assert [m.quantity for m in found] == ["area"]


def test_a_head_during_labor_has_no_head_circumference() -> None:
    truth, _ = ellipse_mask(40, 30)
    found = clinical_measurements(truth, truth, structure="fetal_head", dataset="fh_ps_aop")
    assert [m.quantity for m in found] == ["area"]


def test_heads_beside_a_symphysis_are_heads_during_labor() -> None:
    for name, spec in catalogue().items():
        if {"pubic_symphysis", "fetal_head"} <= set(spec.info.structures):
            assert name in INTRAPARTUM


def test_organs_have_an_area_and_abdomens_a_circumference() -> None:
    truth, _ = ellipse_mask(40, 30)
    assert [m.quantity for m in clinical_measurements(truth, truth, structure="kidney")] == ["area"]
    abdomen = clinical_measurements(
        truth, truth, structure="abdomen", spacing=(0.5, 0.5),
        measurements={"abdominal_circumference_mm": 111.0},
    )  # fmt: skip
    assert [(m.quantity, m.reference) for m in abdomen[:1]] == [("abdominal circumference", 111.0)]
    assert set(CIRCUMFERENCES.values()) <= set(QUANTITIES)


def test_the_masks_of_real_heads_are_the_same_number_of_pixels_too_large(shared_data: Path) -> None:
    """Those of HC18 reach 1.4 pixels beyond the measured ellipse, as if they included a line along it."""
    folder = shared_data / "dev" / "HC18"
    table = folder / "training_set_pixel_size_and_HC.csv"
    found, residuals, subjects = [], [], []
    for name, *numbers in list(csv.reader(table.read_text().splitlines()))[1:]:
        pixel, circumference = map(float, numbers)
        file = folder / "training_set" / name.replace(".png", "_Annotation.png")
        drawn = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert drawn is not None
        truth = fill_holes(drawn >= 128)
        head, _ = clinical_measurements(
            truth, truth, structure="fetal_head", dataset="hc18", spacing=(pixel, pixel),
            measurements={"head_circumference_mm": circumference},
        )  # fmt: skip
        found.append(head)
        # A margin w makes the circumference longer by about 2 π w.
        residuals.append(head.floor - 2 * math.pi * 1.4 * pixel)
        subjects.append(name[:3])
    result = agreement([m.truth for m in found], [m.reference for m in found], subjects)
    assert len(found) == 48
    assert result.bias.value == pytest.approx(1.29, abs=0.02)
    assert result.mean_absolute == result.bias.value
    assert result.sd == pytest.approx(0.52, abs=0.02)
    assert np.abs(residuals).max() < 0.3
    assert abs(np.mean(residuals)) < 0.03
