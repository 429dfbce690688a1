"""Read the masks of a DICOM Segmentation of any tool, frame by frame.

Only pydicom is needed. A frame of a segmentation belongs to the frame of the source that it refers to; of one
that refers to single images, to its place among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.errors import DataError, ScanError, one_line
from ultrasam.extras import needs
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask
from ultrasam.images.scan import Scan

with needs("Reading DICOM", extra="dicom"):
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.pixels.utils import iter_pixels

_BINARY, _LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def read_seg(path: Path, scan: Scan) -> MaskSequence:
    """Read the masks of a scan; fractional ones are cut at half of their largest possible value.

    Raises:
        DataError: The file is no segmentation, or one of another image.
        ScanError: The file is damaged.
    """
    try:
        seg = pydicom.dcmread(path)
        kind = str(seg.SOPClassUID)
        if kind not in (_BINARY, _LABELMAP):
            raise DataError(
                f"{path} is a DICOM object of another kind ({seg.SOPClassUID.name}); give a DICOM-SEG."
            )
        segments = {int(s.SegmentNumber): str(s.SegmentLabel) for s in seg.SegmentSequence}
        _check(path, seg, scan)
        return _masks(path, seg, scan, segments, is_labelmap=kind == _LABELMAP)
    except (DataError, ScanError):
        raise
    except Exception as error:  # pydicom raises of any class on damaged files
        raise ScanError(f"{path} is no DICOM-SEG, or is damaged ({one_line(error)}).") from error


def _check(path: Path, seg: Dataset, scan: Scan) -> None:
    if (seg.Rows, seg.Columns) != (scan.height, scan.width):
        raise DataError(
            f"{path} has masks of {seg.Columns} × {seg.Rows} pixels, but {scan.source or 'the scan'} has "
            f"{scan.width} × {scan.height}; give the masks of this scan."
        )
    if scan.source is None:
        return
    try:
        source = pydicom.dcmread(
            scan.source, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]
        )
    except Exception:  # a copy of the scan in another format
        return
    named = {
        str(image.ReferencedSOPInstanceUID)
        for group in seg.PerFrameFunctionalGroupsSequence
        for image in _images(group)
    }
    if named and "SOPInstanceUID" in source and str(source.SOPInstanceUID) not in named:
        raise DataError(f"{path} has masks of another image than {scan.source}.")


def _images(group: Dataset) -> list[Dataset]:
    """The source images of a frame."""
    return [
        image
        for derivation in group.get("DerivationImageSequence") or ()
        for image in derivation.get("SourceImageSequence") or ()
    ]


def _masks(
    path: Path, seg: Dataset, scan: Scan, segments: dict[int, str], *, is_labelmap: bool
) -> MaskSequence:
    numbers = [n for n in segments if n or not is_labelmap]
    row = {number: index for index, number in enumerate(numbers)}
    names = tuple(segments[number] for number in numbers)
    collected: dict[int, BoolMask] = {}
    for (frame, number), pixels in zip(_places(path, seg, scan), _pixels(seg), strict=True):
        stack = collected.setdefault(frame, np.zeros((len(names), scan.height, scan.width), bool))
        if is_labelmap:
            for value, index in row.items():
                stack[index] |= pixels == value
        else:
            half = int(seg.get("MaximumFractionalValue", 1)) / 2
            stack[row[number]] |= pixels > half
    if not any(stack.any() for stack in collected.values()):
        raise DataError(f"{path} holds no mask: all its pixels are 0.")
    masks = MaskSequence(scan.num_frames, scan.height, scan.width, names)
    for frame, stack in collected.items():
        masks.put(frame, stack)
    return masks


def _pixels(seg: Dataset) -> Iterator[Any]:
    """Each frame [H, W]."""
    count, size = int(seg.get("NumberOfFrames", 1)), seg.Rows * seg.Columns
    if seg.BitsAllocated == 1 and not seg.file_meta.TransferSyntaxUID.is_compressed:
        # Frames need not begin at a byte, which pydicom 3.0.2 cannot read one by one.
        packed = np.frombuffer(seg.PixelData, np.uint8)
        for index in range(count):
            first = index * size
            part = packed[first // 8 : -(-(first + size) // 8)]
            bits = np.unpackbits(part, bitorder="little")[first % 8 :][:size]
            yield bits.reshape(seg.Rows, seg.Columns)
    elif count == 1:
        yield seg.pixel_array.reshape(seg.Rows, seg.Columns)
    else:
        yield from iter_pixels(seg)


def _places(path: Path, seg: Dataset, scan: Scan) -> list[tuple[int, int]]:
    """(frame of the scan, segment number) of each frame."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    places = []
    for group in seg.PerFrameFunctionalGroupsSequence:
        identified = group.get("SegmentIdentificationSequence") or shared.get(
            "SegmentIdentificationSequence"
        )
        number = int(identified[0].ReferencedSegmentNumber) if identified else 0
        frames = [
            int(i.ReferencedFrameNumber) for i in _images(group) if "ReferencedFrameNumber" in i
        ]
        if not frames and scan.num_frames > 1:
            raise DataError(
                f"{path} does not say which frames of the scan its masks are of; export it with references "
                "to the source's frames."
            )
        frame = frames[0] - 1 if frames else 0
        if not 0 <= frame < scan.num_frames:
            raise DataError(f"{path} has a mask of frame {frame}, which the scan does not have.")
        places.append((frame, number))
    return places
