"""Volumes and sequences of images: NIfTI, MHA/MHD and NRRD as other programs write them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from ultrasam.datasets.file_tree import FileEntry
from ultrasam.datasets.readers.volumes import load
from ultrasam.errors import DataError, ScanError
from ultrasam.images import nifti
from ultrasam.images.pixels import to_uint8
from ultrasam.images.radiofrequency import is_radiofrequency
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan

Pixels = npt.NDArray[Any]
SHEARED = np.array([[0.2, 0.06, 0, 0], [0, 0.3, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]])
SHEARED_SLICES = np.array([[0.2, 0, 0.1, 0], [0, 0.3, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]])


def ramp(*shape: int) -> npt.NDArray[np.uint8]:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)


def entry(path: Path) -> FileEntry:
    return FileEntry(path.name, (str(path),), path.stat().st_size, 0)


def write_nifti(path: Path, voxels: Pixels, affine: Pixels, kind: Any = nib.Nifti1Image) -> Path:
    """Write voxels [z, y, x] as nibabel writes an affine of any form."""
    image = kind(voxels.T, affine)
    image.set_qform(None, 0)
    nib.save(image, str(path))
    return path


def write_nrrd(path: Path, header: str, voxels: Pixels) -> Path:
    kind = {"uint8": "uint8", "int16": "int16", "float32": "float"}[voxels.dtype.name]
    text = f"NRRD0004\ntype: {kind}\nencoding: raw\nendian: little\n{header}\n\n"
    path.write_bytes(text.encode() + voxels.tobytes())
    return path


def write_mha(path: Path, fields: str, voxels: Pixels, spacing: str = "1 1 1") -> Path:
    """Write frames [T, H, W] as PLUS does."""
    size = " ".join(map(str, voxels.shape[::-1]))
    kind = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "int32": "MET_INT"}[voxels.dtype.name]
    text = (
        f"ObjectType = Image\nNDims = {voxels.ndim}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = False\nDimSize = {size}\nElementSpacing = {spacing}\nElementType = {kind}\n"
        f"{fields}ElementDataFile = LOCAL\n"
    )
    path.write_bytes(text.encode() + voxels.tobytes())
    return path


def echoes(*shape: int, period: float = 5.3) -> Pixels:
    """RF lines along the last axis: a carrier under a random envelope."""
    rng = np.random.default_rng(0)
    phase = 2 * np.pi * (np.arange(shape[-1]) / period + rng.uniform(size=(*shape[:-1], 1)))
    return np.asarray(800 * rng.rayleigh(size=shape) * np.sin(phase))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_sheared_nifti_is_read_as_stored_and_has_no_spacing(tmp_path: Path, suffix: str) -> None:
    path = write_nifti(tmp_path / f"a{suffix}", ramp(4, 6, 5), SHEARED)
    scan = read_scan(path)
    assert np.array_equal(scan.read_all(), ramp(4, 6, 5))
    assert scan.spacing is None
    assert scan.notes == (
        "Its rows and columns are not at right angles (NIfTI's affine is sheared), so there is no pixel "
        "spacing; the slices are shown as stored.",
    )
    voxels, _ = load(entry(path))
    assert np.array_equal(voxels, ramp(4, 6, 5))


def test_slices_that_are_shifted_against_each_other_keep_their_spacing(tmp_path: Path) -> None:
    scan = read_scan(write_nifti(tmp_path / "a.nii", ramp(4, 6, 5), SHEARED_SLICES))
    assert np.array_equal(scan.read_all(), ramp(4, 6, 5))
    assert scan.spacing == pytest.approx((0.3, 0.2))
    assert scan.notes == ()


def test_a_rotated_nifti_keeps_its_spacing(tmp_path: Path) -> None:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * [0.2, 0.3, 0.5]
    affine = np.block([[turn, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
    scan = read_scan(write_nifti(tmp_path / "a.nii", ramp(4, 6, 5), affine))
    assert scan.spacing == pytest.approx((0.3, 0.2))
    assert scan.notes == ()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_2_is_named_instead_of_called_damaged(tmp_path: Path, suffix: str) -> None:
    affine = np.diag([0.2, 0.3, 0.5, 1])
    path = write_nifti(tmp_path / f"a{suffix}", ramp(4, 6, 5), affine, nib.Nifti2Image)
    with pytest.raises(ScanError, match="is NIfTI-2, which is not supported; save it as NIfTI-1"):
        read_scan(path)


def test_a_truncated_nifti_is_refused_instead_of_filled_with_zeros(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(4, 60, 50), SHEARED)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    cut = {
        path: whole[:2000],
        tmp_path / "b.nii.gz": gzip.compress(whole[:2000]),
        tmp_path / "c.nii.gz": gzip.compress(np.random.default_rng(0).bytes(9000))[:2000],
    }
    cut[tmp_path / "d.nii.gz"] = gzip.compress(whole)[:-40]
    for name, data in cut.items():
        name.write_bytes(data)
        with pytest.raises(ScanError, match=r"(truncated|damaged).*; copy or download it again"):
            read_scan(name)
    with pytest.raises(
        DataError, match=r"^a\.nii is truncated: it declares 12352 bytes and has 2000"
    ):
        load(entry(path))


def test_a_nifti_that_declares_more_than_can_be_packed_is_refused_without_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = bytearray(write_nifti(tmp_path / "a.nii", ramp(4, 60, 50), SHEARED).read_bytes()[:352])
    for axis in range(3):
        header[42 + 2 * axis : 44 + 2 * axis] = (32_767).to_bytes(2, "little")
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(bytes(header) + bytes(1_000_000)))
    monkeypatch.setattr(nifti, "_unpacked_length", None)
    with pytest.raises(ScanError, match=r"declares \d{14,} bytes and can hold only \d{7}; copy"):
        read_scan(packed)


def test_a_nifti_that_is_packed_in_pieces_is_whole(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(4, 60, 50), np.diag([0.2, 0.3, 0.5, 1]))
    whole = path.read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(whole[:5000]) + gzip.compress(whole[5000:]))
    assert np.array_equal(read_scan(packed).read_all(), ramp(4, 60, 50))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.mhd", "NDims = 2\nDimSize = 5 6\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"),
        ("a.nhdr", "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 5 6\nencoding: raw\ndata file: a.raw\n"),
    ],
)  # fmt: skip
def test_a_header_without_its_data_file_names_that_file(
    tmp_path: Path, name: str, header: str
) -> None:
    (tmp_path / name).write_text(header)
    with pytest.raises(
        ScanError, match=r"is only a header: its pixels are in a\.raw, which is missing"
    ):
        read_scan(tmp_path / name)
    (tmp_path / "a.raw").write_bytes(ramp(6, 5).tobytes())
    assert np.array_equal(read_scan(tmp_path / name).frame(), ramp(6, 5))
    (tmp_path / "a.raw").write_bytes(ramp(3, 5).tobytes())
    with pytest.raises(ScanError, match=r"is damaged: .*; copy or download it again"):
        read_scan(tmp_path / name).frame()


@pytest.mark.parametrize("frames", [2, 3, 4, 7])
def test_a_list_axis_of_nrrd_is_frames_and_never_colors(tmp_path: Path, frames: int) -> None:
    header = (
        f"dimension: 3\nsizes: 5 6 {frames}\nkinds: domain domain list\nspace dimension: 2\n"
        "space directions: (0.2,0) (0,0.3) none"
    )
    scan = read_scan(write_nrrd(tmp_path / "a.nrrd", header, ramp(frames, 6, 5)))
    assert not scan.is_rgb
    assert scan.spacing == (0.3, 0.2)
    assert np.array_equal(scan.read_all(), ramp(frames, 6, 5))


def test_a_list_axis_that_comes_first_is_frames(tmp_path: Path) -> None:
    header = (
        "dimension: 3\nsizes: 3 5 6\nkinds: list domain domain\nspace dimension: 2\n"
        "space directions: none (0.2,0) (0,0.3)"
    )
    pixels = ramp(3, 6, 5)
    stored = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    scan = read_scan(write_nrrd(tmp_path / "a.seq.nrrd", header, stored))
    assert np.array_equal(scan.read_all(), pixels)


def test_a_list_of_volumes_is_read_volume_by_volume(tmp_path: Path) -> None:
    header = (
        "dimension: 4\nsizes: 2 5 6 3\nkinds: list domain domain domain\nspace dimension: 3\n"
        "space directions: none (0.2,0,0) (0,0.3,0) (0,0,0.5)"
    )
    pixels = ramp(2, 3, 6, 5)
    stored = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    scan = read_scan(write_nrrd(tmp_path / "a.seq.nrrd", header, stored))
    assert np.array_equal(scan.read_all(), pixels.reshape(6, 6, 5))


def test_colors_of_nrrd_stay_colors(tmp_path: Path) -> None:
    header = (
        "dimension: 4\nsizes: 3 5 6 2\nkinds: vector domain domain list\nspace dimension: 2\n"
        "space directions: none (0.2,0) (0,0.3) none"
    )
    scan = read_scan(write_nrrd(tmp_path / "a.nrrd", header, ramp(2, 6, 5, 3)))
    assert scan.is_rgb
    assert np.array_equal(scan.read_all(), ramp(2, 6, 5, 3))


def test_a_tracked_sequence_has_frame_times_and_names_its_invalid_frames(tmp_path: Path) -> None:
    fields = "Kinds = domain domain list\nUltrasoundImageOrientation = MF\n" + "".join(
        f"Seq_Frame{k:04}_Timestamp = {5 + 0.05 * k}\nSeq_Frame{k:04}_ImageStatus = {status}\n"
        f"Seq_Frame{k:04}_ProbeToTrackerTransformStatus = INVALID\n"
        for k, status in enumerate(["OK", "INVALID", "OK"])
    )
    scan = read_scan(write_mha(tmp_path / "a.igs.mha", fields, ramp(3, 6, 5), "0.2 0.3 1"))
    assert np.array_equal(scan.read_all(), ramp(3, 6, 5))
    assert scan.spacing == (0.3, 0.2)
    assert scan.frame_time == pytest.approx(50)
    assert scan.notes == ("1 of 3 frames are marked as invalid: 1.",)


def test_a_volume_has_no_frame_time(tmp_path: Path) -> None:
    scan = read_scan(write_mha(tmp_path / "a.mha", "", ramp(3, 6, 5), "0.2 0.3 0.5"))
    assert scan.frame_time is None
    assert scan.notes == ()


def test_a_picture_that_was_recorded_upside_down_is_noted(tmp_path: Path) -> None:
    fields = "UltrasoundImageOrientation = MNA\n"
    scan = read_scan(write_mha(tmp_path / "a.mha", fields, ramp(3, 6, 5), "0.2 0.3 1"))
    assert scan.notes == (
        "Its rows do not run away from the transducer (orientation MNA); the picture is turned or "
        "upside-down.",
    )


@pytest.mark.parametrize("suffix", ["mha", "nrrd", "nii.gz"])
def test_a_spacing_of_one_by_one_is_not_taken_for_a_millimeter(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ramp(3, 6, 5)), str(path))
    scan = read_scan(path)
    said = "Its pixel spacing is 1 × 1, which means unknown in most files, so there are no sizes in mm."
    assert scan.spacing is None
    assert scan.notes == (said,)
    assert [record.getMessage() for record in caplog.records] == [f"{path}: {said}"]


def test_pixels_of_one_by_two_millimeters_are_calibrated(tmp_path: Path) -> None:
    scan = read_scan(write_mha(tmp_path / "a.mha", "", ramp(3, 6, 5), "1 2 1"))
    assert (scan.spacing, scan.notes) == ((2, 1), ())


@pytest.mark.parametrize(
    ("unit", "spacing"),
    [("mm", (0.3, 0.2)), ("cm", (3, 2)), ("um", (0.0003, 0.0002)), ("pixel", None)],
)  # fmt: skip
def test_the_unit_of_nrrd_counts(
    tmp_path: Path, unit: str, spacing: tuple[float, float] | None
) -> None:
    header = (
        f'dimension: 2\nsizes: 5 6\nspace dimension: 2\nspace units: "{unit}" "{unit}"\n'
        "space directions: (0.2,0) (0,0.3)"
    )
    scan = read_scan(write_nrrd(tmp_path / "a.nrrd", header, ramp(6, 5)))
    assert scan.spacing == (spacing and pytest.approx(spacing))
    assert bool(scan.notes) == (spacing is None)


@pytest.mark.parametrize("kind", ["RF_REAL", "RF_IQ_LINE", "RF_I_LINE_Q_LINE"])
def test_radiofrequency_data_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    path = write_mha(tmp_path / "a.mha", f"UltrasoundImageType = {kind}\n", ramp(3, 6, 5))
    with pytest.raises(
        ScanError, match=rf"holds radiofrequency \(RF\) data \({kind}\), not an image"
    ):
        read_scan(path)


@pytest.mark.parametrize("period", [2.5, 5.3, 13, 30])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_radiofrequency_data_is_refused_by_its_values(
    tmp_path: Path, period: float, axis: int, kind: type[np.signedinteger[Any]]
) -> None:
    voxels = np.moveaxis(echoes(3, 20, 256, period=period), -1, axis).astype(kind)
    path = write_mha(tmp_path / "a.mha", "", np.ascontiguousarray(voxels))
    with pytest.raises(ScanError, match="look like radiofrequency"):
        read_scan(path).frame()
    with pytest.raises(ScanError, match="look like radiofrequency"):
        Scan.from_array(np.moveaxis(echoes(200, 300, period=period), -1, axis % 2))


def test_an_image_that_was_normalized_to_zero_mean_is_shown() -> None:
    y, x = np.mgrid[0:200, 0:240]
    rng = np.random.default_rng(0)
    pixels = 20 + 150 * ((y - 90) ** 2 + (x - 120) ** 2 < 60**2) * rng.rayleigh(size=(200, 240))
    normalized = (pixels - pixels.mean()) / pixels.std()
    shown = to_uint8(normalized)
    assert (int(shown.min()), int(shown.max())) == (0, 255)
    assert np.array_equal(to_uint8(rng.normal(size=(200, 240))).shape, (200, 240))


@pytest.mark.parametrize("shape", [(34, 36), (1224,), (1, 300), (2, 150, 40), (130, 1)])
def test_noise_is_not_taken_for_radiofrequency_data(shape: tuple[int, ...]) -> None:
    for seed in range(200):
        assert not is_radiofrequency(np.random.default_rng(seed).integers(-8, 8, shape))


@pytest.mark.parametrize("complex_kind", [np.complex64, np.complex128])
def test_complex_values_are_told_as_iq_data(complex_kind: type[np.complexfloating[Any]]) -> None:
    with pytest.raises(ScanError, match="complex numbers, as in IQ data; give the B-mode image"):
        Scan.from_array(np.ones((5, 6), complex_kind))


def test_vectors_with_negative_values_are_no_colors(tmp_path: Path) -> None:
    field = np.random.default_rng(0).normal(size=(3, 6, 5, 3)).astype(np.float32)
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(field, isVector=True), str(path))
    with pytest.raises(ScanError, match="vectors with negative values, not colors"):
        read_scan(path).frame()


@pytest.mark.parametrize(("z", "known"), [(-74.5, True), (0, False)])
def test_one_millimeter_is_known_of_a_volume_that_has_a_place(
    tmp_path: Path, z: float, known: bool
) -> None:
    affine = np.eye(4)
    affine[2, 3] = z
    for pixels, expected in ((ramp(3, 6, 5), known), (ramp(1, 6, 5), False)):
        scan = read_scan(write_nifti(tmp_path / "a.nii", pixels, affine))
        assert scan.spacing == ((1.0, 1.0) if expected else None)


def test_a_compressed_file_under_another_name_is_told(tmp_path: Path) -> None:
    for name, todo in (("a.nii", r"rename it to a\.nii\.gz"), ("a.dcm.gz", "extract it first")):
        (tmp_path / name).write_bytes(gzip.compress(b"1" * 600))
        with pytest.raises(ScanError, match=f"is compressed by gzip; {todo}"):
            read_scan(tmp_path / name)


def test_voxels_are_not_those_of_an_uncompressed_file_beside(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", ramp(3, 6, 5), np.diag([0.2, 0.3, 1, 1]))
    write_nifti(tmp_path / "a.nii", ramp(3, 6, 5) + 100, np.diag([0.2, 0.3, 1, 1]))
    assert np.array_equal(read_scan(tmp_path / "a.nii.gz").read_all(), ramp(3, 6, 5))
    assert np.array_equal(read_scan(tmp_path / "a.nii").read_all(), ramp(3, 6, 5) + 100)


def test_slices_of_sixteen_bits_share_a_gray_scale(tmp_path: Path) -> None:
    voxels = np.full((3, 30, 40), 1000, np.int16)
    voxels[2] = 1040
    scan = read_scan(write_mha(tmp_path / "a.mha", "", voxels, "0.2 0.3 1"))
    assert [int(frame[0, 0]) for frame in scan] == [62, 62, 65]


def test_a_damaged_volume_of_a_data_set_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    path.write_text("ObjectType = Image\nNDims = 9000\n")
    with pytest.raises(DataError, match=r"^a\.mhd is damaged: .*; copy or download it again$"):
        load(entry(path))


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_voxels_are_refused(tmp_path: Path, suffix: str, packed: bool) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (4, 60, 50)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=packed)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ScanError, match=r"is (damaged|truncated).*; copy or download it again"):
        read_scan(path).frame()


REAL = {
    "pluslib/NwirePhantomFreehand.igs.nrrd": (97, 616, 820, None),
    "pluslib/SpinePhantomFreehand.igs.mha": (21, 616, 820, None),
    "pluslib/SpinePhantomFreehandReconstructed.mha": (104, 106, 147, (0.5, 0.5)),
    "itkultrasound/MouseLiverB.mha": (4, 512, 128, (0.0385753, 0.1)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_sequences_and_volumes_are_read(name: str) -> None:
    path = _real(name)
    scan = read_scan(path)
    frames, height, width, spacing = REAL[name]
    assert (len(scan), scan.height, scan.width) == (frames, height, width)
    assert scan.spacing == (spacing and pytest.approx(spacing))
    assert scan.frame(frames // 2).shape == (height, width)


@pytest.mark.parametrize("name", ["EyeRoundOverChuck_5.0MHz_20V.mha", "MouseLiverRF.mha"])
def test_real_radiofrequency_data_is_refused(name: str) -> None:
    path = _real(f"itkultrasound/{name}")
    with pytest.raises(ScanError, match="radiofrequency"):
        read_scan(path).frame()


def _real(name: str) -> Path:
    path = Path(__file__).parents[3] / "shared" / "formats" / name
    if not path.exists():
        pytest.skip(f"the real file {name} is not there")
    return path
