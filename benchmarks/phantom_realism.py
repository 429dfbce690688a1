"""Question: how well do phantoms resemble real images, and which are told apart most easily?

Writes a contact sheet of one phantom per structure, with --beside next to real images of open licenses
(their attribution is in docs/phantoms.md). Prints statistics of real sets and phantoms, and trains a
logistic regression to tell them apart: on gray levels, speckle and spectrum, and on nano's image embedding
as well. Each real data set is judged by a classifier that has seen only the other sets, each phantom by one
that has seen other phantoms. Behind each name is the share recognized for what it is; 0.5 is chance, and
the best that phantoms can reach.

    python benchmarks/phantom_realism.py --data DIR ... [--count 150] [--sheet FILE [--beside]]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ultrasam.datasets.annotated_image import AnnotatedImage, images_of
from ultrasam.datasets.discover import find_datasets
from ultrasam.downstream.features import Embedder
from ultrasam.phantom.acquisition import Phantom, simulate
from ultrasam.store.contact_sheet import color_of
from ultrasam.weights.load import load

OPEN = ("busi", "hc18", "usgra_seg", "bus_uclm", "ccaui")  # CC BY 4.0
PHANTOMS = "phantoms"
TILE, CAPTION, COLUMNS = 190, 16, 8
MAX_SEARCHED = 250  # phantoms among which the sheet looks for one of each structure
FIRST_SEED = 5_000_000  # training starts at others

Features = dict[str, float]
Array = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument(
        "--count", type=int, default=150, help="phantoms, and real images of all sets"
    )
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--beside", action="store_true", help="show real images in the sheet, too")
    arguments = parser.parse_args()
    for folder in arguments.data:
        if not Path(folder).is_dir():
            raise SystemExit(f"Folder {folder} does not exist; set --data.")
    cv2.setNumThreads(1)
    real = read_sets(arguments.data, arguments.count)
    if arguments.sheet:
        beside = OPEN if arguments.beside else ()
        write_sheet(arguments.sheet, {name: real[name] for name in beside if name in real})
    start = time.process_time()
    phantoms = [simulate(FIRST_SEED + k) for k in range(arguments.count)]
    each = (time.process_time() - start) / len(phantoms)
    print(f"{len(phantoms)} phantoms, {1000 * each:.0f} ms each on one core")
    pixels = {name: [image.gray for image in images] for name, images in real.items()}
    pixels[PHANTOMS] = [phantom.pixels for phantom in phantoms]
    described = {name: [features(image) for image in images] for name, images in pixels.items()}
    print_statistics(described)
    plain = {name: table(rows) for name, rows in described.items()}
    embedded = embeddings(pixels)
    print_recognized("on gray levels, speckle and spectrum", plain, phantoms)
    both = {name: np.concatenate([plain[name], embedded[name]], axis=1) for name in plain}
    print_recognized("on these and nano's embedding", both, phantoms)


def read_sets(folders: Sequence[str], count: int) -> dict[str, list[AnnotatedImage]]:
    """About ``count`` images of all data sets in the folders, as many of each, with objects.

    A data set that is in several folders is read from the first.
    """
    sets = {
        spec.info.id: (spec, root)
        for folder in reversed(folders)
        for spec, root in find_datasets([folder])
    }
    each = max(8, round(count / len(sets)))
    found: dict[str, list[AnnotatedImage]] = {}
    for spec, root in sets.values():
        cases, _ = spec.list_cases(root)
        images: list[AnnotatedImage] = []
        for index in np.random.default_rng(0).permutation(len(cases)):
            images += [
                image
                for image in images_of(cases[int(index)])
                if isinstance(image, AnnotatedImage) and image.areas
            ][:2]
            if len(images) >= each:
                break
        found[spec.info.id] = images[:each]
    return found


def features(pixels: npt.NDArray[np.uint8]) -> Features:
    """Statistics of an image [H, W], scaled to 256 pixels on its longer side, as nano sees it."""
    factor = 256 / max(pixels.shape)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    gray = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=way).astype(np.float32)
    lit = cv2.erode((cv2.blur(gray, (7, 7)) > 8).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if lit.sum() < 200:
        lit = np.ones(gray.shape, bool)
    low, middle, high = np.percentile(gray[lit], (5, 50, 95))
    slow = cv2.GaussianBlur(gray, (0, 0), 3)
    speckle = gray - slow
    power = float((speckle[lit] ** 2).mean()) + 1e-6
    local = np.sqrt(np.maximum(cv2.blur(speckle * speckle, (9, 9)), 0)) / (slow + 10)
    quarters = [float(part.mean()) for part in np.array_split(gray, 4)]
    found = {
        "black": float((gray <= 3).mean()),
        "white": float((gray >= 250).mean()),
        "p5": low,
        "median": middle,
        "p95": high,
        "contrast": float(np.median(local[lit])),
        "kurtosis": float((speckle[lit] ** 4).mean()) / power**2,
        "depth": (quarters[3] + 2) / (max(quarters) + 2),
    }
    for name, (down, right) in {
        "axial 1": (1, 0), "axial 2": (2, 0), "lateral 1": (0, 1), "lateral 2": (0, 2), "lateral 4": (0, 4)
    }.items():  # fmt: skip
        height, width = gray.shape[0] - down, gray.shape[1] - right
        both = lit[:height, :width] & lit[down:, right:]
        pairs = (speckle[:height, :width] * speckle[down:, right:])[both]
        found[name] = float(pairs.mean()) / power if len(pairs) else 0.0
    return found | spectrum(gray)


def spectrum(gray: npt.NDArray[np.float32]) -> Features:
    """Power in rings of spatial frequency, in dB relative to the lowest."""
    side = min(gray.shape)
    top, left = (gray.shape[0] - side) // 2, (gray.shape[1] - side) // 2
    middle = gray[top : top + side, left : left + side]
    window = np.hanning(side)[:, None] * np.hanning(side)[None]
    power = np.abs(np.fft.fftshift(np.fft.fft2((middle - middle.mean()) * window))) ** 2
    y, x = np.mgrid[0:side, 0:side] - side // 2
    cycles = np.hypot(x, y) / side  # per pixel
    edges = (0.01, 0.03, 0.08, 0.16, 0.32, 0.5)
    levels = [
        10 * np.log10(power[(cycles >= a) & (cycles < b)].mean() + 1e-3)
        for a, b in itertools.pairwise(edges)
    ]
    return {f"f {a:g}": level - levels[0] for a, level in zip(edges[1:], levels[1:], strict=False)}


def table(rows: Sequence[Features]) -> Array:
    return np.array([list(row.values()) for row in rows], np.float64)


def embeddings(pixels: dict[str, list[npt.NDArray[np.uint8]]]) -> dict[str, Array]:
    """Mean over the image of each channel of nano's encoder."""
    embedder = Embedder(load("nano", device="cpu"))
    return {
        name: np.array(list(embedder.images(images)), np.float64) for name, images in pixels.items()
    }


