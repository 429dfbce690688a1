"""Stills with mask files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.datasets.layouts.rar import rar4
from tests.datasets.layouts.truth import (
    Files,
    H,
    Truth,
    W,
    disc,
    gray,
    picture,
    rectangle,
    save,
    zip_bytes,
    zipped,
)  # fmt: skip


def colors(**masks: object) -> np.ndarray:
    """{'r,g,b': mask} painted in turn."""
    out = np.zeros((H, W, 3), np.uint8)
    for color, mask in masks.items():
        out[np.asarray(mask)] = [int(c) for c in color.split("_")[1:]]
    return out


def us105(root: Path) -> list[Truth]:
    folder = root / "100 2D US Images and Tumor Segmentation Masks"
    out = []
    for i in (1, 23):
        mask = disc(30 + i, 30, 9)
        save(folder / "Images" / f"{i:02d} liver tumour.png", picture(i))
        save(folder / "Tumor Masks" / f"{i} mask of tumour.png", gray(mask))
        out.append(Truth(f"{i:02d} liver tumour.png", [("tumor", mask)], pixels=picture(i)))
    save(folder / "Images" / "5 nothing.png", picture(5))
    save(folder / "Tumor Masks" / "5 nothing.png", gray(disc(1, 1, 20), 254))  # 254 // 255 is 0
    return out


def abdomen_us(root: Path) -> list[Truth]:
    out = []
    for part, i in (("train", 1), ("test", 2)):
        base = root / "abdominal_US" / "RUS"
        parts = {
            "liver": ("c_100_0_100", rectangle(2, 2, 12, 12)),
            "kidney": ("c_255_255_0", rectangle(20, 2, 30, 12)),
            "pancreas": ("c_0_0_255", rectangle(40, 2, 50, 12)),
            "vessels": ("c_255_0_0", rectangle(60, 2, 70, 12)),
            "adrenals": ("c_0_255_255", rectangle(2, 30, 12, 40)),
            "gallbladder": ("c_0_255_0", rectangle(20, 30, 30, 40)),
            "bones": ("c_255_255_255", rectangle(40, 30, 50, 40)),
            "spleen": ("c_255_0_255", rectangle(60, 30, 70, 40)),
        }
        save(base / "images" / part / f"x{i}.jpg", picture(i))
        save(
            base / "annotations" / part / f"x{i}.png",
            colors(**dict(parts.values())),
        )
        masks = [(name, mask) for name, (_, mask) in parts.items()]
        out.append(Truth(f"RUS/images/{part}/x{i}.jpg", masks, split=part))
    save(root / "abdominal_US" / "RUS" / "images" / "train" / "x9.png", picture(9))
    for kind in ("images", "annotations"):
        save(root / "abdominal_US" / "AUS" / kind / "train" / "s1.png", picture(3))
    return out


def breast_lesions_usg(root: Path) -> list[Truth]:
    folder = root / "BrEaST-Lesions_USG-images_and_masks"
    tumour, first, second = disc(20, 20, 8), disc(50, 20, 5), disc(50, 45, 6)
    save(folder / "case001.png", picture(1))
    save(folder / "case001_tumor.png", gray(tumour, 7))
    save(folder / "case001_other1.png", gray(first))
    save(folder / "case001_other2.png", gray(second))
    save(folder / "case002.png", picture(2))
    (folder / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx").write_bytes(b"PK")
    masks = [("breast_nodule", tumour), ("other_lesion", first), ("other_lesion", second)]
    return [Truth("case001.png", masks, subject="case001", pixels=picture(1))]


def buid(root: Path) -> list[Truth]:
    out = []
    for kind in ("Benign", "Malignant"):
        files = Files()
        mask = disc(30, 30, 12)
        files.image(f"{kind}/7 {kind} Image.bmp", picture(7))
        files.image(f"{kind}/7 {kind} Mask.tif", np.where(mask, 150, 149).astype(np.uint8))
        zipped(root / f"{kind}.zip", files.files)
        out.append(
            Truth(
                f"{kind}/7 {kind} Image.bmp",
                [("breast_nodule", mask)],
                class_label=kind.lower(),
                pixels=picture(7),
            )
        )
    return out


def bus_uc(root: Path) -> list[Truth]:
    out = []
    for kind, r in (("Benign", 6), ("Malignant", 9)):
        small = disc(20, 16, r, H // 2, W // 2)
        for folder in (kind, "All"):
            save(root / "BUS_UC" / folder / "images" / "003.png", picture(r))
            save(root / "BUS_UC" / folder / "masks" / "003.png", gray(small))
        mask = np.kron(small, np.ones((2, 2), bool))
        name = f"breast_{kind.lower()}"
        out.append(Truth(f"{kind}/images/003.png", [(name, mask)], class_label=kind.lower()))
    save(root / "BUS_UC" / "Benign" / "images" / "004.png", picture(4))
    save(root / "BUS_UC" / "Benign" / "masks" / "004.png", gray(disc(1, 1, 5) & False))
    return out


def bus_uclm(root: Path) -> list[Truth]:
    benign, malignant = disc(20, 30, 8), disc(55, 30, 8)
    save(root / "images" / "ALWI_000.png", picture(1))
    painted = Image.fromarray(colors(c_0_255_0=benign, c_255_0_0=malignant))
    (root / "masks").mkdir()
    painted.quantize(8).save(root / "masks" / "ALWI_000.png")  # with a palette
    save(root / "images" / "ANFO_001.png", picture(2))
    save(root / "masks" / "ANFO_001.png", np.zeros((H, W, 3), np.uint8))
    rows = ["ALWI_000.png;856x606;Benign;No;Yes;No", "ANFO_001.png;856x606;Normal;No;No;No"]
    text = "\n".join(["Image;Resolution;Label;Doppler;Marks;Combined", *rows]) + "\n"
    (root / "INFO.csv").write_text(text, encoding="utf-8-sig")
    masks = [("benign_breast_lesion", benign), ("malignant_breast_lesion", malignant)]
    return [
        Truth(
            "images/ALWI_000.png", masks, subject="ALWI", class_label="benign", pixels=picture(1)
        ),
        Truth("images/ANFO_001.png", [], subject="ANFO", class_label="normal", pixels=picture(2)),
    ]


def bus_bra(root: Path) -> list[Truth]:
    base = root / "BUSBRA"
    rows = [("bus_0001-l", "benign", 1, 1), ("bus_0001-r", "benign", 1, 1),
            ("bus_0002-s", "malignant", 3, 2)]  # fmt: skip
    out = []
    for k, (name, kind, fold, case) in enumerate(rows):
        mask = disc(30, 25, 8 + k)
        save(base / "Images" / f"{name}.png", picture(k))
        save(base / "Masks" / f"{name.replace('bus', 'mask')}.png", gray(mask))
        out.append(
            Truth(
                f"Images/{name}.png",
                [(f"breast_nodule_{kind}", mask)],
                subject=str(case),
                split="test" if fold == 1 else "trainval",
                class_label=kind,
                pixels=picture(k),
            )
        )
    lines = "".join(f"{n},{kind},{fold}\n" for n, kind, fold, _ in rows)
    (base / "5-fold-cv.csv").write_text("ID,Pathology,kFold\n" + lines)
    lines = "".join(f"{n},{case},{kind}\n" for n, kind, _, case in rows)
    (base / "bus_data.csv").write_text("ID,Case,Pathology\n" + lines)
    return out


def bus_b(root: Path) -> list[Truth]:
    mask = disc(40, 30, 11)
    save(root / "BUS" / "original" / "000001.png", picture(1))
    save(root / "BUS" / "GT" / "000001.png", np.where(mask, 151, 140).astype(np.uint8))
    return [Truth("original/000001.png", [("breast_nodule", mask)], pixels=picture(1))]


def busi(root: Path) -> list[Truth]:
    base = root / "Dataset_BUSI_with_GT"
    first, second, third = disc(20, 20, 8), disc(60, 20, 6), disc(40, 50, 7)
    save(base / "benign" / "benign (1).png", np.repeat(picture(1)[..., None], 3, axis=2))
    save(base / "benign" / "benign (1)_mask.png", gray(first))
    save(base / "benign" / "benign (1)_mask_1.png", gray(second))
    save(base / "benign" / "benign (1)_mask_2.png", gray(third))
    save(base / "malignant" / "malignant (1).png", picture(2))
    save(base / "malignant" / "malignant (1)_mask.png", gray(second))
    save(base / "normal" / "normal (1).png", picture(3))
    save(base / "normal" / "normal (1)_mask.png", gray(first & False))
    nodule = "breast_nodule"
    return [
        Truth("benign/benign (1).png", [(nodule, first), (nodule, second), (nodule, third)],
              class_label="benign", pixels=picture(1)),
        Truth("malignant/malignant (1).png", [(nodule, second)], class_label="malignant"),
        Truth("normal/normal (1).png", [], class_label="normal"),
    ]  # fmt: skip


def ccaui(root: Path) -> list[Truth]:
    mask = disc(40, 30, 12)
    base = root / "Common Carotid Artery Ultrasound Images"
    stem = "202201121748100022VAS_slice_1069"
    save(base / "US images" / f"{stem}.png", picture(1))
    save(base / "Expert mask images" / f"{stem}.png", gray(mask))
    save(base / "US images" / f"{stem}0.png", picture(2))
    save(base / "Expert mask images" / f"{stem}0.png", gray(mask & False))
    masks = [("carotid_artery", mask)]
    return [Truth(f"{stem}.png", masks, subject="202201121748100022", pixels=picture(1))]


def ddti(root: Path) -> list[Truth]:
    files = Files()
    out = []
    for name, subject in (("102_1", "102"), ("7", None)):
        mask = disc(30, 30, 10)
        files.image(f"2_preprocessed_data/stage1/p_image/{name}.PNG", picture(5))
        files.image(f"2_preprocessed_data/stage1/p_mask/{name}.PNG", gray(mask))
        masks = [("thyroid_nodule", mask)]
        out.append(Truth(f"p_image/{name}.PNG", masks, subject=subject, pixels=picture(5)))
    zipped(root / "Thyroid Dataset" / "DDTI dataset" / "DDTI.zip", files.files)
    return out


def fallmud(root: Path) -> list[Truth]:
    base = root / "FALLMUD"
    straight, across = rectangle(0, 20, W, 26), rectangle(10, 5, 18, 60)
    save(base / "NeilCronin" / "images" / "a1.tif", picture(1))
    save(
        base / "NeilCronin" / "aponeurosis_masks" / "a1.png",
        np.where(straight, 100, 99).astype(np.uint8),
    )
    save(base / "NeilCronin" / "fascicle_masks" / "a1.png", gray(across))
    save(base / "RyanCunningham" / "images" / "b1.png", picture(2))
    lying = np.ascontiguousarray(np.rot90(across))  # turned counterclockwise
    save(base / "RyanCunningham" / "aponeurosis_masks" / "b1.jpg", gray(lying))
    upright = ("aponeurosis", across)
    return [
        Truth("NeilCronin/images/a1.tif", [("aponeurosis", straight)], pixels=picture(1)),
        Truth("RyanCunningham/images/b1.png", [upright], pixels=picture(2)),
    ]


def fast_u_net(root: Path) -> list[Truth]:
    base = root / "Fast-U-Net" / "Dataset"
    ring, speck = rectangle(20, 15, 60, 50), rectangle(2, 2, 8, 8)
    name = "abdominal_or_head_circumference"
    images, masks, heads, head_masks = Files(), Files(), Files(), Files()
    images.image("AC_image1/010_AC.png", picture(1))
    images.image("AC_image1/011_AC.png", picture(2))
    masks.image("AC_mask/010_AC.png", gray(ring | speck))
    masks.image("AC_mask/011_AC.png", gray(speck))  # opened away: no object
    heads.image("HC_image3/004_2HC.png", picture(3))
    head_masks.image("HC_mask/004_2HC_Annotation.png", gray(ring))
    for path, files in (("AC/AC_image1.rar", images), ("AC/AC_mask.rar", masks),
                        ("HC/HC_image3.rar", heads), ("HC/HC_mask.rar", head_masks)):  # fmt: skip
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_bytes(rar4(files.files))
    return [
        Truth("AC_image1/010_AC.png", [(name, ring)], pixels=picture(1)),
        Truth("HC_image3/004_2HC.png", [(name, ring)], pixels=picture(3)),
    ]


def hc18(root: Path) -> list[Truth]:
    lines, out = ["filename,pixel size(mm),head circumference (mm)"], []
    for name, subject, mm, circumference in (
        ("010_HC", "010", 0.1, 12.57),
        ("010_2HC", "010", 0.25, 31.4),
        ("700_HC", "700", 0.07, 8.8),
    ):
        outer, inner = disc(40, 30, 20), disc(40, 30, 18)
        save(root / "training_set" / f"{name}.png", picture(len(out)))
        save(root / "training_set" / f"{name}_Annotation.png", gray(outer & ~inner))
        lines.append(f"{name}.png,{mm},{circumference}")
        out.append(
            Truth(f"{name}.png", [("fetal_head", outer)], subject=subject, spacing=(mm, mm),
                  pixels=picture(len(out)), measurements={"head_circumference_mm": circumference})
        )  # fmt: skip
    (root / "training_set_pixel_size_and_HC.csv").write_text("\n".join(lines) + "\n")
    save(root / "test_set" / "000_HC.png", picture(9))
    (root / "test_set_pixel_size.csv").write_text("filename,pixel size(mm)\n000_HC.png,0.2\n")
    return out


def kidney_us(root: Path) -> list[Truth]:
    base = root / "kidneyUS"
    capsule, inside = disc(40, 30, 18), disc(40, 30, 8)
    files = Files()
    files.image("12_abc_2.png", picture(1))
    zipped(base / "kidneyUS_images_14_june_2022.zip", files.files)
    for reader in (1, 2):
        folder = base / "labels" / f"reviewed_masks_{reader}"
        save(folder / "capsule" / "12_abc_2.png", gray(capsule, 1))
        save(folder / "cortex" / "12_abc_2.png", gray(inside, 1))
    (base / "labels" / "reviewed_labels_1.csv").write_text("filename\n12_abc_2.png\n")
    return [Truth("12_abc_2.png", [("kidney", capsule)], subject="12", pixels=picture(1))]


def luss_phantom(root: Path) -> list[Truth]:
    names = ["rib", "pleural_line", "a_line", "b_line", "b_line_confluence"]
    values = np.zeros((H, W), np.uint8)
    masks = []
    for k, name in enumerate(names):
        mask = rectangle(15 * k + 2, 5, 15 * k + 12, 50)
        values[mask] = k + 1
        masks.append((name, mask))
    save(root / "LUSS_phantom" / "images" / "12.png", picture(1))
    save(root / "LUSS_phantom" / "masks" / "12.png", values)
    return [Truth("images/12.png", masks, subject="phantom", pixels=picture(1))]


def mmotu_2d(root: Path) -> list[Truth]:
    base = root / "OTU_2d"
    out = []
    rows = [("1", 2, "train"), ("2", 7, "val")]
    names = {2: "teratoma", 7: "high_grade_serous"}
    for stem, kind, part in rows:
        mask = disc(30, 30, 10 + kind)
        save(base / "images" / f"{stem}.JPG", picture(kind))
        save(base / "annotations" / f"{stem}.PNG", colors(c_64_0_3=mask))
        save(base / "annotations" / f"{stem}_binary.PNG", gray(mask))
        with (base / f"{part}_cls.txt").open("a") as file:
            file.write(f"{stem}.JPG  {kind}\n")
        split = "test" if part == "val" else "trainval"
        out.append(
            Truth(f"images/{stem}.JPG", [(names[kind], mask)], split=split, class_label=names[kind])
        )
    return out


def mmotu_3d(root: Path) -> list[Truth]:
    mask = disc(30, 30, 10)
    save(root / "OTU_3d" / "images" / "1.JPG", picture(1))
    save(root / "OTU_3d" / "annotations" / "1.PNG", colors(c_0_0_9=mask))
    return [Truth("images/1.JPG", [("lesion", mask)])]


def s1(root: Path) -> list[Truth]:
    out = []
    for part, value, name in (
        ("Training", 127, "benign_tumour"),
        ("Testing", 255, "malignant_tumour"),
    ):
        mask = disc(30, 30, 10)
        base = root / "Data" / f"{part}DataSet"
        save(base / "OriginalImages" / "1.jpg", picture(1))
        save(base / "Labels" / "1.png", gray(mask, value))
        save(base / "GeneralLabels" / "1.png", gray(mask))
        split = "test" if part == "Testing" else "trainval"
        out.append(Truth(f"{part}DataSet/OriginalImages/1.jpg", [(name, mask)], split=split))
    return out


def stmus_nda(root: Path) -> list[Truth]:
    files, out = Files(), []
    for muscle in ("BB", "GM", "TA"):
        mask = rectangle(5, 20, 70, 45)
        files.image(
            f"Polito-Radboud-DeepLearningUS/{muscle}/Images/017_{muscle}_left.png", picture(1)
        )
        files.image(
            f"Polito-Radboud-DeepLearningUS/{muscle}/Manual Masks/017_{muscle}_left.png",
            gray(mask, 1),
        )
        masks = [("transverse_muscle", mask)]
        out.append(Truth(f"Images/017_{muscle}_left.png", masks, subject="017", pixels=picture(1)))
    zipped(root / "3jykz7wz8d-1.zip", {"data/inner.zip": zip_bytes(files.files)}, stored=True)
    return out


def stu_hospital(root: Path) -> list[Truth]:
    small = disc(64, 50, 30, 128, 128)
    image = picture(1, 256, 384)
    save(root / "Hospital" / "Test_Image_3.png", image)
    save(root / "Hospital" / "mask_3.png", np.repeat(gray(small)[..., None], 3, axis=2))
    mask = np.kron(small, np.ones((2, 3), bool))
    return [Truth("Test_Image_3.png", [("breast_tumour", mask)], pixels=image, shape=(256, 384))]


def thyroid(part: str, folder: str) -> Callable[[Path], list[Truth]]:
    def make(root: Path) -> list[Truth]:
        base = root / "Thyroid Dataset" / folder
        mask = rectangle(16, 16, 48, 40)  # whole JPEG blocks
        out = []
        for prefix, split in ((("trainval-", "trainval"), ("test-", "test"))
                              if folder == "tn3k" else (("thyroid-", None),)):  # fmt: skip
            save(base / f"{prefix}image" / "0001.jpg", picture(1))
            save(base / f"{prefix}mask" / "0001.jpg", gray(mask))
            out.append(Truth(f"{prefix}image/0001.jpg", [(part, mask)], split=split))
        return out

    return make


def tnscui(root: Path) -> list[Truth]:
    mask, out = disc(30, 30, 10), []
    for i, value in ((1, 1), (2, 255)):
        save(root / "tnscui" / "JPEGImages" / f"{i}.jpg", picture(i))
        save(root / "tnscui" / "SegmentationClass" / f"{i}.png", gray(mask, value))
        out.append(Truth(f"JPEGImages/{i}.jpg", [("thyroid_nodule", mask)]))
    return out


def us_nerve(root: Path) -> list[Truth]:
    mask = disc(30, 30, 10)
    for name, m in (("1_1", mask), ("13_7", mask & False)):
        save(root / "train" / f"{name}.tif", picture(len(name)))
        save(root / "train" / f"{name}_mask.tif", gray(m))
    return [
        Truth("train/1_1.tif", [("cervical_nerves", mask)], subject="1", pixels=picture(3)),
        Truth("train/13_7.tif", [], subject="13", pixels=picture(4)),
    ]


MAKERS = {
    f.__name__: f
    for f in (us105, abdomen_us, breast_lesions_usg, buid, bus_uc, bus_uclm, bus_bra, bus_b, busi,
              ccaui, ddti, fallmud, fast_u_net, hc18, kidney_us, luss_phantom, mmotu_2d, mmotu_3d, s1,
              stmus_nda, stu_hospital, tnscui, us_nerve)
} | {"tg3k": thyroid("thyroid_gland", "tg3k"), "tn3k": thyroid("thyroid_nodule", "tn3k")}  # fmt: skip
