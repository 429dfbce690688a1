"""The whole way round with Debian's Orthanc: a cine out, its masks in, and both again by other readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from tests.dicomweb.servers import PASSWORD, USER, Orthanc, instance, orthanc
from tests.images.files import dicom_bytes
from tests.images.segmentations import disc, region, write_dicom
from tests.images.test_dicom_outputs import check_valid
from ultrasam.dicomweb.client import DicomWebClient
from ultrasam.errors import DataError, ScanError, UltraSamError
from ultrasam.images.mask_reading import read_masks
from ultrasam.images.masks import decode_rle
from ultrasam.images.reading import read_scan

pytestmark = pytest.mark.slow
FRAMES, SIZE = 6, (120, 160)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULTRASAM_DICOMWEB_USER", USER)
    monkeypatch.setenv("ULTRASAM_DICOMWEB_PASSWORD", PASSWORD)


def moving_disc() -> np.ndarray:
    speckle = np.random.default_rng(0).integers(10, 70, (FRAMES, *SIZE), dtype=np.uint8)
    for t in range(FRAMES):
        speckle[t][disc(50 + 6 * t, 60, 22, SIZE)] = 200
    return speckle


@pytest.fixture(scope="module")
def cine(server: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cine that the server has."""
    path = write_dicom(
        tmp_path_factory.mktemp("cine") / "cine.dcm", FRAMES, size=SIZE, PixelData=moving_disc().tobytes()
    )  # fmt: skip
    server.add(path.read_bytes())
    return path


def test_a_cine_is_found_by_its_study_and_by_its_modality(server: Orthanc, cine: Path) -> None:
    where = instance(server.dicomweb, cine)
    with DicomWebClient(where) as client:
        for part in (
            where,
            where.partition("/instances")[0],
            where.partition("/series")[0],
            client.base,
        ):
            (found,) = (one for one in client.search(part) if str(one.address) == where)
            assert (found.modality, found.frames, found.rows, found.columns) == (
                "US",
                FRAMES,
                *SIZE,
            )
        assert client.search(where.partition("/series")[0], modality="SEG") == []
        assert client.search(f"{client.base}/studies/1.2.3") == []


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_an_instance_comes_as_it_is_stored_and_by_frame_the_same(
    syntax: str | None, server: Orthanc, tmp_path: Path
) -> None:
    """Compressed, too: the server is not asked to convert it."""
    pixels = moving_disc()
    told = {
        "StudyInstanceUID": pydicom.uid.generate_uid(), "SeriesInstanceUID": pydicom.uid.generate_uid(),
        "Modality": "US", "FrameTime": "40", "SequenceOfUltrasoundRegions": [region()],
    }  # fmt: skip
    data = (
        dicom_bytes(pixels, **told)
        if syntax is None
        else dicom_bytes(pixels, syntax=syntax, **told)
    )
    (tmp_path / "a.dcm").write_bytes(data)
    server.add(data)
    where = instance(server.dicomweb, tmp_path / "a.dcm")
    with DicomWebClient(where) as client:
        path = client.retrieve(where, tmp_path / "out")
        assert path.read_bytes() == data
        whole = read_scan(path)
        assert np.array_equal(whole.read_all(), pixels)
        for index in range(FRAMES):
            scan = client.retrieve_frame(where, index)
            assert np.array_equal(scan.frame(), pixels[index])
            assert scan.spacing == whole.spacing


def test_a_color_cine_in_jpeg_comes_by_frame_as_in_the_whole(
    server: Orthanc, shared_data: Path, tmp_path: Path
) -> None:
    """A real one: YBR_FULL_422, which a server may or may not convert when it decodes."""
    source = shared_data.parent / "formats" / "pydicom" / "examples_ybr_color.dcm"
    if not source.exists():
        pytest.skip("the real files of each format are not beside this checkout")
    server.add(source.read_bytes())
    where = instance(server.dicomweb, source)
    with DicomWebClient(where) as client:
        whole = read_scan(client.retrieve(where, tmp_path))
        for index in (0, whole.num_frames - 1):
            assert np.array_equal(client.retrieve_frame(where, index).frame(), whole.frame(index))


