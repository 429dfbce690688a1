"""Small files of every format, written by reference libraries."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

Pixels = npt.NDArray[np.generic]


def picture(height: int = 72, width: int = 95) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return ((y * 7 + x * 5) % 256).astype(np.uint8)


def dicom_bytes(
    pixels: Pixels, kind: str = "MONOCHROME2", syntax: str = ExplicitVRLittleEndian, **tags: object
) -> bytes:
    """A DICOM object of [H, W], [T, H, W], [H, W, 3] or [T, H, W, 3] pixels."""
    color = pixels.shape[-1] == 3 and pixels.ndim >= 3
    frames = pixels.shape[0] if pixels.ndim == (4 if color else 3) else 1
    height, width = pixels.shape[-3:-1] if color else pixels.shape[-2:]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SOPClassUID = UltrasoundMultiFrameImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
    data.PatientID = "subject-7"
    data.Rows, data.Columns = height, width
    data.SamplesPerPixel = 3 if color else 1
    if color:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = kind
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit = bits - 1
    data.PixelRepresentation = 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.PixelData = pixels.tobytes() + (b"\0" if pixels.nbytes % 2 else b"")
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in tags.items():
        setattr(data, name, value)
    if syntax != ExplicitVRLittleEndian:
        data.compress(syntax)
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, enforce_file_format=True)
    return out.getvalue()


def ultrasound_region(delta_cm: float) -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = delta_cm, delta_cm * 2
    return region


def write_video(path: Path, codec: str, frames: int = 7) -> list[npt.NDArray[np.uint8]]:
    """A lossless or nearly lossless cine of increasingly bright frames."""
    sent = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuv420p" if codec != "ffv1" else "gray"
        if codec == "libx264":
            stream.options = {"crf": "1", "g": "4"}
        for index in range(frames):
            image = np.full((48, 64), 20 + 30 * index, np.uint8)
            image[10:20, 10 + index : 20 + index] = 250
            sent.append(image)
            frame = av.VideoFrame.from_ndarray(np.repeat(image[..., None], 3, -1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sent


def sample_files(folder: Path) -> dict[str, Path]:
    """One good file of every format."""
    gray = picture()
    files = {}
    for suffix in ("png", "bmp", "tif", "jpg", "gif"):
        files[suffix] = folder / f"a.{suffix}"
        Image.fromarray(gray).save(files[suffix])
    stack = np.stack([gray, gray[::-1], gray[:, ::-1]])
    files["dcm"] = folder / "a.dcm"
    files["dcm"].write_bytes(dicom_bytes(stack))
    files["j2k.dcm"] = folder / "j2k.dcm"
    files["j2k.dcm"].write_bytes(dicom_bytes(stack, syntax=JPEG2000Lossless))
    for suffix in ("nii", "nii.gz", "mha", "nrrd"):
        files[suffix] = folder / f"v.{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(stack), str(files[suffix]))
    for suffix, codec in (("mp4", "libx264"), ("avi", "mpeg4")):
        files[suffix] = folder / f"c.{suffix}"
        write_video(files[suffix], codec)
    return files


LOSSLESS_SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless)
