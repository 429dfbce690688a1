"""Claim: the default thresholds of `ultrasam.segment_everything` suit nano.

Peer: Meta's defaults for SAM's weights (predicted IoU 0.88, stability 0.95). On the objects of real images
(scaled to 400 pixels at most) and of phantoms: how many have a region with an IoU of at least 0.5 or 0.75,
how many regions an image gets, and the processor's time. Objects that a data set does not outline may be
regions, too, so that no precision can be told.

    python benchmarks/automatic.py --data DIR [--each 2] [--phantoms 5] [--model nano] [--pictures DIR]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.masks import iou
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.hardware import processor
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.inference.automatic import Regions, segment_everything
from ultrasam.inference.predictor import Predictor
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prediction, Prompt

_LONGEST = 400  # pixels
_LEAST_AREA = 400  # pixels, of an object


@dataclass(frozen=True, slots=True)
class Setting:
    points_per_side: int
    min_predicted_iou: float
    min_stability: float
    max_overlap: float = 0.7


CHOSEN = Setting(24, 0.4, 0.5)
SETTINGS = (
    Setting(24, 0.88, 0.95), Setting(24, 0.6, 0.6), CHOSEN, Setting(24, 0.4, 0.4), Setting(24, 0.3, 0.5),
    Setting(24, 0.4, 0.5, 0.5), Setting(12, 0.4, 0.5), Setting(16, 0.4, 0.5), Setting(32, 0.4, 0.5),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    name: str
    pixels: npt.NDArray[np.uint8]
    objects: tuple[npt.NDArray[np.bool_], ...]


@dataclass
class Found:
    """Of one setting: best IoU of each object; regions and seconds of each image."""

    best: list[float] = field(default_factory=list)
    regions: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def row(self, setting: Setting) -> str:
        best, regions = np.array(self.best), self.regions
        return (
            f"| {setting.min_predicted_iou:g} | {setting.min_stability:g} | {setting.max_overlap:g} "
            f"| {setting.points_per_side} | {(best >= 0.5).mean():.2f} | {(best >= 0.75).mean():.2f} "
            f"| {np.median(regions):.0f} | {min(regions)} to {max(regions)} | {np.median(self.seconds):.1f} |"
        )


class _Remembering(Predictor):
    """Keeps what it predicted of each click, with the processor's time that this took."""

    def __init__(self, model: str) -> None:
        super().__init__(model, tta=False)
        self._known: dict[bytes, tuple[Prediction, float]] = {}
        self.spared = 0.0

    def forget(self) -> None:
        self._known = {}

    def predict(
        self,
        prompts: Prompt | list[Prompt],
        *,
        multimask: bool | None = None,
        levels: tuple[float, ...] = (),
    ) -> Prediction:
        some = [prompts] if isinstance(prompts, Prompt) else prompts
        key = np.concatenate([one.points for one in some]).tobytes()
        known = self._known.get(key)
        if known is None:
            start = time.process_time()
            made = super().predict(prompts, multimask=multimask, levels=levels)
            self._known[key] = made, time.process_time() - start
            return made
        self.spared += known[1]
        return known[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--each", type=int, default=2, help="images of each data set")
    parser.add_argument("--phantoms", type=int, default=5)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--pictures", type=Path, help="folder for overlays of the default setting")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{processor()}\n")
    network = _Remembering(arguments.model)
    kinds = {
        "real images": _real(arguments.data, arguments.each),
        "phantoms": _phantoms(arguments.phantoms),
    }
    for kind, images in kinds.items():
        found = {setting: Found() for setting in SETTINGS}
        count = 0
        for image in images:
            count += 1
            network.forget()
            for setting in SETTINGS:
                regions = _measure(network, image, setting, found[setting])
                if setting == CHOSEN and arguments.pictures:
                    name = image.name.replace("/", "_")
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    path = arguments.pictures / f"{name}.png"
                    write_overlay(path, image.pixels, list(regions.masks))
        print(f"## {count} {kind}, {len(found[CHOSEN].best)} objects\n")
        print(
            "| predicted IoU | stability | overlap | points | IoU ≥ 0.5 | IoU ≥ 0.75 "
            "| regions | range | CPU s |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        for setting in SETTINGS:
            print(found[setting].row(setting), flush=True)
        print()


def _measure(network: _Remembering, image: Image, setting: Setting, found: Found) -> Regions:
    network.spared, start = 0.0, time.process_time()
    regions = segment_everything(
        image.pixels,
        model=network,
        points_per_side=setting.points_per_side,
        min_predicted_iou=setting.min_predicted_iou,
        min_stability=setting.min_stability,
        max_overlap=setting.max_overlap,
    )
    found.seconds.append(time.process_time() - start + network.spared)
    found.regions.append(len(regions))
    found.best += [max((iou(m, one) for m in regions.masks), default=0.0) for one in image.objects]
    return regions


def _real(folder: str, each: int) -> Iterator[Image]:
    """The first images with objects of evenly spread ones of every data set in a folder."""
    for data in open_evaluation_datasets([folder]):
        found = 0
        for item in data.items[:: max(1, len(data.items) // (3 * each))]:
            for image in item.read():
                masks = [i.mask for i in getattr(image, "instances", ()) if not i.ignore]
                masks = [mask for mask in masks if mask.sum() >= _LEAST_AREA]
                if masks and found < each:
                    found += 1
                    yield _scaled(f"{data.name}/{item.key}", image.pixels, masks)


def _phantoms(count: int) -> Iterator[Image]:
    for seed in range(count):
        image = simulate(seed)
        yield _scaled(f"phantom/{seed}", image.pixels, [*image.masks])


def _scaled(name: str, pixels: npt.NDArray[np.uint8], masks: list[npt.NDArray[np.bool_]]) -> Image:
    scale = min(1.0, _LONGEST / max(pixels.shape[:2]))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    small = [
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
        for mask in masks
    ]
    objects = tuple(np.asarray(mask) for mask in small if mask.sum() >= _LEAST_AREA)
    return Image(name, np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)), objects)


if __name__ == "__main__":
    main()