def print_statistics(described: dict[str, list[Features]]) -> None:
    names = list(next(iter(described.values()))[0])
    print("\n" + " " * 16 + "".join(f"{name:>10}" for name in names))
    real = np.concatenate([table(rows) for name, rows in described.items() if name != PHANTOMS])
    rows = {name: np.median(table(found), axis=0) for name, found in described.items()}
    for part in (10, 50, 90):
        rows[f"real {part} %"] = np.percentile(real, part, axis=0)
        rows[f"phantoms {part} %"] = np.percentile(table(described[PHANTOMS]), part, axis=0)
    del rows[PHANTOMS]
    for name, values in rows.items():
        print(f"{name:<16}" + "".join(f"{value:10.3g}" for value in values))


def print_recognized(title: str, described: dict[str, Array], phantoms: Sequence[Phantom]) -> None:
    """Recognize real images and phantoms, and print the shares by set, structure and probe."""
    sets = [name for name in described if name != PHANTOMS]
    simulated = described[PHANTOMS]
    folds = np.arange(len(simulated)) % len(sets)
    right = np.zeros(len(simulated), bool)
    real: dict[str, float] = {}
    for fold, held_out in enumerate(sets):
        known = [described[name] for name in sets if name != held_out]
        others = simulated[folds != fold]
        inputs = np.concatenate([*known, others])
        truth = np.concatenate([np.zeros(len(inputs) - len(others)), np.ones(len(others))])
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.05, class_weight="balanced", max_iter=2000)
        )
        model.fit(inputs, truth)
        real[held_out] = float((model.predict(described[held_out]) == 0).mean())
        right[folds == fold] = model.predict(simulated[folds == fold]) == 1
    accuracy = (np.mean(list(real.values())) + right.mean()) / 2
    print(f"\nRecognized {title}: {accuracy:.2f} (mean of real images and phantoms)")
    print("  real      " + ", ".join(f"{name} {share:.2f}" for name, share in real.items()))
    groups = {
        "probe": [(phantom.probe,) for phantom in phantoms],
        "structure": [tuple(set(phantom.names)) for phantom in phantoms],
    }
    for group, labels in groups.items():
        shares = {
            name: (float(np.mean(right[chosen])), len(chosen))
            for name in sorted({name for each in labels for name in each})
            if len(chosen := [k for k, each in enumerate(labels) if name in each]) >= 3
        }
        ordered = sorted(shares.items(), key=lambda item: -item[1][0])
        words = (f"{name} {share:.2f} ({count})" for name, (share, count) in ordered)
        print(f"  {group:<9} " + ", ".join(words))


