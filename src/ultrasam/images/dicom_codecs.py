"""What decodes DICOM's compressed pixels: pydicom's plug-ins, and one of ours where they leave a gap.

JPEG, JPEG Lossless, JPEG-LS and JPEG 2000 are decoded by GDCM, high-throughput JPEG 2000 by OpenJPEG, run
lengths by pydicom itself. pydicom refuses to give GDCM the 12-bit form of JPEG Extended, which GDCM decodes;
the plug-in here does.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ultrasam.errors import MissingDependencyError, ScanError
from ultrasam.extras import needs

with needs("Reading DICOM", extra="dicom"):
    from pydicom.pixels.decoders.base import DecodeRunner, JPEGExtended12BitDecoder, get_decoder
    from pydicom.uid import UID, JPEGExtended12Bit

# Later than pydicom 3.0, which knows their numbers by no name.
_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm",)}  # asked for by pydicom


def register() -> None:
    """Add the plug-in of this module to pydicom's, after its own."""
    if "ultrasam" not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin("ultrasam", (__name__, "decode_extended"))


def is_available(syntax: str) -> bool:
    """Whether the plug-in decodes a transfer syntax; asked by pydicom."""
    return syntax in DECODER_DEPENDENCIES and find_spec("gdcm") is not None


def decode_extended(data: bytes, runner: DecodeRunner) -> bytes:
    """One frame of JPEG Extended (process 2 and 4) by GDCM, as pydicom's runner describes it."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(str.__str__(runner.transfer_syntax))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(
        gdcm.PixelFormat(
            runner.samples_per_pixel,
            runner.bits_allocated,
            runner.bits_stored,
            runner.bits_stored - 1,
            runner.pixel_representation,
        )
    )
    pixels = image.GetBuffer()
    if pixels is None:
        raise ValueError("GDCM cannot decode it")
    # GDCM gives its bytes as a string.
    return bytes(pixels.encode("utf-8", "surrogateescape"))


def check_decodable(file: Path, syntax: UID) -> None:
    """Refuse a compression that nothing here decodes.

    Raises:
        ScanError: no decoder is known.
        MissingDependencyError: one is known and not installed.
    """
    name = f"{_NAMES.get(syntax, syntax.name)} ({str.__str__(syntax)})"
    name = name if syntax.name != syntax or syntax in _NAMES else str.__str__(syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ScanError(
            f"{file} is compressed as {name}, which cannot be decoded; export it uncompressed, or as "
            "JPEG 2000 or JPEG-LS."
        ) from error
    if not decoder.is_available:
        raise MissingDependencyError(
            f"{file} is compressed as {name}: decoding it needs the extra 'dicom': "
            "pip install 'ultrasam[dicom]'."
        )
