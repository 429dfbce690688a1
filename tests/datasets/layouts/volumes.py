"""Volumes and cines as volumes; NIfTI files are written with nibabel, which counts x first."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.datasets.layouts.truth import Truth, rectangle, zip_bytes, zipped

D, VH, VW = 5, 40, 48


def volume(seed: int) -> np.ndarray:
    """[z, y, x] without a black voxel."""
    return np.random.default_rng(seed).integers(40, 220, (D, VH, VW)).astype(np.uint8)


def labels(*boxes: tuple[int, int, int, int, int, slice]) -> np.ndarray:
    """(value, x0, y0, x1, y1, slices) each."""
    out = np.zeros((D, VH, VW), np.uint8)
    for value, x0, y0, x1, y1, z in boxes:
        out[z, y0:y1, x0:x1] = value
    return out


def nifti(array: np.ndarray, spacing: tuple[float, float, float] = (0.2, 0.3, 0.5)) -> bytes:
    """[z, y, x] to NIfTI bytes; spacing of x, y, z."""
    image = nib.Nifti1Image(np.ascontiguousarray(array.T), np.diag([*spacing, 1]))
    image.header.set_zooms((*spacing, *[1.0] * (array.ndim - 3)))
    return image.to_bytes()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)


def mha(array: np.ndarray) -> bytes:
    """[z, y, x] uint8 to MetaImage."""
    size = " ".join(str(n) for n in reversed(array.shape))
    ones = " ".join("0.28" for _ in array.shape)
    header = (
        f"ObjectType = Image\nNDims = {array.ndim}\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = False\nElementSpacing = {ones}\nDimSize = {size}\n"
        "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    return header.encode() + np.ascontiguousarray(array).tobytes()


def turned(array: np.ndarray) -> np.ndarray:
    return array[::-1, ::-1]


def acouslic(root: Path) -> list[Truth]:
    image, label = volume(1), labels((1, 5, 5, 20, 20, slice(1, 2)), (2, 8, 8, 30, 30, slice(3, 4)))
    write(root / "images" / "stacked_fetal_ultrasound" / "abc-1.mha", mha(image))
    write(root / "masks" / "stacked_fetal_abdomen" / "abc-1.mha", mha(label))
    (root / "circumferences").mkdir()
    (root / "circumferences" / "per_sweep.csv").write_text("uuid,subject_id,sweep\nabc-1,42,1\n")
    return [
        Truth("abc-1.mha", [("abdomen", label[k] > 0)], subject="42", frame=k, pixels=image[k],
              spacing=(0.28, 0.28), shape=(VH, VW))
        for k in (1, 3)
    ]  # fmt: skip


def camus(root: Path) -> list[Truth]:
    image = volume(1)
    image[:, :, 24:] = 0  # outside the sector
    label = labels(
        (2, 4, 4, 30, 30, slice(None)),
        (1, 8, 8, 16, 20, slice(None)),
        (3, 8, 32, 16, 38, slice(None)),
    )
    folder = root / "database_nifti" / "patient0007"
    for view in ("2CH", "4CH"):
        stem = f"patient0007_{view}"
        write(folder / f"{stem}_half_sequence.nii.gz", nifti(image))
        write(folder / f"{stem}_half_sequence_gt.nii.gz", nifti(label))
        for moment in ("ED", "ES"):
            write(folder / f"{stem}_{moment}.nii.gz", nifti(image[:1]))
            write(folder / f"{stem}_{moment}_gt.nii.gz", nifti(label[:1]))
        lines = "ED: 1\nES: 4\nNbFrame: 4\nSex: F\nAge: 59\nImageQuality: Good\nEF: 53\nFrameRate: 49.2\n"
        (folder / f"Info_{view}.cfg").write_text(lines)
    (root / "subgroup_validation.txt").write_text("patient0007\npatient0099\n")
    names = {1: "endocardium", 2: "epicardium", 3: "atrium_wall"}
    seen = image > 0
    return [
        Truth(
            f"{view}_half_sequence.nii.gz",
            [(n, (label[k] == v) & seen[k]) for v, n in names.items()],
            subject="patient0007", split="val", frame=k, pixels=image[k], spacing=(0.3, 0.2),
            shape=(VH, VW), measurements={"ejection_fraction_percent": 53},
        )
        for view in ("2CH", "4CH") for k in range(D)
    ]  # fmt: skip


def cardiac_udc(root: Path) -> list[Truth]:
    image = volume(1)
    label = labels((5, 5, 5, 30, 30, slice(0, 2)), (2, 0, 0, 4, 4, slice(2, 3)))
    label[0:2, 12:20, 12:20] = 1  # the ventricle in the ring of the epicardium, which is filled
    files = {
        "cardiacUDC_dataset/Site_G_100/p7_image.nii.gz": gzip.compress(nifti(image)),
        "cardiacUDC_dataset/Site_G_100/p7_label.nii.gz": gzip.compress(nifti(label)),
        "cardiacUDC_dataset/Site_R_52/p8_image.nii.gz": gzip.compress(nifti(image)),
    }
    zipped(root / "cardiacUDC_dataset.change2zip", files)
    ring = rectangle(5, 5, 30, 30, VH, VW)
    heart = rectangle(12, 12, 20, 20, VH, VW)
    return [
        Truth("Site_G_100/p7_image.nii.gz",
              [("left_ventricle", turned(heart)), ("epicardium", turned(ring))],
              subject="Site_G_100/p7", frame=k, pixels=turned(image[k]), spacing=(0.3, 0.2),
              shape=(VH, VW))
        for k in (0, 1)
    ]  # fmt: skip


def echocp(root: Path) -> list[Truth]:
    image, label = volume(1), labels((3, 5, 6, 20, 22, slice(2, 4)))
    write(root / "EchoCP" / "004_rest_image.nii.gz", nifti(image))
    write(root / "EchoCP" / "004_rest_label.nii.gz", nifti(label))
    return [
        Truth("004_rest_image.nii.gz", [("chamber", turned(label[k] > 0))], subject="004", frame=k,
              pixels=turned(image[k]), spacing=(0.3, 0.2), shape=(VH, VW))
        for k in (2, 3)
    ]  # fmt: skip


def fh_ps_aop(root: Path) -> list[Truth]:
    out, files = [], {}
    image = np.zeros((3, 64, 80), np.uint8)
    image[0, 4:60, 10:70] = 90
    image[1:] = 17
    label = np.zeros((64, 80), np.uint8)
    label[20:40, 0:30] = 1  # reaches out of the scanned area
    label[20:50, 40:60] = 2
    top = "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"
    files[f"{top}/image_mha/00001.mha"] = mha(image)
    files[f"{top}/label_mha/00001.mha"] = mha(label)
    zipped(root / "10829116.zip", {f"{top}.zip": zip_bytes(files)}, stored=True)
    symphysis = rectangle(10, 20, 30, 40)
    head = rectangle(40, 20, 60, 50)
    out.append(
        Truth("image_mha/00001.mha", [("pubic_symphysis", symphysis), ("fetal_head", head)],
              pixels=image[0], spacing=(0.28, 0.28))
    )  # fmt: skip
    return out


def micro(root: Path, *, nested: bool) -> tuple[np.ndarray, np.ndarray]:
    image, label = volume(1), labels((1, 6, 7, 25, 30, slice(1, 4)))
    image[:, :, :10] = 0
    image[2, 15, 12] = 0  # one black voxel inside
    for part, nn in (("train", "01"), ("test", "01")):
        scans = root / part / "micro_ultrasound_scans" if nested else root
        marks = root / part / "expert_annotations" if nested else root
        write(scans / f"microUS_{part}_{nn}.nii.gz", nifti(image))
        write(marks / f"expert_annotation_{part}_{nn}.nii.gz", nifti(label))
        if nested:
            other = (
                root / part / "non_expert_annotations" / f"student_annotation_{part}_{nn}.nii.gz"
            )
            write(other, nifti(label))
    return image, label


def micro_seg(root: Path) -> list[Truth]:
    image, label = micro(root, nested=True)
    return [
        Truth(f"microUS_{part}_01.nii.gz", [("prostate", turned((label[k] == 1) & (image[k] > 0)))],
              subject=f"{part}_01", split=split, frame=k, pixels=turned(image[k]), spacing=(0.3, 0.2),
              shape=(VH, VW))
        for part, split in (("train", "trainval"), ("test", "test")) for k in (1, 2, 3)
    ]  # fmt: skip


def mup(root: Path) -> list[Truth]:
    image, label = micro(root, nested=False)
    kept = label.copy()
    kept[:, :, :10] = 0  # black along whole lines; the single black voxel is not
    out = []
    for part, split in (("train", "trainval"), ("test", "test")):
        for k in range(D):
            masks = [("prostate", kept[k][::-1] == 1)] if k in (1, 2, 3) else []
            out.append(
                Truth(f"microUS_{part}_01.nii.gz", masks, subject=f"{part}_01", split=split, frame=k,
                      pixels=image[k][::-1], spacing=(0.3, 0.2), shape=(VH, VW))
            )  # fmt: skip
    return out


def mu_reg_pro(root: Path) -> list[Truth]:
    out = []
    for part, case in (("train", "case000003"), ("val", "case000070")):
        image = volume(len(out))
        prostate, landmark = (
            labels((1, 10, 5, 14, 30, slice(1, 4))),
            labels((1, 12, 8, 15, 12, slice(2, 3))),
        )
        both = np.stack([prostate, landmark])  # [label, z, y, x]: label last on disk
        files = {
            f"us_images/{case}.nii.gz": gzip.compress(nifti(image)),
            f"us_labels/{case}.nii.gz": gzip.compress(nifti(both)),
            f"mr_images/{case}.nii.gz": gzip.compress(nifti(image)),
        }
        zipped(root / f"{part}.zip", files)
        for x in range(10, 15):
            named = (("prostate", prostate), ("landmark", landmark))
            masks = [(n, turned(m[:, :, x] > 0)) for n, m in named if m[:, :, x].any()]
            out.append(
                Truth(f"us_images/{case}.nii.gz", masks, subject=case, split=part, frame=x,
                      pixels=turned(image[:, :, x]), spacing=(0.5, 0.3), shape=(D, VH))
            )  # fmt: skip
    return out


def segthy(root: Path) -> list[Truth]:
    image = volume(1)
    label = labels((1, 5, 5, 15, 15, slice(0, 2)), (2, 20, 5, 30, 15, slice(0, 2)),
                   (3, 20, 20, 30, 30, slice(1, 2)))  # fmt: skip
    base = root / "US_data" / "US_volunteer_dataset" / "ground_truth_data"
    write(base / "US" / "001_P1_1_left_US.nii", nifti(image))
    write(base / "US_thyroid_label" / "001_P1_1_left.nii", nifti(label))
    names = {1: "thyroid", 2: "carotid", 3: "jugular"}
    return [
        Truth("001_P1_1_left_US.nii",
              [(n, turned(label[k] == v)) for v, n in names.items() if (label[k] == v).any()],
              subject="001", frame=k, pixels=turned(image[k]), spacing=(0.3, 0.2), shape=(VH, VW))
        for k in (0, 1)
    ]  # fmt: skip


MAKERS = {
    f.__name__: f
    for f in (acouslic, camus, cardiac_udc, echocp, fh_ps_aop, micro_seg, mup, mu_reg_pro, segthy)
}
