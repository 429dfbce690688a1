"""Data sets beyond the paper's 43."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from tests.datasets.layouts.stills import colors
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
    zipped,
)


def usgra_seg(root: Path) -> list[Truth]:
    out = []
    nerve, vessel = disc(20, 30, 8), disc(55, 30, 8)
    for part, seed in (("", 1), ("test/", 2)):
        base = root / "dataset" / part
        save(base / "images" / f"{seed}.png", picture(seed))
        painted = colors(c_128_0_0=nerve, c_0_128_0=vessel)
        save(base / "masks" / f"{seed}.png", painted)
        masks = [("nerve", nerve), ("vessel", vessel)]
        out.append(Truth(f"{part}images/{seed}.png", masks, pixels=picture(seed)))
    (root / "dataset" / "LICENSE").write_text("CC BY 4.0")
    return out


def busi_whu(root: Path) -> list[Truth]:
    out = []
    for name, part, masks, seed in (
        ("00012", "train", "gt", 1),
        ("10034-2", "test", "gt", 2),
        ("benign_0007", "val", "mask", 3),
    ):
        mask = disc(40, 30, 8 + seed)
        base = root / "BUSI-WHU" / part
        suffix = "_anno" if masks == "gt" else ""
        save(base / "img" / f"{name}.bmp", picture(seed))
        save(base / masks / f"{name}{suffix}.bmp", gray(mask))
        number = name[0].isdigit()
        out.append(
            Truth(
                f"{part}/img/{name}.bmp",
                [("breast_tumor", mask)],
                subject=name.split("-")[0] if number else None,
                split=part,
                class_label=None if number else "benign",
                pixels=picture(seed),
            )
        )
    save(root / "BUSI-WHU" / "train" / "img" / "00099.bmp", picture(9))  # its mask is not binary
    save(root / "BUSI-WHU" / "train" / "gt" / "00099_anno.bmp", picture(9))
    return out


def psfhs(root: Path) -> list[Truth]:
    out = []
    for stem, seed in (("03744", 1), ("03745", 2)):
        bone, head = disc(20, 20, 6), disc(50, 35, 15)
        _mha(root / "PSFHS" / "image_mha" / f"{stem}.mha", np.stack([picture(seed)] * 3))
        labels = np.zeros((H, W), np.uint8)
        labels[bone], labels[head] = 1, 2
        _mha(root / "PSFHS" / "label_mha" / f"{stem}.mha", labels)
        masks = [("pubic_symphysis", bone), ("fetal_head", head)]
        out.append(Truth(f"image_mha/{stem}.mha", masks, pixels=picture(seed)))
    _mha(root / "PSFHS" / "image_mha" / "09999.mha", np.stack([picture(9)] * 3))
    _mha(root / "PSFHS" / "label_mha" / "09999.mha", np.full((H, W), 3, np.uint8))
    return out


def _mha(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def jnu_ifm(root: Path) -> list[Truth]:
    out = []
    bone, head = disc(20, 20, 6), disc(50, 35, 15)
    nothing = bone & False
    videos = {
        "20190909T155747": [(3, nothing, nothing), (6, bone, head)],
        "20190909T161200": [(4, bone, nothing)],
        "20190916T104520": [(5, nothing, head)],
    }
    seen = {3: "none", 4: "pubic_symphysis", 5: "fetal_head", 6: "both"}
    for video, frames in videos.items():
        base = root / "us_data" / video
        lines = ["frame_id,frame_label"]
        for index, (label, symphysis, skull) in enumerate(frames):
            stem = f"{video}_{10 * index}"
            values = np.zeros((H, W), np.uint8)
            values[symphysis], values[skull] = 7, 8
            save(base / "image" / f"{stem}.png", picture(index))
            save(base / "mask" / f"{stem}_mask.png", values)
            painted = colors(c_255_0_0=symphysis, c_0_255_0=skull)
            save(base / "mask_enhance" / f"{stem}_mask_enhance.png", painted)
            lines.append(f"{10 * index},{label}")
            masks = [("pubic_symphysis", symphysis), ("fetal_head", skull)]
            out.append(
                Truth(
                    f"{video}/image/{stem}.png",
                    [(name, mask) for name, mask in masks if mask.any()],
                    subject=video[:8],
                    class_label=seen[label],
                    pixels=picture(index),
                )
            )
        (base / "frame_label.csv").write_text("\n".join(lines) + "\n")
    save(root / "us_data" / "20190916T104520" / "image" / "20190916T104520_90.png", picture(9))
    broken = gray(head, 255)  # no value of the data set
    save(root / "us_data" / "20190916T104520" / "mask" / "20190916T104520_90_mask.png", broken)
    return out


def focus(root: Path) -> list[Truth]:
    out = []
    splits = {"training": "train", "validation": "val", "testing": "test"}
    for seed, (part, split) in enumerate(splits.items()):
        heart, thorax = disc(40, 32, 10 + seed), disc(38, 30, 26)
        base = root / "FOCUS" / part
        save(base / "images" / "001.png", picture(seed))
        save(base / "annfiles_mask" / "001-cardiac.png", gray(heart))
        save(base / "annfiles_mask" / "001-thorax.png", gray(thorax))
        for kind, text in (
            ("ellipse", f"40 32 {12.5 + seed} 10 30 cardiac\n38 30 25 26 0 thorax\n"),
            ("rectangle", "1 1 9 1 9 9 1 9 cardiac 0\n"),
        ):
            file = base / f"annfiles_{kind}" / "001.txt"
            file.parent.mkdir()
            file.write_text(text)
        out.append(
            Truth(
                f"{part}/images/001.png",
                [("fetal_heart", heart), ("fetal_thorax", thorax)],
                split=split,
                pixels=picture(seed),
                measurements={
                    "heart_minor_axis_px": 20.0,
                    "heart_major_axis_px": 25.0 + 2 * seed,
                    "thorax_minor_axis_px": 50.0,
                    "thorax_major_axis_px": 52.0,
                    "cardiothoracic_ratio": 0.4,
                },
            )
        )
    save(root / "FOCUS" / "testing" / "images" / "002.png", picture(7))  # the thorax is missing
    save(root / "FOCUS" / "testing" / "annfiles_mask" / "002-cardiac.png", gray(disc(40, 32, 9)))
    return out


def cubs(root: Path) -> list[Truth]:
    """Boundaries that are straight and level: the pixels and the thickness between them are plain."""
    out = []
    base = root / "DATASET for Carotid Ultrasound Boundary Study (CUBS)"
    for name, mm, top, bottom, rows in (
        ("clin_0001_L", 0.06, 20, 28, False),
        ("clin_0001_R", 0.08, 30, 40, True),
        ("clin_0002_L", 0.05, 10, 15, False),
    ):
        save(base / "IMAGES" / f"{name}.tiff", picture(top))
        x = np.arange(10.0, 61.0, 5.0)
        for reader in ("Manual-A1", "Manual-A2"):
            shift = 0 if reader == "Manual-A1" else 3
            for what, y in (("LI", top + shift), ("MA", bottom + shift)):
                points = np.stack([x, np.full_like(x, y)], axis=0 if rows else 1)
                file = base / "SEGMENTATIONS" / reader / f"{name}-{what}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savetxt(file, points, fmt="%.4f")
        (base / "CF").mkdir(exist_ok=True)
        (base / "CF" / f"{name}_CF.txt").write_text(f"{mm:.6f}\n")
        out.append(
            Truth(
                f"IMAGES/{name}.tiff",
                [("intima_media", rectangle(10, top, 60, bottom))],
                subject=name[:9],
                spacing=(mm, mm),
                pixels=picture(top),
                measurements={"intima_media_thickness_mm": round(mm * (bottom - top), 6)},
            )
        )
    (base / "ClinicalDatabase-CUBS.csv").write_text(";Patient ID;Age\nPisa;clin_0001;61\n")
    save(base / "IMAGES" / "clin_0003_R.tiff", picture(5))  # no boundary
    return out


def dl_track(root: Path) -> list[Truth]:
    out = []
    for name, seed in (("img_00001", 1), ("img_00004", 2)):
        bands = rectangle(0, 10, W, 14) | rectangle(0, 40, W, 45)
        save(root / "apo_images" / f"{name}.png", picture(seed))
        save(root / "apo_masks" / f"{name}.png", gray(bands))
        out.append(Truth(f"apo_images/{name}.png", [("aponeurosis", bands)], pixels=picture(seed)))
    return out


def luminous(root: Path) -> list[Truth]:
    out = []
    base = root / "LUMINOUS_Database"
    left, right = disc(20, 30, 9), disc(58, 30, 11)
    for name, masks in (
        ("54_1", {"": left}),
        ("54_27", {"1": left, "2": right}),
        ("106_24", {"": right}),
    ):
        save(base / "B-mode" / f"{name}_Bmode.tif", picture(len(out)))
        for number, mask in masks.items():
            save(base / "Masks" / f"{name}_Mask{number}.tif", gray(mask))
        out.append(
            Truth(
                f"B-mode/{name}_Bmode.tif",
                [("multifidus", mask) for mask in masks.values()],
                subject=name.split("_")[0],
                pixels=picture(len(out)),
            )
        )
    save(base / "B-mode" / "9_1_Bmode.tif", picture(9))
    save(base / "Masks" / "9_1_Mask.tif", picture(9))  # not binary
    return out


def c_trus(root: Path) -> list[Truth]:
    """Masks of whole JPEG blocks: their edges stay where they are."""
    out, rows = [], ["file,quality,quality_name,patient,testitem_in_fold"]
    base = root / "c-trus-main"
    wall = rectangle(16, 16, 48, 40)
    for name, patient, mask in (
        ("9U3YBUK", 1, wall),
        ("E26MT6C", 2, wall),
        ("V2QOT4V", 1, wall & False),
    ):
        save(base / "original" / f"{name}.jpg", picture(patient))
        save(base / "labels" / f"{name}.jpg", gray(mask))
        rows.append(f"{name}.jpg,1,medium,{patient},0")
        masks = [("colon_wall", mask)] if mask.any() else []
        out.append(Truth(f"original/{name}.jpg", masks, subject=str(patient)))
    (base / "c-trus.csv").write_text("\n".join(rows) + "\n")
    (base / "README.md").write_text("# C-TRUS\n")
    return out


def pu2756(root: Path) -> list[Truth]:
    out = []
    images, masks = Files(), Files()
    for seed, (kind, name) in enumerate(
        (("benign", "0012"), ("malignant", "0012"), ("benign", "0700"))
    ):
        tumor = disc(40, 30, 8 + seed)
        images.image(f"images/{kind}/{name}.png", picture(seed))
        masks.image(f"masks/{kind}/{name}.png", gray(tumor))
        out.append(
            Truth(
                f"images/{kind}/{name}.png",
                [("lung_tumor", tumor)],
                subject=name,
                class_label=kind,
                pixels=picture(seed),
            )
        )
    images.image("images/benign/0999.png", picture(9))
    masks.image("masks/benign/0999.png", picture(9))  # not binary
    zipped(root / "images.zip", images.files)
    zipped(root / "masks.zip", masks.files)
    (root / "five_fold_split.xlsx").write_bytes(b"PK")
    return out


MAKERS = {
    f.__name__: f
    for f in (usgra_seg, busi_whu, psfhs, jnu_ifm, focus, cubs, dl_track, luminous, c_trus, pu2756)
}
