"""Arrays: NumPy files, pickled dictionaries, HDF5."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np

from tests.datasets.layouts.truth import (
    Files,
    H,
    Truth,
    W,
    disc,
    picture,
    rectangle,
    zip_bytes,
    zipped,
)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def asus(root: Path) -> list[Truth]:
    levels = np.stack([picture(k) for k in range(3)])
    masks = np.stack([disc(20, 20, 6), disc(20, 20, 6) & False, disc(50, 30, 9)])
    files = {
        "DataArrays/12_ultrasound.npy": npy((levels / 255).astype(np.float32)[..., None]),
        "DataArrays/12_segmentation.npy": npy(masks.astype(np.uint8)[..., None]),
    }
    zipped(root / "ASUS" / "DataArrays.zip", files)
    return [
        Truth("12_ultrasound.npy", [("spine", masks[k][::-1, ::-1])], subject="12", frame=k,
              pixels=levels[k][::-1, ::-1])
        for k in (0, 2)
    ]  # fmt: skip


def fass(root: Path) -> list[Truth]:
    files = Files()
    liver, vein = disc(30, 30, 12), rectangle(50, 10, 60, 20)
    nothing = np.zeros((H, W), np.uint8)
    files.image("IMAGES/P03_IMG2.png", picture(1))
    content = {"image": picture(1), "structures": {
        "artery": nothing, "liver": liver.astype(np.uint8), "stomach": nothing,
        "vein": vein.astype(np.uint8)}}  # fmt: skip
    files.files["ARRAY_FORMAT/P03_IMG2.npy"] = npy(np.array(content, dtype=object))
    zipped(root / "4gcpm9dsc3-1.zip", {"dataset/FASS.zip": zip_bytes(files.files)})
    masks = [("liver", liver), ("vein", vein)]
    return [Truth("IMAGES/P03_IMG2.png", masks, subject="P03", pixels=picture(1))]


def thyroid_cineclip(root: Path) -> list[Truth]:
    images = np.stack([picture(k) for k in range(4)])
    ring = disc(40, 30, 15) & ~disc(40, 30, 5)
    masks = np.stack([ring, ring & False, ring, ring])
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "dataset.hdf5", "w") as file:
        file["image"], file["mask"] = images, masks.astype(np.uint8) * 255
        file["annot_id"] = np.array([b"12_1", b"12_1", b"12_2", b"9_"])
        file["frame_num"] = np.array([5, 6, 0, 3])
    (root / "metadata.csv").write_text("annot_id,age\n12_1,40\n12_2,40\n9_,50\n")
    filled = disc(40, 30, 15)
    return [
        Truth("dataset.hdf5", [("thyroid_nodule", filled)], subject=s, frame=f, pixels=images[k])
        for k, s, f in ((0, "12", 5), (2, "12", 0), (3, "9", 3))
    ]


MAKERS = {f.__name__: f for f in (asus, fass, thyroid_cineclip)}
