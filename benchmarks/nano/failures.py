"""Question: where does a model fail with one click, and what does that look like?

Clicks on the center of mass of each object of simulated images, and of real ones of open licenses (--data),
and draws for each structure the object with the lowest Dice: truth green, mask orange. Behind each name are
the median Dice of its structure and the number of its objects, so that a rare failure is not taken for the
rule.

    python benchmarks/nano/failures.py [--data DIR] [--phantoms 240] --sheet docs/pictures/nano-fails.png
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ultrasam import Predictor
from ultrasam.datasets.annotated_image import AnnotatedImage, images_of
from ultrasam.datasets.discover import find_datasets
from ultrasam.evaluation.metrics.masks import dice
from ultrasam.images.masks import bounding_box, center_of_mass
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt

OPEN = {"busi": "BUSI", "hc18": "HC18", "usgra_seg": "USGRA-seg", "ccaui": "CCAUI"}  # CC BY 4.0
FIRST_SEED = 7_000_000  # neither training nor the other benchmarks use these phantoms
TILE, CAPTION, COLUMNS = 200, 30, 6
TRUTH, FOUND = (0, 200, 90), (255, 150, 0)
SMALLEST = 0.004  # of the image: what is smaller is not seen in a tile

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Click:
    """A clicked object: its structure, the image, truth and mask, the click and its Dice."""

    structure: str
    pixels: npt.NDArray[np.uint8]
    truth: Mask
    found: Mask
    at: tuple[float, float]
    dice: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="nano")
    parser.add_argument("--data", help="folder of data sets; only those of open licenses are drawn")
    parser.add_argument("--phantoms", type=int, default=240)
    parser.add_argument("--tiles", type=int, default=18)
    parser.add_argument("--sheet", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.data and not Path(arguments.data).is_dir():
        raise SystemExit(f"Folder {arguments.data} does not exist; set --data.")
    predictor = Predictor(arguments.model)
    clicks: dict[str, list[Click]] = defaultdict(list)
    for pixels, objects in images(arguments.data, arguments.phantoms):
        predictor.set_image(pixels)
        for structure, truth in objects:
            x, y = map(float, center_of_mass(truth))
            found = predictor.predict(Prompt(points=[(x, y)])).masks[0, 0]
            clicks[structure].append(
                Click(structure, pixels, truth, found, (x, y), dice(found, truth))
            )
    middle = {name: median(c.dice for c in each) for name, each in clicks.items()}
    for name in sorted(middle, key=lambda name: middle[name]):
        missed = np.mean([click.dice < 2 / 3 for click in clicks[name]])  # IoU below 0.5
        print(
            f"{name:<34} {len(clicks[name]):>4} objects, median {middle[name]:.2f}, missed {missed:.0%}"
        )
    worst = [min(each, key=lambda click: click.dice) for each in clicks.values()]
    worst = sorted(worst, key=lambda click: middle[click.structure])[: arguments.tiles]
    tiles = [
        (click, f"median of {len(clicks[click.structure])}: {middle[click.structure]:.2f}")
        for click in worst
    ]
    write_sheet(arguments.sheet, tiles)


def images(
    data: str | None, phantoms: int
) -> Iterator[tuple[npt.NDArray[np.uint8], list[tuple[str, Mask]]]]:
    """Pixels and named masks of the objects that are large enough to be seen in a tile."""
    for seed in range(FIRST_SEED, FIRST_SEED + phantoms):
        phantom = simulate(seed)
        named = zip(phantom.names, phantom.masks, strict=True)
        yield phantom.pixels, [(n, m) for n, m in named if m.mean() > SMALLEST]
    for spec, root in find_datasets([data]) if data else ():
        if spec.info.id not in OPEN:
            continue
        cases, _ = spec.list_cases(root)
        for case in cases:
            for image in images_of(case):
                if isinstance(image, AnnotatedImage):
                    yield (
                        image.gray,
                        [
                            (f"{OPEN[spec.info.id]}: {i.name}", i.mask)
                            for i in image.instances
                            if not i.ignore and i.mask.mean() > SMALLEST
                        ],
                    )


def write_sheet(path: Path, tiles: list[tuple[Click, str]]) -> None:
    """Save the clicks with their captions as a PNG of 128 colors."""
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), (16, 16, 16))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (click, note) in enumerate(tiles):
        tile = draw(click)
        x, y = index % COLUMNS * TILE, index // COLUMNS * (TILE + CAPTION)
        at = (x + (TILE - tile.shape[1]) // 2, y + (TILE - tile.shape[0]) // 2)
        sheet.paste(Image.fromarray(tile), at)
        caption = f"{click.structure}: {click.dice:.2f}\n{note}"
        pen.text((x + 4, y + TILE), caption, fill=(230, 230, 230), font=font, spacing=1)
    sheet.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {len(tiles)} tiles, {path.stat().st_size / 1e6:.2f} MB")


def draw(click: Click) -> npt.NDArray[np.uint8]:
    """[h, w, 3] RGB: what surrounds the object and the mask, at the size of a tile."""
    both = click.truth | click.found
    x0, y0, x1, y1 = bounding_box(both).astype(int)
    margin = max(16, (x1 - x0) // 4, (y1 - y0) // 4)
    height, width = click.pixels.shape[:2]
    rows = slice(max(0, y0 - margin), min(height, y1 + margin))
    columns = slice(max(0, x0 - margin), min(width, x1 + margin))
    part = click.pixels[rows, columns]
    factor = (TILE - 6) / max(part.shape)
    size = (round(part.shape[1] * factor), round(part.shape[0] * factor))
    rgb = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    for mask, color in ((click.truth, TRUTH), (click.found, FOUND)):
        scaled = cv2.resize(mask[rows, columns].astype(np.uint8) * 255, size)
        lines, _ = cv2.findContours(
            (scaled > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(rgb, lines, -1, color, 1, cv2.LINE_AA)
    at = (int((click.at[0] - columns.start) * factor), int((click.at[1] - rows.start) * factor))
    cv2.circle(rgb, at, 3, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
    return np.asarray(rgb, np.uint8)


if __name__ == "__main__":
    main()
