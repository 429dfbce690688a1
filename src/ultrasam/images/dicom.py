"""Read DICOM through pydicom and its pixel plug-ins, one frame at a time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError, one_line
from ultrasam.extras import needs
from ultrasam.images.dicom_codecs import check_decodable, register
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.scan import Scan, check_size

with needs("Reading DICOM", extra="dicom"):
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

register()

_CENTIMETERS = 3  # PS3.3 C.8.5.5.1.15, units of ultrasound regions
_TISSUE = 1  # PS3.3 C.8.5.5.1.1, region spatial format: 2D


def read_dicom(file: Path) -> Scan:
    """Open a single- or multi-frame DICOM image.

    Modality and VOI transforms are applied, MONOCHROME1 is inverted, YBR and palettes become RGB.

    Raises:
        ScanError: The file is not DICOM, holds no pixels, is damaged, or uses an unsupported compression.
        MissingDependencyError: The decoder of its compression is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
            frames = int(header.get("NumberOfFrames", 1) or 1)
            height, width = int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0)
            kind = str(header.get("PhotometricInterpretation", ""))
            spacing = _spacing(header)
            subject = str(header.get("PatientID", "")) or None
            frame_time = float(header.get("FrameTime", 0) or 0) or None
    except Exception as error:
        raise ScanError(f"{file} is not DICOM, or is damaged: {one_line(error)}.") from error
    if not kind or not height:
        name = str(getattr(header.get("SOPClassUID"), "name", "")) or "unknown kind"
        # With a damaged length field, the name may contain any data that follows it, such as the subject's
        # name.
        if not name.isprintable() or len(name) > 100:
            name = "unknown kind"
        raise ScanError(f"{file} holds no image (DICOM object: {name}); give an image object.")
    check_size(file, height, width, frames)
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is not None:
        check_decodable(file, syntax)
    first = _read(file, header, kind, 0)

    def read(index: int) -> Frame:
        return first if index == 0 else _read(file, header, kind, index)

    return Scan(frames, height, width, first.ndim == 3, read, spacing, file, subject, frame_time)


def _read(file: Path, header: pydicom.Dataset, kind: str, index: int) -> Frame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = pixel_array(_source(file, header), index=index, raw=False)
            return _to_frame(pixels, header, kind)
    except Exception as error:
        where = f"frame {index} of {file}" if index else str(file)
        raise ScanError(
            f"Cannot decode the pixels of {where}: {one_line(error)}; copy the file again or export it with "
            "another transfer syntax."
        ) from error


def _source(file: Path, header: pydicom.Dataset) -> Path | pydicom.Dataset:
    """The file itself, to read single frames; without a file header, the complete data set."""
    if "TransferSyntaxUID" in getattr(header, "file_meta", {}):
        return file
    data = pydicom.dcmread(file, force=True)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    little = ExplicitVRLittleEndian if not data.original_encoding[0] else ImplicitVRLittleEndian
    data.file_meta.TransferSyntaxUID = little
    return data


def _to_frame(pixels: npt.NDArray[Any], header: pydicom.Dataset, kind: str) -> Frame:
    if kind == "PALETTE COLOR":
        return to_uint8(apply_color_lut(pixels, header))
    if pixels.ndim == 3:
        return to_uint8(pixels)
    values = apply_modality_lut(pixels, header)
    windowed = "WindowCenter" in header or "VOILUTSequence" in header
    if windowed:
        # A window's output spans the stored bits (PS3.3 C.11.2.1.2).
        stored = int(header.get("BitsStored", 8))
        values = apply_voi_lut(values, header).astype(np.float64)
        signed = int(header.get("PixelRepresentation", 0)) == 1
        low = -(2.0 ** (stored - 1)) if signed else 0.0
        top = 2.0**stored - 1
        if "RescaleSlope" in header:
            slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
            low, top = low * slope + intercept, top * slope
        gray = np.clip((values - low) * (255 / top) + 0.5, 0, 255).astype(np.uint8)
    else:
        gray = to_uint8(values)
    return np.asarray(255 - gray if kind == "MONOCHROME1" else gray, dtype=np.uint8)


def _spacing(header: pydicom.Dataset) -> tuple[float, float] | None:
    """(row, column) in mm per pixel, from the first tissue region of an ultrasound image or from the
    image."""
    for region in header.get("SequenceOfUltrasoundRegions", None) or []:
        units = {region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"}
        if units == {_CENTIMETERS} and region.get("RegionSpatialFormat") == _TISSUE:
            row = abs(float(region.PhysicalDeltaY)) * 10
            column = abs(float(region.PhysicalDeltaX)) * 10
            if row > 0 and column > 0:
                return row, column
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = header.get(name)
        if pair and len(pair) == 2 and float(pair[0]) > 0 and float(pair[1]) > 0:
            return float(pair[0]), float(pair[1])
    return None
