"""Made-up results files: random ellipses, and what imagined models make of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.masks import compute_metrics
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.images.masks import encode_rle
from ultrasam.measure.shape import long_and_short_axis, thickness

BoolMask = npt.NDArray[np.bool_]
SIZE = (96, 120)
KINDS = (
    "box", "interior", "point", "box+interior", "box+point", "box-noisy", "box-scaled85", "box-scaled95",
    "box-scaled105", "box-scaled115", "box-shifted5", "box-shifted10", "box-shifted15", "random",
    "point-noise5", "point-noise10", "point-noise20", "interior9", "box+clicks5", "random3",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """An imagined model.

    Attributes:
        error: how far its masks' radii are off with a box, as a fraction; with a click twice as far.
        trained_on: as in `Results`.
        accepts: ``box``, ``point`` or both.
        knows: whether its predicted IoU tells an image without an object.
        candidates: whether it offers three masks.
    """

    name: str
    error: float
    trained_on: frozenset[str] | None = frozenset()
    accepts: frozenset[str] = frozenset({"box", "point"})
    knows: bool = True
    candidates: bool = True


@dataclass(frozen=True)
class Data:
    """An imagined data set.

    Attributes:
        images: number of images, of half as many subjects.
        empty: number of images without an object.
        spacing: mm per pixel (row, column).
        structures: of its objects, one each per image.
        thin: whether objects are thin.
        measured: name of what its source measured; the value is the ellipse's circumference.
    """

    name: str
    images: int = 8
    empty: int = 0
    spacing: tuple[float, float] | None = None
    structures: Sequence[str] = ("lesion",)
    thin: bool = False
    measured: str = ""
    duplicates: Mapping[int, str] = field(default_factory=dict)


def ellipse(
    center: tuple[float, float], radii: tuple[float, float], size: tuple[int, int] = SIZE
) -> BoolMask:
    """A filled ellipse (row, column); empty for radii of 0."""
    rows, columns = np.indices(size)
    if min(radii) <= 0:
        return np.zeros(size, bool)
    inside = ((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2 <= 1
    return np.asarray(inside)


def write(folder: Path, model: Model, data: Sequence[Data], *, kinds: Sequence[str] = KINDS,
          repeats: int = 3, seed: int = 0) -> Results:  # fmt: skip
    """Write a results file as `ultrasam evaluate` does, and read it back."""
    parsed = [kind for name in kinds if (kind := PromptKind.parse(name)).uses <= model.accepts]
    settings = {
        "prompts": [kind.name for kind in parsed], "seed": seed, "repeats": repeats,
        "tolerance_mm": 1.0, "tolerance_px": 2.0,
    }  # fmt: skip
    header = {"model": model.name, "version": "0", "settings": settings}
    header["trained_on"] = None if model.trained_on is None else sorted(model.trained_on)  # type: ignore[assignment]
    lines = [header, *(record for each in data for record in records(model, each, parsed, repeats))]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{model.name}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_results(file)


def records(
    model: Model, data: Data, kinds: Sequence[PromptKind], repeats: int
) -> list[dict[str, Any]]:
    """One record per image; the truth does not depend on the model."""
    made = []
    for number in range(data.images + data.empty):
        name = f"{number:03}"
        rng = np.random.default_rng(zlib.crc32(f"{data.name}/{name}".encode()))
        record: dict[str, Any] = {
            "dataset": data.name, "image": name, "subject": str(number // 2), "size": list(SIZE),
            "spacing": list(data.spacing) if data.spacing else None,
            "pixels": data.duplicates.get(number, f"{data.name}{number}"), "measurements": {}, "objects": [],
            "seconds": {"reading": 0.01, "model": 0.2 + model.error, "evaluation": 0.02},
        }  # fmt: skip
        luck = np.random.default_rng(zlib.crc32(f"{model.name}/{data.name}/{name}".encode()))
        if number >= data.images:
            record["absent"] = {
                kind.name: {
                    "predicted_iou": round(
                        float(luck.uniform(0.1, 0.6) if model.knows else luck.uniform()), 5
                    ),
                    "area": int(luck.integers(0, 900)),
                }
                for kind in kinds
                if kind.is_single and len(kind.uses) == 1
            }
            made.append(record)
            continue
        for structure in data.structures:
            center = (float(rng.uniform(40, 56)), float(rng.uniform(46, 74)))
            radii = (
                float(rng.uniform(3, 4)) if data.thin else float(rng.uniform(12, 30)),
                float(rng.uniform(18, 36)),
            )
            if data.measured:
                a, b = (r * (data.spacing or (1, 1))[0] for r in radii)
                h = ((a - b) / (a + b)) ** 2
                around = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
                record["measurements"][data.measured] = round(float(around), 3)
            record["objects"].append(
                _object(model, data, structure, center, radii, kinds, repeats, luck)
            )
        made.append(record)
    return made


@cache
def _sizes(center: tuple[float, float], radii: tuple[float, float]) -> Mapping[str, float]:
    """Of an ellipse, which all models are shown."""
    truth = ellipse(center, radii)
    return {
        "area": int(truth.sum()),
        "thickness": round(thickness(truth), 3),
        "length": round(long_and_short_axis(truth).long, 3),
    }


def _object(
    model: Model, data: Data, structure: str, center: tuple[float, float], radii: tuple[float, float],
    kinds: Sequence[PromptKind], repeats: int, luck: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    truth = ellipse(center, radii)
    return {
        "structure": structure, **_sizes(center, radii), "truth": encode_rle(truth)["counts"],
        "click_outside": False,
        "predictions": {
            kind.name: [
                _prediction(model, data, truth, center, radii, kind, luck)
                for _ in range(kind.repeats(repeats))
            ]
            for kind in kinds
        },
    }  # fmt: skip


def _prediction(
    model: Model, data: Data, truth: BoolMask, center: tuple[float, float], radii: tuple[float, float],
    kind: PromptKind, luck: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    error = (
        model.error * (1 if "box" in kind.uses else 2) * (1 if kind.protocol == "exact" else 1.4)
    )
    amount = int("".join(filter(str.isdigit, kind.name.split("+")[0])) or 0)
    if kind.name.startswith("box-scaled"):
        error += abs(100 - amount) / 120
    elif kind.name.startswith(("box-shifted", "point-noise")):
        error += amount / 100
    masks, ious = [], []
    for click in range(kind.rounds):
        size = error * luck.normal() / (1 + 0.4 * click)
        missed = click == 0 and "box" not in kind.uses and luck.uniform() < model.error / 2
        scale = 0.15 if missed else max(0.05, 1 + size)
        moved = (center[0] + 6 * error * luck.normal(), center[1] + 6 * error * luck.normal())
        masks.append(ellipse(moved, (radii[0] * scale, radii[1] * scale)))
        ious.append(_iou(masks[-1], truth))
    metrics = compute_metrics(
        masks[-1], truth, spacing=data.spacing or (1.0, 1.0), tolerance=1.0 if data.spacing else 2.0
    )
    guess = float(np.clip(ious[-1] + 0.1 * luck.normal() * (1 + model.error) + 0.05, 0, 1))
    best = None
    if model.candidates and kind.is_single:
        best = round(max(ious[-1], float(np.clip(ious[-1] + luck.uniform(-0.1, 0.15), 0, 1))), 5)
    return {
        **{k: None if np.isnan(v) else round(v, 5) for k, v in metrics.as_dict().items()},
        "predicted_iou": round(guess, 5), "ious": [round(v, 5) for v in ious], "best_iou": best,
        "mask": encode_rle(masks[-1])["counts"],
    }  # fmt: skip


def _iou(mask: BoolMask, truth: BoolMask) -> float:
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0


CATALOGUED = frozenset({"busi", "hc18"})
MODELS = (
    Model("nano", 0.10, CATALOGUED),
    Model("nano+once", 0.12, CATALOGUED),
    Model("sam-vit-b", 0.2, frozenset(), knows=False),
    Model("medsam", 0.14, frozenset({"busi"}), accepts=frozenset({"box"}), candidates=False),
    Model("stranger", 0.16, None),
    Model("ellipse", 0.22, accepts=frozenset({"box"}), candidates=False, knows=False),
    Model("disc", 0.35, accepts=frozenset({"point"}), candidates=False, knows=False),
    Model("random:vit-b", 0.6, candidates=False, knows=False),
)
DATA = (
    Data("busi", 12, empty=6),
    Data(
        "hc18", 8, spacing=(0.5, 0.5), structures=("fetal_head",), measured="head_circumference_mm"
    ),
    Data("us_nerve", 10, empty=8, structures=("nerve",), duplicates={0: "same", 3: "same"}),
    Data("usgra_seg", 8, structures=("nerve", "vessel"), thin=True),
    Data("bus_bra", 8, spacing=(0.2, 0.2)),
)

# A small evaluation, of every kind of prompt.
FEW_KINDS = (
    "box", "interior", "box+interior", "box-noisy", "box-scaled85", "box-scaled115", "random", "interior5",
    "box+clicks3",
)  # fmt: skip
FEW_MODELS = (
    Model("nano", 0.10, frozenset({"busi", "hc18"})),
    Model("medsam", 0.15, frozenset({"busi"}), frozenset({"box"}), candidates=False),
    Model("disc", 0.35, accepts=frozenset({"point"}), knows=False, candidates=False),
)
FEW_DATA = (
    Data("bus_bra", 5),
    Data("busi", 6, empty=4),
    Data("hc18", 4, spacing=(0.5, 0.5), structures=("fetal_head",), measured="head_circumference_mm"),
    Data("us_nerve", 6, structures=("nerve",), thin=True, duplicates={0: "same", 5: "same"}),
)  # fmt: skip
