"""Write measurements and outlines as a DICOM structured report, TID 1500 "Measurement Report" (PS3.16).

Each object in each frame is a group of TID 1410: the outline as a closed polyline on that frame of the
source, and the numbers measured there. What belongs to no frame is a group of TID 1501 without an outline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.files import atomic_file
from ultrasam.images.masks import BoolMask
from ultrasam.images.writing.dicom_source import (
    MANUFACTURER,
    as_texts,
    equipment,
    import_highdicom,
    is_multi_frame,
    parameters,
    read_source,
)
from ultrasam.images.writing.outlines import outlines
from ultrasam.images.writing.segmentation import Code, Measurement, Segmentation, require_masks

_WHAT = "DICOM SR"


def write_sr(path: Path, result: Segmentation) -> tuple[str, ...]:
    """Write a report with the outline and the measurements of each object in each frame.

    A region of a report is one polyline: of a mask in several parts, it is the largest part's, and holes are
    not drawn. The measurements are those of the whole mask.

    Returns:
        Sentences about what the report cannot show.

    Raises:
        DataError: The scan is not from a DICOM file that can be referred to, or there is nothing to report.
        MissingDependencyError: The extra 'outputs' is not installed.
        DiskFullError, UltraSamError: The file cannot be written.
    """
    hd = import_highdicom(_WHAT)
    source = read_source(result, _WHAT)
    if not result.measurements:
        require_masks(result, _WHAT)
    groups, notes = _groups(hd, result, source)
    report = hd.sr.ComprehensiveSR(
        evidence=[source],
        content=_content(hd, result, groups),
        series_instance_uid=hd.UID(),
        series_number=9002,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer=MANUFACTURER,
    )
    made = equipment(result)
    report.ManufacturerModelName = made["manufacturer_model_name"]
    report.SoftwareVersions = made["software_versions"]
    report.DeviceSerialNumber = made["device_serial_number"]
    report.SeriesDescription = "UltraSam measurements"
    with atomic_file(path) as file:
        report.save_as(file, enforce_file_format=True)
    return notes


def _content(hd: Any, result: Segmentation, groups: list[Any]) -> Any:
    from pydicom.sr.codedict import codes

    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(),
            name="UltraSam",
            manufacturer_name=MANUFACTURER,
            model_name=result.provenance.model[-64:],
            serial_number=(result.provenance.weights or "none")[:64],
        ),
    )
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=hd.sr.CodedConcept("25061-3", "LN", "US Unspecified body region"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )


def _groups(hd: Any, result: Segmentation, source: Any) -> tuple[list[Any], tuple[str, ...]]:
    measured: dict[tuple[int | None, int | None], list[Measurement]] = {}
    for one in result.measurements:
        measured.setdefault((one.frame, one.object), []).append(one)
    groups, simplified = [], 0
    named = is_multi_frame(source, result.scan.num_frames)
    trackers = [hd.UID() for _ in result.masks.names]
    for frame, number, mask in result:
        region, exact = _region(hd, mask, source, frame + 1 if named else None)
        simplified += not exact
        groups.append(
            hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    trackers[number], result.masks.names[number] or f"object {number}"
                ),
                referenced_region=region,
                algorithm_id=_algorithm(hd, result, number),
                measurements=_numbers(hd, measured.pop((frame, number), [])),
            )
        )
    for (_, of), left in measured.items():
        name = "scan" if of is None else result.masks.names[of] or f"object {of}"
        uid = hd.UID() if of is None else trackers[of]
        groups.append(
            hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(uid, name),
                algorithm_id=_algorithm(hd, result, of),
                measurements=_numbers(hd, left),
            )
        )
    notes: tuple[str, ...] = ()
    if simplified:
        notes = (
            f"{result.scan.source}: {simplified} of the masks have several parts or holes; the report "
            "outlines the largest part, without holes.",
        )
    return groups, notes


def _region(hd: Any, mask: BoolMask, source: Any, frame: int | None) -> tuple[Any, bool]:
    """The outline of a mask's largest part, and whether that is all of the mask's outline."""
    import cv2

    parts = outlines(mask)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, [np.rint(parts[0] - 0.5).astype(np.int32)], -1, 1, cv2.FILLED)
    exact = len(parts) == 1 and bool((filled.astype(bool) == mask).all())
    image = hd.sr.SourceImageForRegion(
        source.SOPClassUID, source.SOPInstanceUID, None if frame is None else [frame]
    )
    closed = np.concatenate([parts[0], parts[0][:1]])
    return hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, closed, image), exact


def _algorithm(hd: Any, result: Segmentation, number: int | None) -> Any:
    told = result.provenance.as_dict() if number is None else parameters(result, number)
    return hd.sr.AlgorithmIdentification(
        name=result.provenance.model[-64:],
        version=result.provenance.ultrasam,
        parameters=as_texts(told, 4000),
        manufacturer=MANUFACTURER,
    )


def _numbers(hd: Any, measured: list[Measurement]) -> list[Any] | None:
    def concept(code: Code) -> Any:
        return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)

    return [
        hd.sr.Measurement(
            name=concept(one.code),
            value=float(f"{one.value:.9g}"),
            unit=hd.sr.CodedConcept(one.unit, "UCUM", one.unit),
        )
        for one in measured
    ] or None