def test_what_is_not_there_is_told(server: Orthanc, cine: Path, tmp_path: Path) -> None:
    where = instance(server.dicomweb, cine)
    with DicomWebClient(where) as client:
        with pytest.raises(DataError, match=r"cannot retrieve .*\(404\)"):
            client.retrieve(f"{where[:-9]}.9", tmp_path)
        with pytest.raises(ScanError, match="has 6 frames"):
            client.retrieve_frame(where, FRAMES)


def test_wrong_credentials_are_told(
    server: Orthanc, cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULTRASAM_DICOMWEB_PASSWORD", "wrong")
    where = instance(server.dicomweb, cine)
    with (
        DicomWebClient(where) as client,
        pytest.raises(UltraSamError, match=r"does not let you .*401"),
    ):
        client.retrieve(where, tmp_path)


def test_the_whole_way_round_on_the_command_line(
    server: Orthanc,
    cine: Path,
    tmp_path: Path,
    ultrasam: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Search, retrieve, segment by nano in all frames, store SEG and SR, find and retrieve both."""
    where = instance(server.dicomweb, cine)
    study = where.partition("/series")[0]

    def lines(*arguments: object) -> list[str]:
        capfd.readouterr()
        assert ultrasam("-q", *arguments) == 0
        return capfd.readouterr().out.splitlines()

    assert lines("dicomweb", "search", study) == [f"{where} 6 frames 160 × 120"]
    (retrieved,) = map(Path, lines("dicomweb", "retrieve", study, "-o", tmp_path / "in"))
    assert retrieved.read_bytes() == cine.read_bytes()
    lines(
        "predict", retrieved, "--frame", "all", "--box", "28,38,72,82", "--no-tta", "--format", "seg",
        "--format", "sr", "--format", "coco", "-o", tmp_path / "out",
    )  # fmt: skip
    (seg,) = (tmp_path / "out").glob("*_seg.dcm")
    (report,) = (tmp_path / "out").glob("*_sr.dcm")
    stored = lines("dicomweb", "store", server.dicomweb, seg, report)
    assert stored == [instance(server.dicomweb, seg), instance(server.dicomweb, report)]
    assert all(one.startswith(study) for one in stored)  # beside their source

    for file, modality in ((seg, "SEG"), (report, "SR")):
        (row,) = json.loads(
            "".join(lines("dicomweb", "search", study, "--modality", modality, "--json"))
        )
        assert row["instance"] == pydicom.dcmread(file).SOPInstanceUID
        (back,) = map(
            Path, lines("dicomweb", "retrieve", row["address"], "-o", tmp_path / modality)
        )
        assert back.read_bytes() == file.read_bytes() == server.file_of(row["instance"])
        check_valid(back)

    uid = pydicom.dcmread(cine).SOPInstanceUID
    back = next((tmp_path / "SEG").iterdir())
    masks = read_masks(back, read_scan(retrieved))
    pixels = hd.seg.segread(back).get_pixels_by_source_frame(
        uid, range(1, FRAMES + 1), assert_missing_frames_are_empty=True
    )
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(entries) == FRAMES
    for entry in entries:
        frame = entry.get("frame", 0)
        wanted = decode_rle(entry["segmentation"])
        assert np.array_equal(masks.masks(frame)[0], wanted)
        assert np.array_equal(pixels[frame][..., 0] > 0, wanted)
    first = masks.masks(0)[0]
    inside = disc(50, 60, 22, SIZE)
    assert 2 * (first & inside).sum() / (first.sum() + inside.sum()) > 0.8
    assert "Area" in str(hd.sr.srread(next((tmp_path / "SR").iterdir())))
