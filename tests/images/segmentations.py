"""Scans with masks, as writers take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage, generate_uid

from tests.images.files import dicom_bytes
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.images.writing.segmentation import Provenance, Segmentation
from ultrasam.measure.report import shape_measurements

HEIGHT, WIDTH = 64, 86


def region(delta_cm: float = 0.05) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0 = item.RegionLocationMinY0 = 0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = WIDTH - 1, HEIGHT - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm, delta_cm * 2
    return item


def write_dicom(
    path: Path, frames: int, *, size: tuple[int, int] = (HEIGHT, WIDTH), **tags: object
) -> Path:
    """An ultrasound image or cine with what DICOM demands of patient and study, and more of them."""
    pixels = np.random.default_rng(3).integers(20, 200, (frames, *size), dtype=np.uint8)
    kind = UltrasoundImageStorage if frames == 1 else UltrasoundMultiFrameImageStorage
    told: dict[str, object] = {
        "SOPClassUID": kind, "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
        "PatientName": "Möller^Änne", "SpecificCharacterSet": "ISO_IR 100", "PatientBirthDate": "19700203",
        "PatientSex": "F", "PatientComments": "lives in Oldtown", "OtherPatientIDs": "other-77",
        "InstitutionName": "Hospital of Oldtown", "StudyDate": "20250102", "StudyTime": "101112",
        "StudyID": "4711", "AccessionNumber": "acc-12", "ReferringPhysicianName": "Refer^Rita",
        "Modality": "US", "LossyImageCompression": "00", "SequenceOfUltrasoundRegions": [region()],
    }  # fmt: skip
    if frames > 1:
        told["FrameTime"] = "40"
    path.write_bytes(dicom_bytes(pixels if frames > 1 else pixels[0], **(told | tags)))
    return path


def disc(x: float, y: float, radius: float, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> BoolMask:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def masks_of(scan: Scan, *, overlap: bool = False) -> MaskSequence:
    """Two objects: one moves through all frames but the second, the other is in every third."""
    shape = (scan.height, scan.width)
    masks = MaskSequence(scan.num_frames, *shape, ("left ventricle", "atrium"))
    for frame in range(scan.num_frames):
        first = disc(20 + frame, 25, 9, shape) if frame != 1 else np.zeros(shape, bool)
        x = 24 + frame if overlap else 60
        second = disc(x, 40, 12.5, shape) if frame % 3 == 0 else np.zeros(shape, bool)
        if frame != 4:  # has no entry
            masks.put(frame, np.stack([first, second]))
    return masks


def segmentation(path: Path, *, overlap: bool = False) -> Segmentation:
    scan = read_scan(path)
    masks = masks_of(scan, overlap=overlap)
    details = {
        (0, 0): {"prompt": {"box": [10.0, 15.0, 30.0, 35.0]}, "predicted_iou": 0.91},
        (0, 1): {"prompt": {"points": [[60.0, 40.0]], "labels": [1]}, "predicted_iou": 0.82},
    }
    return Segmentation(
        scan, masks, Provenance("nano", "ab" * 32, created="2025-03-04T05:06:07+00:00"),
        ("ventricle", "atrium"), details, shape_measurements(masks, scan),
    )  # fmt: skip


def same(masks: MaskSequence, others: MaskSequence) -> bool:
    """Whether the masks of two sequences are equal in every frame, an absent entry being empty."""
    return masks.num_frames == others.num_frames and all(
        np.array_equal(masks.masks(frame), others.masks(frame)) for frame in range(masks.num_frames)
    )
