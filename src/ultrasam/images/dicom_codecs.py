"""Decoders for compressed DICOM pixels: pydicom's plug-ins, and one of our own for 12-bit JPEG Extended.

GDCM decodes JPEG, JPEG Lossless, JPEG-LS and JPEG 2000, OpenJPEG decodes high-throughput JPEG 2000, and
pydicom itself decodes RLE. pydicom does not pass 12-bit JPEG Extended to GDCM, although GDCM can decode it;
the plug-in in this module does.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ultrasam.errors import MissingDependencyError, ScanError
from ultrasam.extras import needs

with needs("Reading DICOM", extra="dicom"):
    from pydicom.pixels.decoders.base import DecodeRunner, JPEGExtended12BitDecoder, get_decoder
    from pydicom.uid import UID, JPEGExtended12Bit

# Transfer syntaxes newer than pydicom 3.0, which has no names for them.
_NAMES = {
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm",)}  # required by pydicom


def register() -> None:
    """Register this module's plug-in with pydicom, after pydicom's own."""
    if "ultrasam" not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin("ultrasam", (__name__, "decode_extended"))


def is_available(syntax: str) -> bool:
    """Whether the plug-in can decode a transfer syntax; called by pydicom."""
    return syntax in DECODER_DEPENDENCIES and find_spec("gdcm") is not None


def decode_extended(data: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame of JPEG Extended (process 2 and 4), described by pydicom's runner, with GDCM."""
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
        raise ValueError("GDCM cannot decode this frame")
    # GDCM returns bytes as a str.
    return bytes(pixels.encode("utf-8", "surrogateescape"))


def check_decodable(file: Path, syntax: UID) -> None:
    """Reject a compression that no installed decoder supports.

    Raises:
        ScanError: No decoder exists.
        MissingDependencyError: A decoder exists but is not installed.
    """
    name = f"{_NAMES.get(syntax, syntax.name)} ({str.__str__(syntax)})"
    name = name if syntax.name != syntax or syntax in _NAMES else str.__str__(syntax)
    try:
        decoder = (
            get_decoder(syntax) if syntax.is_valid else None
        )  # pydicom warns of an invalid one
    except NotImplementedError:
        decoder = None
    if decoder is None:
        video = str.__str__(syntax).startswith("1.2.840.10008.1.2.4.10")
        remedy = (
            "the video as MP4, or its frames as JPEG or" if video else "it as JPEG 2000, JPEG-LS or"
        )
        raise ScanError(
            f"{file} is compressed as {name}, which is not supported; export {remedy} uncompressed."
        )
    if not decoder.is_available:
        raise MissingDependencyError(
            f"{file} is compressed as {name}; decoding it needs the extra 'dicom': "
            "pip install 'ultrasam[dicom]'."
        )
