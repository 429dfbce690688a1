"""Outlines as numbers: JSON, LabelMe, COCO, tables of tracings; and a clip with folders of masks.

Outlines are rectangles on whole pixels, so that every sound rasterizer fills the same ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np

from tests.datasets.layouts.truth import Files, Truth, gray, picture, rectangle, save, zipped


def corners(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def clip(path: Path, frames: int, *, height: int = 64, width: int = 80) -> None:
    """A gray clip whose k-th frame has the level 40 + 20 k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "mjpeg" if path.suffix == ".avi" else "mpeg4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for k in range(frames):
            level = np.full((height, width, 3), 40 + 20 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode(None))


def aul(root: Path) -> list[Truth]:
    out = []
    for kind in ("Benign", "Malignant", "Normal"):
        files = Files()
        files.image(f"{kind}/{kind}/image/5.jpg", picture(5))
        boxes = {"liver": (5, 5, 60, 50), "outline": (0, 0, 80, 64)}
        if kind != "Normal":
            boxes["mass"] = (20, 20, 30, 40)
        for what, box in boxes.items():
            files.files[f"{kind}/{kind}/segmentation/{what}/5.json"] = json.dumps(
                corners(*box)
            ).encode()
        zipped(root / f"{kind}.zip", files.files)
        masks = [(w, rectangle(*b)) for w, b in boxes.items() if w != "outline"]
        out.append(Truth(f"{kind}/image/5.jpg", masks, class_label=kind.lower()))
    return out


def brachial_plexus(root: Path) -> list[Truth]:
    base = root / "brachial_plexus"
    plexus, needle = rectangle(16, 16, 48, 40), rectangle(56, 8, 72, 16)
    clip(base / "12_BP.mp4", 3)
    for k in range(3):
        save(base / "12_ac_masks" / f"frame_{k + 8}.jpg", gray(plexus))  # 8, 9, 10
    for k in range(2):
        save(base / "12_needle_masks" / f"frame_{k + 8}.jpg", gray(needle))
    clip(base / "21_BP.mp4", 1)
    save(base / "P_021_09_masks" / "a.jpg", gray(needle))
    out = []
    for k in range(3):
        masks = [("nerve_plexus", plexus)] + ([("needle", needle)] if k < 2 else [])
        out.append(
            Truth("12_BP.mp4", masks, subject="12", frame=k, pixels=np.full((64, 80), 40 + 20 * k))
        )
    out.append(Truth("21_BP.mp4", [("nerve_plexus", needle)], subject="21", frame=0))
    return out


def echonet_dynamic(root: Path) -> list[Truth]:
    base = root / "EchoNet-Dynamic"
    rows, out = ["FileName,X1,Y1,X2,Y2,Frame"], []
    for name, split in (("0X1A", "TRAIN"), ("0X2B", "TEST")):
        clip(base / "Videos" / f"{name}.avi", 4)
        written = name if name == "0X2B" else f"{name}.avi"
        volumes = (55, 30, 60) if name == "0X1A" else (60, 30, 70)
        heads = ("ejection_fraction_percent", "end_systolic_volume_ml", "end_diastolic_volume_ml")
        for frame, x0 in ((0, 10), (3, 20)):
            rows.append(f"{written},3,60,70,1,{frame}")  # the long axis
            rows += [f"{written},{x0},{y},{x0 + 30},{y},{frame}" for y in (8, 20, 30, 48)]
            mask = rectangle(x0, 8, x0 + 30, 48)
            out.append(
                Truth(f"Videos/{name}.avi", [("left_ventricle", mask)], subject=name.lower(),
                      split=split.lower(), frame=frame, pixels=np.full((64, 80), 40 + 20 * frame),
                      measurements=dict(zip(heads, volumes, strict=True)))
            )  # fmt: skip
    rows.append("0X3C,1,1,9,9,0")  # the clip is missing
    (base / "VolumeTracings.csv").write_text("\n".join(rows) + "\n")
    (base / "FileList.csv").write_text(
        "FileName,EF,ESV,EDV,Split\n0X1A,55,30,60,TRAIN\n0X2B,60,30,70,TEST\n"
    )
    return out


def echonet_pediatric(root: Path) -> list[Truth]:
    base = root / "pediatric_echo_avi" / "pediatric_echo_avi"
    out = []
    for view, fold, split in (("A4C", 3, "train"), ("PSAX", 9, "test")):
        name = f"CR-{fold}"
        clip(base / view / "Videos" / f"{name}.avi", 3)
        rows = ["FileName,X,Y,Frame"]
        rows += [f"{name}.avi,{x},{y},2" for x, y in corners(10, 12, 40, 44)]  # counted from 1
        rows += [f"{name}.avi,{x},{y},No Systolic" for x, y in corners(1, 1, 4, 4)]
        (base / view / "VolumeTracings.csv").write_text("\n".join(rows) + "\n")
        (base / view / "FileList.csv").write_text(
            f"FileName,EF,Sex,Split\n{name}.avi,60,F,{fold}\n"
        )
        out.append(
            Truth(f"{view}/Videos/{name}.avi", [("left_ventricle", rectangle(10, 12, 40, 44))],
                  subject=name.lower(), split=split, frame=1, pixels=np.full((64, 80), 60),
                  measurements={"ejection_fraction_percent": 60})
        )  # fmt: skip
    return out


def gist514(root: Path) -> list[Truth]:
    base = root / "usd514_jpeg_roi"
    out = []
    for part, i, category, name in (("train", 1, 1, "leiomyoma"), ("val", 2, 2, "gist")):
        save(base / "images" / f"{i}.jpg", picture(i))
        boxes = [(5, 5, 25, 30), (40, 10, 60, 50)]
        flat = [[c for point in corners(*b) for c in point] for b in boxes]
        content = {
            "images": [{"id": 7, "file_name": f"{i}.jpg", "height": 64, "width": 80}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": category, "segmentation": flat}
            ],
            "categories": [{"id": 1, "name": "Leiomyoma"}, {"id": 2, "name": "GIST"}],
        }
        for k in (0, 1):
            path = base / "annotations" / f"{part}_anno_crop_split_{k}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content))
        split = "test" if part == "val" else "trainval"
        masks = [(name, rectangle(*b)) for b in boxes]
        out.append(Truth(f"images/{i}.jpg", masks, subject=str(i), split=split, class_label=name))
    return out


def ubpd(root: Path) -> list[Truth]:
    labels = {"dongmai": "artery", "jingmai": "vein", "jirouzuzhi": "muscle", "shenjing": "nerve",
              "zhifang": "fat", "jizhu": "spine"}  # fmt: skip
    shapes, masks = [], []
    for k, (label, name) in enumerate(labels.items()):
        box = (12 * k + 1, 5, 12 * k + 10, 50)
        shapes.append({"label": label, "shape_type": "polygon", "points": corners(*box)})
        x0, y0, x1, y1 = box
        masks.append((name, rectangle(x0, y0, x1 + 1, y1 + 1)))  # LabelMe's include their outline
    text = json.dumps({"shapes": shapes, "imagePath": "PLACE"}).encode()
    folder = root / "data" / "left"
    folder.mkdir(parents=True)
    (folder / "0012_3.json").write_bytes(text.replace(b"PLACE", "图像".encode("gbk")))
    save(folder / "0012_3.jpg", picture(1))
    save(folder / "0013_1.jpg", picture(2))  # not annotated
    return [Truth("0012_3.jpg", masks, subject="0012")]


MAKERS = {
    f.__name__: f for f in (aul, brachial_plexus, echonet_dynamic, echonet_pediatric, gist514, ubpd)
}
