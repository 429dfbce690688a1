"""Blank all pixels of a DICOM file but those to keep.

Uncompressed pixels are changed in place: the others keep their bytes. Compressed ones are decoded, and
compressed again as JPEG 2000 without loss: the others keep their values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.masks import BoolMask
from ultrasam.images.scan import Scan

with needs("De-identification", extra="outputs"):
    from pydicom.dataset import Dataset
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.encoders.base import get_encoder
    from pydicom.uid import (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEG2000Lossless,
    )

_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_GRAY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")


def blank_outside(dataset: Dataset, scan: Scan, keep: BoolMask) -> str:
    """Blank what is not to be kept in every frame, in place.

    Args:
        dataset: of the whole file.
        scan: the same file, read.
        keep: [H, W].

    Returns:
        How the pixels are stored now, as a sentence.

    Raises:
        ScanError: The kind of pixels is not supported.
    """
    path = scan.source or Path("the file")
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset or dataset.BitsAllocated not in (8, 16):
        raise ScanError(
            f"{path} has pixels of a kind that cannot be blanked; keep them with --keep all, or export it "
            "with 8 or 16 bits."
        )
    if (dataset.Rows, dataset.Columns) != keep.shape:
        raise ScanError(f"{path} has another size than its header says; export it again.")
    subsampled = dataset.PhotometricInterpretation == "YBR_FULL_422"
    size = _bytes_of(dataset) * scan.num_frames
    if syntax in _NATIVE and not subsampled and size <= len(dataset.PixelData) <= size + 1:
        return _in_place(dataset, scan.num_frames, keep)
    return _again(dataset, scan, keep)


def _bytes_of(dataset: Dataset) -> int:
    """Bytes of an uncompressed frame."""
    samples = int(dataset.SamplesPerPixel)
    return int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated) // 8


def _in_place(dataset: Dataset, count: int, keep: BoolMask) -> str:
    data = bytearray(dataset.PixelData)
    kind = np.dtype(f"<{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")
    samples = int(dataset.SamplesPerPixel)
    planar = samples > 1 and dataset.get("PlanarConfiguration", 0) == 1
    shape = (count, samples, *keep.shape) if planar else (count, *keep.shape, samples)
    frames = np.frombuffer(data, kind, count=int(np.prod(shape))).reshape(shape)
    for index, value in enumerate(_black(dataset, frames)):
        sample = frames[:, index] if planar else frames[..., index]
        sample[:, ~keep] = value
    dataset.PixelData = bytes(data)
    return "its pixels are uncompressed, and those that are kept have their bytes"


def _black(dataset: Dataset, stored: npt.NDArray[Any]) -> list[int]:
    """The stored value that is shown black, one for each sample."""
    kind = dataset.PhotometricInterpretation
    if kind == "MONOCHROME1":
        return [int(stored.max())]
    if kind == "PALETTE COLOR":
        from ultrasam.images.dicom_tables import read_palette

        values = np.unique(stored)
        colors = read_palette(dataset, signed=bool(dataset.PixelRepresentation))(values[None])
        return [int(values[int(colors[0].astype(int).sum(axis=1).argmin())])]
    if str(kind).startswith("YBR"):
        return [0, 128, 128]
    lowest = int(stored.min()) if dataset.PixelRepresentation else 0
    return [lowest] * int(dataset.SamplesPerPixel)


def _again(dataset: Dataset, scan: Scan, keep: BoolMask) -> str:
    """Decode each frame, blank it, and compress it without loss."""
    before = dataset.file_meta.TransferSyntaxUID
    encoder = get_encoder(JPEG2000Lossless)
    is_gray = dataset.PhotometricInterpretation in _GRAY
    if not is_gray:
        if dataset.BitsAllocated != 8:
            raise ScanError(
                f"{scan.source} has colors of more than 8 bits; export it as 8-bit RGB."
            )
        # What the scan shows; a viewer's conversion from YBR may round otherwise.
        dataset.PhotometricInterpretation = "YBR_RCT"
        dataset.PlanarConfiguration = 0
    decoder = get_decoder(before) if is_gray else None
    options = {
        "rows": dataset.Rows, "columns": dataset.Columns, "number_of_frames": 1,
        "samples_per_pixel": dataset.SamplesPerPixel, "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored, "pixel_representation": dataset.PixelRepresentation,
        "photometric_interpretation": dataset.PhotometricInterpretation, "planar_configuration": 0,
    }  # fmt: skip
    encoded = []
    for index in range(scan.num_frames):
        if decoder is None:
            frame = scan.frame(index).copy()
            frame[~keep] = 0
        else:
            stored, _ = decoder.as_array(dataset, index=index, raw=True)
            frame = stored.copy()
            frame[~keep] = _black(dataset, stored)[0]
        encoded.append(encoder.encode(frame, **options))
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in dataset:
            del dataset[name]
    return f"its pixels were {before.name}, and are compressed again as JPEG 2000, without loss"
