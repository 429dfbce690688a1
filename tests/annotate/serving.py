"""A folder with a still, a volume and a DICOM cine, served with nano on a real port."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultrasam.annotate.annotator import Annotator
from ultrasam.images.pixels import gray
from ultrasam.images.reading import read_scan
from ultrasam.inference.predictor import Predictor

PHANTOM = Path(__file__).parents[2] / "examples" / "phantom.png"
BOX = (192.0, 58.0, 534.0, 402.0)  # of an object in the phantom
CLICK = (363.0, 230.0)  # in it
SERIES = "1.2.826.0.1.3680043.8.498.7"


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs.

    Attributes:
        address: without a slash at its end.
        folder: of the images.
        annotator: the open project.
        app: the ASGI app.
    """

    address: str
    folder: Path
    annotator: Annotator
    app: Any

    def id_of(self, name: str) -> int:
        row = self.annotator.project.row("SELECT id FROM images WHERE path = ?", name)
        assert row is not None
        return int(row["id"])


@contextmanager
def serving(folder: Path, *, token: str | None = None, **options: Any) -> Iterator[Served]:
    """Serve a folder on a free port of this machine."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra annotate is not installed")
    from ultrasam.annotate.server.app import create_app
    from ultrasam.annotate.server.security import Access
    from ultrasam.serve.http.run import bound

    origins = options.pop("origins", ())
    listening = bound("127.0.0.1", 0)
    port = int(listening.getsockname()[1])
    annotator = Annotator.open(folder, model="nano")
    access = Access(
        "127.0.0.1", port, annotator.project.secret, "anna", token=token, origins=origins,
        upload_bytes=8_000_000,
    )  # fmt: skip
    app = create_app(annotator, access, **options)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=3
    )  # a stream of events that a client has left open would otherwise hold it for ever
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(f"http://127.0.0.1:{port}", folder, annotator, app)
    finally:
        server.should_exit = True
        thread.join()
        annotator.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("annotated")
    shutil.copy(PHANTOM, folder / "phantom.png")
    pixels = gray(read_scan(PHANTOM).frame())
    _write_volume(folder / "volume.nii.gz", pixels)
    _write_cine(folder / "cine.dcm", pixels)
    with serving(folder) as running:
        yield running


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """What the server should answer as: nano without views, on the phantom."""
    predictor = Predictor("nano+no-tta")
    predictor.set_image(PHANTOM)
    return predictor


def _write_volume(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    """Three slices with anisotropic spacing and an oblique direction."""
    sitk = pytest.importorskip("SimpleITK", reason="the extra volumes is not installed")
    image = sitk.GetImageFromArray(np.stack([pixels, pixels[:, ::-1], pixels]))
    image.SetSpacing((0.2, 0.3, 1.5))
    image.SetOrigin((10.0, -20.0, 30.0))
    cos, sin = np.cos(0.3), np.sin(0.3)
    image.SetDirection((cos, -sin, 0, sin, cos, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def _write_cine(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = SERIES + ".1"
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = UltrasoundMultiFrameImageStorage, SERIES + ".1"
    data.SeriesInstanceUID, data.StudyInstanceUID = SERIES, SERIES + ".9"
    data.PatientID, data.PatientName, data.Modality = "4711", "Doe^Jane", "US"
    data.StudyDate = data.StudyTime = data.PatientBirthDate = data.AccessionNumber = (
        data.StudyID
    ) = ""
    data.PatientSex, data.SeriesNumber, data.InstanceNumber, data.Manufacturer = "", 1, 1, "x"
    data.Rows, data.Columns, data.NumberOfFrames = *pixels.shape, 2
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.FrameTime, data.FrameIncrementPointer = "40", 0x00181063
    data.PixelData = pixels.tobytes() + np.ascontiguousarray(pixels[:, ::-1]).tobytes()
    data.save_as(path, enforce_file_format=True)
