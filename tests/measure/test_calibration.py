"""Which spacing holds where a mask lies, from DICOM files with regions to scans without any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.images.files import dicom_bytes, picture, ultrasound_region
from tests.shapes import Mask
from ultrasam.errors import MeasurementError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.reading import read_scan
from ultrasam.images.regions import Region
from ultrasam.images.scan import Scan
from ultrasam.measure.calibration import calibration_of
from ultrasam.measure.report import shape_measurements

HEIGHT, WIDTH = 72, 95


def region(
    delta_cm: float, box: tuple[int, int, int, int], *, kind: int = 1, units: int = 3
) -> Dataset:
    """A region whose last pixels are those of the box, as DICOM counts them."""
    found = ultrasound_region(delta_cm)
    found.RegionSpatialFormat = kind
    found.PhysicalUnitsXDirection = units
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    for name, value in zip(names, (box[0], box[1], box[2] - 1, box[3] - 1), strict=True):
        setattr(found, f"RegionLocation{name}", value)
    return found


def read(tmp_path: Path, *regions: Dataset, **tags: object) -> Scan:
    file = tmp_path / "a.dcm"
    file.write_bytes(
        dicom_bytes(picture(HEIGHT, WIDTH), SequenceOfUltrasoundRegions=Sequence(regions), **tags)
    )
    return read_scan(file)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_two_regions_have_their_own_spacing_and_none_holds_across_both(tmp_path: Path) -> None:
    scan = read(tmp_path, region(0.02, (0, 0, 40, 72)), region(0.03, (50, 0, 95, 72)))
    assert scan.regions == (
        Region((0, 0, 40, 72), (0.4, 0.2), "2-D"),
        Region((50, 0, 95, 72), (pytest.approx(0.6), pytest.approx(0.3)), "2-D"),  # type: ignore[arg-type]
    )
    assert scan.spacing == (0.4, 0.2)
    left = calibration_of(scan, rectangle(0, 10, 40, 50))
    assert (left.spacing, left.calibrated, left.note) == (
        (0.4, 0.2),
        True,
        "of ultrasound region 1",
    )
    right = calibration_of(scan, rectangle(60, 10, 95, 50))
    assert right.spacing == pytest.approx((0.6, 0.3))
    assert right.note == "of ultrasound region 2"
    across = calibration_of(scan, rectangle(30, 10, 60, 50))
    assert (across.spacing, across.calibrated) == ((1.0, 1.0), False)
    assert across.note == "it reaches over the ultrasound regions 1 and 2"
    beyond = calibration_of(scan, rectangle(30, 10, 45, 50))
    assert beyond.note == "it reaches beyond ultrasound region 1 (0, 0, 40, 72)"
    outside = calibration_of(scan, rectangle(42, 10, 48, 50))
    assert outside.note == "it lies outside the ultrasound regions that the file calibrates"


def test_a_spectrum_or_an_m_mode_is_not_measured_in_mm(tmp_path: Path) -> None:
    scan = read(
        tmp_path,
        region(0.02, (0, 0, 95, 30)),
        region(0.02, (0, 30, 95, 50), kind=3, units=4),
        region(0.02, (0, 50, 95, 72), kind=2, units=4),
    )
    assert [r.spacing is None for r in scan.regions] == [False, True, True]
    spectrum = calibration_of(scan, rectangle(10, 32, 40, 45))
    assert spectrum.note == "it lies in ultrasound region 2, which shows spectral Doppler"
    assert calibration_of(scan, rectangle(10, 52, 40, 65)).note.endswith("which shows M-mode")
    assert calibration_of(scan, rectangle(10, 2, 40, 20)).calibrated


def test_a_color_box_of_the_same_spacing_changes_nothing_and_another_spacing_does(
    tmp_path: Path,
) -> None:
    """PS3.3 C.8.5.5.1.3: a point may lie in several regions; a distance needs one scale."""
    whole, box = (0, 0, 95, 72), (20, 20, 60, 60)
    mask = rectangle(25, 25, 50, 50)
    assert calibration_of(read(tmp_path, region(0.02, whole), region(0.02, box)), mask).calibrated
    found = calibration_of(read(tmp_path, region(0.02, whole), region(0.03, box)), mask)
    assert found.note == "it lies in the ultrasound regions 1 and 2, which differ in spacing"
    assert not found.calibrated


def test_a_region_without_calibration_has_none_although_the_file_has_a_spacing(
    tmp_path: Path,
) -> None:
    scan = read(tmp_path, region(0.02, (0, 0, 95, 72), units=0), PixelSpacing=[0.3, 0.3])
    found = calibration_of(scan, rectangle(5, 5, 20, 20))
    assert found.note == "it lies in ultrasound region 1, which has no calibration in mm"


def test_a_region_whose_place_is_malformed_is_left_out_and_told(tmp_path: Path) -> None:
    inverted = region(0.02, (60, 20, 30, 40))
    scan = read(tmp_path, inverted, region(0.02, (0, 0, 95, 72)))
    assert [r.box for r in scan.regions] == [(0, 0, 95, 72)]
    assert any("region 1 is left out: its place 60, 20, 29, 39" in n for n in scan.notes)
    scan = read(tmp_path, region(0.02, (0, 0, 95, 72)), region(0.02, (200, 200, 300, 300)))
    assert ([r.box for r in scan.regions], scan.notes) == ([(0, 0, 95, 72)], ())
    scan = read(tmp_path, ultrasound_region(0.02))
    assert [r.box for r in scan.regions] == [(0, 0, 95, 72)]  # it has no place: the whole image
    scan = read(tmp_path, region(0.02, (10, 10, 300, 300)))
    assert [r.box for r in scan.regions] == [(10, 10, 95, 72)]


def test_a_scan_without_regions_has_one_spacing_or_none_and_a_stated_one_holds() -> None:
    mask = rectangle(5, 5, 20, 20)
    plain = Scan.from_array(picture(HEIGHT, WIDTH))
    found = calibration_of(plain, mask)
    assert (found.calibrated, found.note) == (False, "the file states no pixel spacing")
    known = Scan.from_array(picture(HEIGHT, WIDTH), spacing=(0.1, 0.2))
    assert calibration_of(known, mask).spacing == (0.1, 0.2)
    stated = calibration_of(known, mask, spacing=(0.3, 0.3))
    assert (stated.spacing, stated.note) == ((0.3, 0.3), "as stated")
    with pytest.raises(MeasurementError, match="two positive numbers"):
        calibration_of(known, mask, spacing=(0.0, 0.3))


BOXES = st.tuples(
    st.integers(0, 90), st.integers(0, 60), st.integers(1, 60), st.integers(1, 40)
).map(lambda b: (b[0], b[1], min(b[0] + b[2], WIDTH), min(b[1] + b[3], HEIGHT)))


@settings(max_examples=60)
@given(
    regions=st.lists(st.tuples(BOXES, st.sampled_from([None, (0.1, 0.1), (0.2, 0.1)])), max_size=4),
    box=BOXES,
)
def test_mm_are_given_exactly_where_all_calibrated_regions_around_agree(
    regions: list[tuple[tuple[int, int, int, int], tuple[float, float] | None]],
    box: tuple[int, int, int, int],
) -> None:
    """By counting pixels, not by comparing boxes."""
    mask = rectangle(*box)
    scan = Scan(
        1, HEIGHT, WIDTH, False, lambda _: picture(HEIGHT, WIDTH), (9.0, 9.0),
        regions=tuple(Region(place, spacing) for place, spacing in regions),
    )  # fmt: skip
    around = {
        spacing for place, spacing in regions
        if spacing is not None and not (mask & ~rectangle(*place)).any()
    }  # fmt: skip
    found = calibration_of(scan, mask)
    if not regions:
        assert found.spacing == (9.0, 9.0)
    elif len(around) == 1:
        assert found.calibrated
        assert found.spacing == around.pop()
    else:
        assert not found.calibrated
        assert found.spacing == (1.0, 1.0)


def test_what_is_written_with_masks_is_in_mm_of_the_region_they_lie_in(tmp_path: Path) -> None:
    """Not of the file's first region, and in pixels where none holds the mask."""
    scan = read(tmp_path, region(0.02, (0, 0, 40, 72)), region(0.05, (40, 0, 95, 72)))
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    masks[0, 10:20, 10:20] = masks[1, 10:20, 50:60] = masks[2, 10:20, 35:45] = True
    sequence = MaskSequence.of({0: masks}, num_frames=1, names=("first", "second", "across"))
    areas = [
        (one.value, one.unit) for one in shape_measurements(sequence, scan) if one.name == "area"
    ]
    assert areas == [
        (pytest.approx(8.0), "mm2"), (pytest.approx(50.0), "mm2"), (100.0, "{pixels2}"),
    ]  # fmt: skip
