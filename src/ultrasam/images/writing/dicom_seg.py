"""Write masks as DICOM Segmentation, also for multi-frame ultrasound.

highdicom refuses multi-frame sources without a frame of reference, which ultrasound hardly ever has. Such a
segmentation is valid nevertheless: without a frame of reference, a frame of it matches the source frame that
it refers to pixel for pixel. All modules are therefore taken from highdicom's object for a single-frame
stand-in; the frames, their functional groups and their dimensions are written here (PS3.3 A.51, C.8.20).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultrasam.files import atomic_file
from ultrasam.images.writing.dicom_source import (
    algorithm,
    equipment,
    import_highdicom,
    is_multi_frame,
    read_source,
)
from ultrasam.images.writing.segmentation import Segmentation, require_masks

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_WHAT = "DICOM-SEG"
_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.6.1"  # Ultrasound Image Storage


def write_seg(path: Path, result: Segmentation, *, omit_empty_frames: bool = True) -> None:
    """Write masks as a binary DICOM Segmentation: one segment per object, one frame per object and frame.

    Args:
        path: the file.
        result: the masks of a scan that was read from DICOM.
        omit_empty_frames: leave frames out in which an object has no mask, as the standard recommends; some
            viewers need all of them.

    Raises:
        DataError: The scan is not from a DICOM file that can be referred to, or all masks are empty.
        MissingDependencyError: The extra 'outputs' is not installed.
        DiskFullError, UltraSamError: The file cannot be written.
    """
    hd = import_highdicom(_WHAT)
    source = read_source(result, _WHAT)
    require_masks(result, _WHAT)
    seg = _modules(hd, result, source)
    packed, places = _pack(result, omit_empty_frames=omit_empty_frames)
    _set_frames(seg, source, places, result.scan.num_frames)
    seg.PixelData = packed
    with atomic_file(path) as file:
        seg.save_as(file, enforce_file_format=True)


def _modules(hd: Any, result: Segmentation, source: Dataset) -> Dataset:
    """highdicom's object for one frame without masks."""
    from pydicom.sr.codedict import codes

    stand_in = deepcopy(source)
    stand_in.SOPClassUID = _SINGLE_FRAME
    if "NumberOfFrames" in stand_in:
        del stand_in.NumberOfFrames
    names = result.masks.names
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number + 1,
            segment_label=name[:64] or f"object {number}",
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="SEMIAUTOMATIC" if result.prompts(number) else "AUTOMATIC",
            algorithm_identification=algorithm(hd, result, number),
            tracking_uid=hd.UID(),
            tracking_id=name[:64] or f"object {number}",
        )
        for number, name in enumerate(names)
    ]
    seg: Dataset = hd.seg.Segmentation(
        source_images=[stand_in],
        pixel_array=np.zeros((1, source.Rows, source.Columns, len(names)), np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=9001,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        content_label="MASKS",
        omit_empty_frames=False,
        **equipment(result),
    )
    seg.SeriesDescription = "UltraSam masks"
    seg.PatientOrientation = None  # type 2C where there is no orientation in space
    return seg


def _pack(result: Segmentation, *, omit_empty_frames: bool) -> tuple[bytes, list[tuple[int, int]]]:
    """The bits of all frames, lowest first and without gaps, and (object, frame) of each."""
    bits, rest = bytearray(), np.zeros(0, bool)
    places = []
    frames = result.masks.frames if omit_empty_frames else range(result.scan.num_frames)
    for frame in frames:
        for number, mask in enumerate(result.masks.masks(frame)):
            if omit_empty_frames and not mask.any():
                continue
            places.append((number, frame))
            flat = np.concatenate([rest, mask.ravel()])
            whole = len(flat) // 8 * 8
            bits += np.packbits(flat[:whole], bitorder="little").tobytes()
            rest = flat[whole:]
    bits += np.packbits(rest, bitorder="little").tobytes()
    return bytes(bits) + b"\0" * (len(bits) % 2), places


def _set_frames(
    seg: Dataset, source: Dataset, places: list[tuple[int, int]], num_frames: int
) -> None:
    """Describe the frames by segment and time, and refer to their source."""
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.tag import Tag

    organization = seg.DimensionOrganizationSequence[0].DimensionOrganizationUID

    def dimension(pointer: str, group: str, label: str) -> Dataset:
        item = Dataset()
        item.DimensionOrganizationUID = organization
        item.DimensionIndexPointer = Tag(pointer)
        item.FunctionalGroupPointer = Tag(group)
        item.DimensionDescriptionLabel = label
        return item

    seg.DimensionIndexSequence = [
        dimension("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment"),
        dimension("TemporalPositionIndex", "FrameContentSequence", "Frame"),
    ]
    seg.NumberOfFrames = len(places)
    seg.SharedFunctionalGroupsSequence = [Dataset()]
    names_frames = is_multi_frame(source, num_frames)

    def code(concept: Any) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = concept.value, concept.scheme_designator
        item.CodeMeaning = concept.meaning
        return item

    groups = []
    for number, frame in places:
        content, identification, derivation, image = (Dataset() for _ in range(4))
        content.TemporalPositionIndex = frame + 1
        content.DimensionIndexValues = [number + 1, frame + 1]
        identification.ReferencedSegmentNumber = number + 1
        image.ReferencedSOPClassUID = source.SOPClassUID
        image.ReferencedSOPInstanceUID = source.SOPInstanceUID
        if names_frames:
            image.ReferencedFrameNumber = frame + 1
        image.SpatialLocationsPreserved = "YES"
        image.PurposeOfReferenceCodeSequence = [
            code(codes.DCM.SourceImageForImageProcessingOperation)
        ]
        derivation.DerivationCodeSequence = [code(codes.DCM.Segmentation)]
        derivation.SourceImageSequence = [image]
        group = Dataset()
        group.FrameContentSequence = [content]
        group.SegmentIdentificationSequence = [identification]
        group.DerivationImageSequence = [derivation]
        groups.append(group)
    seg.PerFrameFunctionalGroupsSequence = groups
    instance, series = Dataset(), Dataset()
    instance.ReferencedSOPClassUID = source.SOPClassUID
    instance.ReferencedSOPInstanceUID = source.SOPInstanceUID
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedInstanceSequence = [instance]
    seg.ReferencedSeriesSequence = [series]
    if "SourceImageSequence" in seg:  # of the stand-in
        for image in seg.SourceImageSequence:
            image.ReferencedSOPClassUID = source.SOPClassUID
