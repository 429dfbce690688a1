"""De-identified files hold nothing of the identity, and the pixels of the sector as they were."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from tests.images.files import dicom_bytes
from tests.images.test_sector import HEIGHT, SHAPES, WIDTH, echoes, with_text
from ultrasam.errors import ConfigError, ScanError
from ultrasam.images.deidentification.files import Plan, deidentify, parse_keep, plan
from ultrasam.images.deidentification.header import clean_header, identity_of
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan

Run = Callable[..., int]
SHAPE = SHAPES["curved"]
IDENTITY = (
    "Mueller", "Anne", "pat-4711-x", "19700203", "acc-889912", "Oldtown", "Sonographer", "Referrer",
    "Smallstreet", "secret-serial", "STATION9", "other-77", "20250102", "Weightlifter",
)  # fmt: skip


def cine(frames: int = 3, *, color: bool = False) -> npt.NDArray[np.uint8]:
    stack = np.stack([with_text(echoes(SHAPE, seed))[0] for seed in range(frames)])
    if not color:
        return stack
    rgb = np.repeat(stack[..., None], 3, axis=-1)
    rgb[:, 250:300, 300:340, 0] = 200  # a Doppler box
    return rgb


def named(path: Path, pixels: npt.NDArray[np.uint8], *, frames: int, **tags: object) -> Path:
    """A file that names the patient in many places, some of them nested, private or in free text."""
    request, person, private = Dataset(), Dataset(), Dataset()
    person.InstitutionName = "Oldtown Clinic"
    person.PersonIdentificationCodeSequence = []
    request.RequestedProcedureDescription = "Heart of Mueller"
    request.RequestingPhysician = "Referrer^R"
    request.ReferringPhysicianIdentificationSequence = [person]
    private.PatientName = "Mueller^Anne"
    data = pydicom.dcmread(
        io.BytesIO(dicom_bytes(pixels, "RGB" if pixels.ndim == 4 else "MONOCHROME2", **tags))
    )
    for name, value in {
        "PatientName": "Mueller^Anne", "PatientID": "pat-4711-x", "PatientBirthDate": "19700203",
        "AccessionNumber": "acc-889912", "InstitutionName": "Oldtown Clinic",
        "OperatorsName": "Sonographer^S",
        "ReferringPhysicianName": "Referrer^R", "PatientAddress": "Smallstreet 1",
        "DeviceSerialNumber": "secret-serial", "StationName": "STATION9", "OtherPatientIDs": "other-77",
        "StudyDate": "20250102", "StudyTime": "101112", "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(), "Occupation": "Weightlifter", "StudyID": "1",
        "ImageComments": "Anne moved", "TransducerData": "set up for Mueller",
        "RequestAttributesSequence": [request],
    }.items():  # fmt: skip
        setattr(data, name, value)
    block = data.private_block(0x0029, "MAKER 1.0", create=True)
    block.add_new(0x10, "LO", "Mueller^Anne")
    block.add_new(0x11, "SQ", [private])
    if frames > 1:
        data.FrameTime = "33"
    data.preamble = b"II*\0 made for Mueller".ljust(128, b"\0")
    data.file_meta.SourceApplicationEntityTitle = "STATION9"
    data.save_as(path)
    return path


def compressed(path: Path, syntax: str) -> None:
    data = pydicom.dcmread(path)
    if syntax == JPEGBaseline8Bit:
        frames = data.pixel_array
        frames = frames if data.get("NumberOfFrames") else frames[None]
        encoded = [
            cv2.imencode(".jpg", f[..., ::-1] if f.ndim == 3 else f)[1].tobytes() for f in frames
        ]
        data.PixelData = pydicom.encaps.encapsulate(encoded)
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        if data.SamplesPerPixel == 3:
            data.PhotometricInterpretation = "YBR_FULL_422"
        data.LossyImageCompression = "01"
    elif syntax != ExplicitVRLittleEndian:
        data.compress(syntax)
    data.save_as(path)


def removed(path: Path, out: Path) -> npt.NDArray[np.bool_]:
    """De-identify; which pixels are kept."""
    made = plan(path)
    assert made.kept is not None
    deidentify(made, out)
    return made.kept


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit],
)
def test_nothing_of_the_identity_is_left_and_the_sector_is_untouched(
    syntax: str, color: bool, tmp_path: Path
) -> None:
    path = named(tmp_path / "Mueller.dcm", cine(color=color), frames=3)
    compressed(path, syntax)
    kept = removed(path, tmp_path / "out.dcm")
    data = (tmp_path / "out.dcm").read_bytes()
    for word in IDENTITY:
        assert word.encode() in path.read_bytes()
        assert word.encode() not in data, word
    before, after = read_scan(path), read_scan(tmp_path / "out.dcm")
    assert after.num_frames == 3
    assert after.frame_time == 33
    text = with_text(np.zeros((HEIGHT, WIDTH), np.uint8))[1]
    assert not (kept & text).any()
    for index in range(3):
        assert np.array_equal(after.frame(index)[kept], before.frame(index)[kept])
        assert (after.frame(index)[~kept] == 0).all()


def test_uncompressed_pixels_that_are_kept_have_their_bytes(tmp_path: Path) -> None:
    path = named(tmp_path / "a.dcm", cine(), frames=3)
    kept = removed(path, tmp_path / "out.dcm")
    before = np.frombuffer(pydicom.dcmread(path).PixelData, np.uint8).reshape(3, HEIGHT, WIDTH)
    after = np.frombuffer(pydicom.dcmread(tmp_path / "out.dcm").PixelData, np.uint8)
    assert np.array_equal(after.reshape(before.shape)[:, kept], before[:, kept])


@pytest.mark.parametrize(
    ("kind", "planar"),
    [("MONOCHROME1", 0), ("YBR_FULL", 0), ("RGB", 1), ("PALETTE COLOR", 0)],
)
def test_what_is_blanked_looks_black(kind: str, planar: int, tmp_path: Path) -> None:
    color = kind in ("RGB", "YBR_FULL")
    pixels = cine(2, color=color)
    tags: dict[str, object] = {"PhotometricInterpretation": kind}
    if kind == "MONOCHROME1":
        pixels = 255 - pixels
    elif kind == "YBR_FULL":
        pixels[..., 1:] = 128
    elif kind == "PALETTE COLOR":
        table = np.arange(256, dtype=np.uint16)[::-1] * 257  # 255 is black
        pixels = 255 - pixels
        for name in ("Red", "Green", "Blue"):
            tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            tags[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    path = named(tmp_path / "a.dcm", pixels, frames=2, **tags)
    if planar:
        data = pydicom.dcmread(path)
        data.PlanarConfiguration = 1
        data.PixelData = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).tobytes()
        data.save_as(path)
    kept = removed(path, tmp_path / "out.dcm")
    before, after = read_scan(path).frame(1), read_scan(tmp_path / "out.dcm").frame(1)
    assert np.array_equal(after[kept], before[kept])
    assert (after[~kept] == 0).all()


def test_the_result_says_how_it_was_de_identified_and_keeps_its_calibration(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 100, 20
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 560, 450
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.03
    path = named(tmp_path / "a.dcm", cine(), frames=3, SequenceOfUltrasoundRegions=[region])
    kept = removed(path, tmp_path / "out.dcm")
    assert not kept[:, 561:].any()
    data = pydicom.dcmread(tmp_path / "out.dcm")
    assert data.PatientIdentityRemoved == "YES"
    assert [c.CodeValue for c in data.DeidentificationMethodCodeSequence] == ["113100", "113101"]
    assert data.BurnedInAnnotation == "NO"
    assert read_scan(tmp_path / "out.dcm").spacing == pytest.approx((0.3, 0.3))


def test_a_patient_gets_one_number_of_chance(tmp_path: Path) -> None:
    """So that files can still be grouped by subject."""
    subjects = []
    for name, patient in (("a", "pat-1"), ("b", "pat-1"), ("c", "pat-2")):
        path = named(tmp_path / f"{name}.dcm", cine(1)[0], frames=1)
        data = pydicom.dcmread(path)
        data.PatientID = patient
        data.save_as(path)
        removed(path, tmp_path / "out.dcm")
        subjects.append(read_scan(tmp_path / "out.dcm").subject)
    assert subjects[0] == subjects[1] != subjects[2]
    assert str(subjects[0]).startswith("ANON-")


@pytest.mark.parametrize("frames", [1, 3])
def test_the_validator_finds_no_new_error(frames: int, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy, of Debian's dicom3tools, is not installed")
    pixels = cine(frames) if frames > 1 else cine(1)[0]
    kind = UltrasoundImageStorage if frames == 1 else UltrasoundMultiFrameImageStorage
    path = named(tmp_path / "a.dcm", pixels, frames=frames, SOPClassUID=kind, Modality="US")
    removed(path, tmp_path / "out.dcm")
    before, after = (
        {
            line
            for line in subprocess.run(
                ["dciodvfy", "-new", file], capture_output=True, text=True
            ).stderr.splitlines()
            if line.startswith("Error")
        }
        for file in (path, tmp_path / "out.dcm")
    )
    assert not after - before


def test_files_of_a_study_still_belong_together(tmp_path: Path) -> None:
    study = generate_uid()
    for name in ("a", "b"):
        path = named(tmp_path / f"{name}.dcm", cine(1)[0], frames=1)
        data = pydicom.dcmread(path)
        data.StudyInstanceUID = study
        data.save_as(path)
        removed(path, tmp_path / f"{name}-out.dcm")
    first, second = (pydicom.dcmread(tmp_path / f"{name}-out.dcm") for name in ("a", "b"))
    assert first.StudyInstanceUID == second.StudyInstanceUID != study
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_the_table_of_the_standard_holds_at_every_level(tmp_path: Path) -> None:
    """Each text that dicom-anonymizer lists is gone or has another value, also in nested items."""
    from dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c import X_TAGS, Z_TAGS
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    kinds = ("LO", "SH", "LT", "ST", "UT", "PN")
    texts = [
        pydicom.tag.Tag(tag) for tag in [*X_TAGS, *Z_TAGS]
        if len(tag) == 2 and dictionary_has_tag(tag) and dictionary_VR(tag) in kinds and tag[0] != 2
    ]  # fmt: skip
    assert len(texts) > 150
    outer, middle, inner = Dataset(), Dataset(), Dataset()
    for data in (outer, inner):
        for tag in texts:
            data.add_new(tag, dictionary_VR(tag), "Zanzibar")
    middle.ViewCodeSequence = [inner]  # sequences that the profile keeps
    outer.AnatomicRegionSequence = [middle]
    changes = clean_header(outer)
    assert len(outer.AnatomicRegionSequence[0].ViewCodeSequence) == 1
    assert "Zanzibar" not in str(outer)
    assert len(changes) >= 2 * len(texts)


def test_identity_in_an_element_that_the_profile_keeps_is_found() -> None:
    data = Dataset()
    data.PatientName, data.TransducerData, data.Manufacturer = "Mueller^Anne", "Mueller 3", "Maker"
    assert "Mueller" in identity_of(data)
    removed = {change.name: change.after for change in clean_header(data)}
    assert removed["TransducerData"] == ""
    assert data.Manufacturer == "Maker"


def test_a_still_becomes_a_png_without_metadata(ultrasam: Run, tmp_path: Path) -> None:
    picture = Image.fromarray(cine(1)[0])
    exif = Image.Exif()
    exif[0x010E] = "Mueller"
    picture.save(tmp_path / "Mueller.jpg", exif=exif, quality=95)
    assert ultrasam("deidentify", tmp_path / "Mueller.jpg", "-o", tmp_path / "out") == 0
    (result,) = (tmp_path / "out").iterdir()
    assert result.name == "001.png"
    assert b"Mueller" not in result.read_bytes()
    kept = plan(tmp_path / "Mueller.jpg").kept
    assert kept is not None
    assert np.array_equal(
        read_scan(result).frame()[kept], read_scan(tmp_path / "Mueller.jpg").frame()[kept]
    )


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("mjpeg", ".avi")])
def test_a_video_keeps_the_values_of_its_sector_and_nothing_else(
    codec: str, suffix: str, ultrasam: Run, tmp_path: Path
) -> None:
    path = tmp_path / f"Mueller{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Mueller^Anne"
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuv420p" if codec == "libx264" else "yuvj420p"
        for pixels in cine(color=True):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert b"Mueller" in path.read_bytes()
    assert ultrasam("deidentify", path, "-o", tmp_path / "out") == 0
    (result,) = (tmp_path / "out").iterdir()
    assert result.name == "001.avi"
    assert b"Mueller" not in result.read_bytes()
    kept = plan(path).kept
    assert kept is not None
    before, after = read_scan(path), read_scan(result)
    assert (after.num_frames, after.frame_time) == (before.num_frames, 50)
    for index in range(before.num_frames):
        assert np.array_equal(after.frame(index)[kept], before.frame(index)[kept])
        assert (after.frame(index)[~kept] == 0).all()


def test_a_video_of_which_a_frame_is_damaged_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    pixels = cine()

    def read(index: int) -> npt.NDArray[np.uint8]:
        if index == 2:
            raise ScanError("c.avi: frame 2 is damaged; copy or download it again.")
        return pixels[index]

    path = tmp_path / "c.avi"
    path.write_bytes(b"RIFF\0\0\0\0AVI LIST")
    made = Plan(path, Scan(3, HEIGHT, WIDTH, False, read, source=path), None, "all")
    with pytest.raises(ScanError, match="frame 2 is damaged"):
        deidentify(made, tmp_path / "out" / "001.avi")
    assert not list((tmp_path / "out").iterdir())


def test_text_that_touches_the_sector_is_told(
    ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = cine(1)[0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert ultrasam("deidentify", tmp_path / "a.png", "-o", tmp_path / "out") == 0
    assert "text may remain" not in capsys.readouterr().err
    kept = plan(tmp_path / "a.png").kept
    assert kept is not None
    row = HEIGHT // 2
    edge = int(np.flatnonzero(kept[row])[0])
    pixels[row : row + 2, edge - 12 : edge + 12] = 255  # a letter's stroke
    Image.fromarray(pixels).save(tmp_path / "b.png")
    assert ultrasam("deidentify", tmp_path / "b.png", "-o", tmp_path / "out2") == 0
    assert "text may remain" in capsys.readouterr().err


def test_a_dry_run_shows_what_would_go_and_writes_nothing(
    ultrasam: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = named(tmp_path / "a.dcm", cine(), frames=3)
    content = path.read_bytes()
    assert ultrasam("deidentify", path, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "PatientName: 'Mueller^Anne' -> ''" in said
    assert "PatientAddress: 'Smallstreet 1' -> removed" in said
    assert "of each frame are kept (curved)" in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]
    assert path.read_bytes() == content
    assert ultrasam("deidentify", path, "--dry-run", "-o", tmp_path / "look") == 0
    assert [p.name for p in (tmp_path / "look").iterdir()] == ["001_kept.png"]


def test_where_no_sector_is_found_the_user_must_say_what_to_keep(
    ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = named(tmp_path / "a.dcm", echoes(np.ones((HEIGHT, WIDTH), bool)), frames=1)
    assert ultrasam("deidentify", path, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "no scanned sector is found" in error
    assert "--keep x0,y0,x1,y1" in error
    assert ultrasam("deidentify", path, "-o", tmp_path / "out", "--keep", "10,20,300,200") == 0
    frame = read_scan(tmp_path / "out" / "001.dcm").frame()
    assert np.array_equal(frame[20:200, 10:300], read_scan(path).frame()[20:200, 10:300])
    assert not frame[:20].any()
    assert ultrasam("deidentify", path, "-o", tmp_path / "out", "--keep", "all") == 1
    assert "is not empty; choose another -o" in capsys.readouterr().err
    assert ultrasam("deidentify", path, "-o", tmp_path / "all", "--keep", "all") == 0
    result = pydicom.dcmread(tmp_path / "all" / "001.dcm")
    assert [c.CodeValue for c in result.DeidentificationMethodCodeSequence] == ["113100"]
    assert "BurnedInAnnotation" not in result


def test_what_cannot_be_de_identified_is_refused(tmp_path: Path) -> None:
    volume = tmp_path / "a.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(cine()), str(volume))
    with pytest.raises(ScanError, match=r"is a volume, which cannot be de-identified here"):
        plan(volume)
    with pytest.raises(ConfigError, match=r"'1,2,3' is not a box"):
        parse_keep("1,2,3")
    path = named(tmp_path / "a.dcm", cine(1)[0], frames=1)
    with pytest.raises(ScanError, match="the box reaches beyond it"):
        plan(path, (0, 0, WIDTH + 1, 10))
