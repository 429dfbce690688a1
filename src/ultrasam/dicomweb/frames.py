"""A single frame of an instance, as WADO-RS sends it: bytes without a header."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ultrasam.dicomweb.multipart import header_parameter, media_type
from ultrasam.errors import DataError, ScanError
from ultrasam.extras import needs
from ultrasam.images.quiet import quiet_warnings
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan, check_size

with needs("Reading DICOM", extra="dicom"):
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, ExplicitVRLittleEndian

# What bytes are if the server does not say (PS3.18, table 8.7.3-5).
_SYNTAXES = {
    "image/jpeg": "1.2.840.10008.1.2.4.50", "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90", "image/x-dicom-rle": "1.2.840.10008.1.2.5",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
}  # fmt: skip
# As the server has them: converted colors could not be told from others. One type only, as Orthanc refuses
# lists; with the syntax "*", it also stands for what is compressed.
ACCEPT = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def header_of(content: dict[str, Any]) -> Dataset:
    """The header in the JSON of an instance, without bulk data.

    Raises:
        DataError: It is no header of an image.
    """
    try:
        with quiet_warnings():
            header = Dataset.from_json(content, bulk_data_uri_handler=lambda *_: None)
        for name in ("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "BitsAllocated"):
            if not header.get(name):
                raise DataError(f"the server's metadata lack {name}")
        return header
    except DataError:
        raise
    except Exception as error:  # pydicom raises of any class on damaged elements
        raise DataError("the server's metadata are damaged") from error


def frame_size(header: Dataset) -> int:
    """Bytes of a decoded frame.

    Raises:
        ScanError: The header declares more than any scan has.
    """
    check_size(Path("The instance"), header.Rows, header.Columns)
    return int(header.Rows * header.Columns * header.get("SamplesPerPixel", 1))


def as_scan(header: Dataset, data: bytes, message: str, part: str) -> Scan:
    """A still of one frame.

    Args:
        header: of the instance.
        data: the frame.
        message, part: the Content-Types of the message, and of the part that the frame was in.

    Raises:
        DataError: The frame cannot be shown as it is shown in its cine, because that takes more than the
            frame.
        ScanError: It cannot be decoded.
    """
    if header.BitsAllocated != 8:
        raise DataError(
            f"its pixels of {header.BitsAllocated} bits are shown by the range of all frames"
        )
    syntax = _syntax(message, part)
    if not syntax.is_compressed and header.get("PhotometricInterpretation", "").startswith("YBR"):
        raise DataError("the server does not say whether it has converted the colors of the frame")
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.NumberOfFrames = 1
    header.PixelData = (
        encapsulate([data]) if syntax.is_compressed else data + b"\0" * (len(data) % 2)
    )
    header["PixelData"].VR = "OB"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "frame.dcm")
        try:
            with quiet_warnings():
                pydicom.dcmwrite(file, header, enforce_file_format=True)
        except Exception as error:  # as above
            raise DataError("the server's metadata are damaged") from error
        try:
            scan = read_scan(file)
            pixels = scan.frame()
        except ScanError as error:
            raise ScanError(str(error).replace(str(file), "the frame")) from error
    # Without a source: what refers to the instance would have to name this frame of it.
    return replace(scan, read_frame=lambda _: pixels, source=None)


def _syntax(message: str, part: str) -> UID:
    """The transfer syntax that the frame is in."""
    for content_type in (part, message):
        stated = header_parameter(content_type, "transfer-syntax")
        if stated:
            uid = UID(stated.strip())
            if not uid.is_transfer_syntax:
                raise DataError("the server sends it in an unknown transfer syntax")
            return uid
    kinds = (media_type(part), media_type(header_parameter(message, "type") or ""))
    return UID(next((_SYNTAXES[k] for k in kinds if k in _SYNTAXES), ExplicitVRLittleEndian))