def write_sheet(path: Path, real: dict[str, list[AnnotatedImage]]) -> None:
    """Save one phantom per structure and two images per real set, with outlines, as a PNG of 128 colors."""
    tiles = [
        (f"{name} (real)", draw(image.gray, [(i.name, i.mask) for i in image.instances]))
        for name, images in real.items()
        for image in images[:2]
    ]
    tiles = [*one_of_each(), *tiles]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), (16, 16, 16))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (title, tile) in enumerate(tiles):
        x, y = index % COLUMNS * TILE, index // COLUMNS * (TILE + CAPTION)
        at = (x + (TILE - tile.shape[1]) // 2, y + (TILE - tile.shape[0]) // 2)
        sheet.paste(Image.fromarray(tile), at)
        pen.text((x + 4, y + TILE), title, fill=(230, 230, 230), font=font)
    sheet.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {len(tiles)} images, {path.stat().st_size / 1e6:.2f} MB")


def one_of_each() -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """The first phantom that shows each structure at a visible size."""
    found: dict[str, npt.NDArray[np.uint8]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + MAX_SEARCHED):
        phantom = simulate(seed)
        shares = phantom.masks.mean(axis=(1, 2)) if len(phantom.masks) else []
        lit = float(np.median(phantom.pixels[phantom.pixels > 3])) if phantom.pixels.any() else 0
        for name, share in zip(phantom.names, shares, strict=True):
            if name not in found and share > 0.01 and lit > 30:
                named = list(zip(phantom.names, phantom.masks, strict=True))
                found[name] = draw(phantom.pixels, named)
                break  # another phantom shows the next structure
    return sorted(found.items())


def draw(
    pixels: npt.NDArray[np.uint8], masks: Sequence[tuple[str, npt.NDArray[np.bool_]]]
) -> npt.NDArray[np.uint8]:
    """[h, w, 3] RGB: the image at the size of a tile, with the outlines of its objects."""
    factor = (TILE - 4) / max(pixels.shape)
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    rgb = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    for name, mask in masks:
        part = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
        lines, _ = cv2.findContours(
            (part > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(rgb, lines, -1, color_of(name), 1, cv2.LINE_AA)
    return np.asarray(rgb, np.uint8)


if __name__ == "__main__":
    main()
