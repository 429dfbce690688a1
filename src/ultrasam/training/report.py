"""What a run did, to look at: sample pictures as it goes, and one HTML page at its end."""

from __future__ import annotations

import csv
import html
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.data.journal import write_png
from ultrasam.images.masks import BoolMask
from ultrasam.plots import figure, page, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRUTH, _FOUND, _PROMPT = (80, 220, 100), (255, 170, 40), (70, 160, 255)
_SIDE = 320


def draw_sample(
    path: Path, pixels: npt.NDArray[np.uint8], box: npt.ArrayLike, truth: BoolMask, found: BoolMask
) -> None:
    """One picture of four: image with its box, truth, prediction, and error (missed green, added orange).

    Args:
        pixels: [H, W]; box: x0, y0, x1, y1; truth, found: [H, W].
    """
    scale = _SIDE / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    grey = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    panels = [np.array(grey) for _ in range(4)]
    x0, y0, x1, y1 = (round(float(v) * scale) for v in np.asarray(box))
    cv2.rectangle(panels[0], (x0, y0), (x1, y1), _PROMPT, 1)
    small = [
        cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for m in (truth, found)
    ]
    for panel, mask, colour in ((panels[1], small[0], _TRUTH), (panels[2], small[1], _FOUND)):
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(panel, outline, -1, colour, 1)
    panels[3][small[0] & ~small[1]] = _TRUTH
    panels[3][small[1] & ~small[0]] = _FOUND
    write_png(path, np.concatenate(panels, axis=1))


def write_report(folder: Path) -> Path | None:
    """``report.html`` of a run: its curves, the last samples, and the recipe in full; None without a CSV
    log."""
    log = folder / "log" / "metrics.csv"
    if not log.exists():
        return None
    with log.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    curves = {name: _curve(rows, name) for name in sorted({k for row in rows for k in row})}
    curves = {name: xy for name, xy in curves.items() if xy[0] and name not in ("step", "epoch")}
    groups = {
        "Loss": [n for n in curves if n == "loss"],
        "IoU in training, first and last round": [n for n in curves if "iou" in n],
        "Norm of the gradient before clipping": [n for n in curves if n.startswith("grad_norm")],
        "Dice in validation": [n for n in curves if n.startswith("val_")],
    }
    figures = [
        figure(title, lambda axes, names=names: _plot(axes, names, curves))  # type: ignore[misc]
        for title, names in groups.items()
        if names
    ]
    samples = sorted((folder / "samples").glob("*.png"))
    last = samples[-1].name.split("_")[0] if samples else ""
    shown = [
        picture(f"{p.stem}: box, truth, prediction, error", p.read_bytes())
        for p in samples
        if p.name.startswith(f"{last}_")
    ]
    recipe = html.escape((folder / "recipe.yaml").read_text(encoding="utf-8"))
    body = (
        f"<h1>{html.escape(folder.name)}</h1>\n{''.join(figures)}\n"
        f"<h2>Samples</h2>\n{''.join(shown) or '<p>None: the run had no validation.</p>'}\n"
        f"<h2>Recipe</h2>\n<pre>{recipe}</pre>"
    )
    path = folder / "report.html"
    path.write_text(page(folder.name, body), encoding="utf-8")
    return path


Curve = tuple[list[int], list[float]]


def _curve(rows: list[dict[str, str]], name: str) -> Curve:
    found = [
        (int(row["step"]), float(row[name])) for row in rows if row.get(name) and row.get("step")
    ]
    return [step for step, _ in found], [value for _, value in found]


def _plot(axes: Axes, names: list[str], curves: dict[str, Curve]) -> None:
    for name in names:
        axes.plot(*curves[name], label=name, marker="." if name.startswith("val_") else "")
    axes.set_xlabel("step")
    axes.legend()
