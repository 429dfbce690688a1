"""Write an HTML report of a training run: curves, samples and recipe."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from ultrasam.files import atomic_write
from ultrasam.reporting.html import page
from ultrasam.reporting.plots import figure, picture
from ultrasam.training.run_log import read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_report(folder: Path) -> Path | None:
    """Write ``report.html`` with the curves, the last samples and the full recipe.

    Returns:
        Its path; None if there is no CSV log.
    """
    log = folder / "log" / "metrics.csv"
    if not log.exists():
        return None
    rows = read_log(log)
    curves = {name: _curve(rows, name) for name in sorted({k for row in rows for k in row})}
    curves = {name: xy for name, xy in curves.items() if xy[0] and name not in ("step", "epoch")}
    groups = {
        "Loss": [n for n in curves if n == "loss"],
        "Training IoU, first and last round": [n for n in curves if "iou" in n],
        "Gradient norm before clipping": [n for n in curves if n.startswith("grad_norm")],
        "Validation Dice": [n for n in curves if n.startswith("val_")],
    }
    figures = [
        figure(title, lambda axes, names=names: _plot(axes, names, curves))  # type: ignore[misc]
        for title, names in groups.items()
        if names
    ]
    samples = sorted((folder / "samples").glob("*.png"))
    last = samples[-1].name.split("_")[0] if samples else ""
    pictures = [
        picture(f"{p.stem}: box, ground truth, prediction, error", p.read_bytes())
        for p in samples
        if p.name.startswith(f"{last}_")
    ]
    recipe = html.escape((folder / "recipe.yaml").read_text(encoding="utf-8"))
    body = (
        f"<h1>{html.escape(folder.name)}</h1>\n{''.join(figures)}\n"
        f"<h2>Samples</h2>\n{''.join(pictures) or '<p>None, because the run had no validation.</p>'}\n"
        f"<h2>Recipe</h2>\n<pre>{recipe}</pre>"
    )
    path = folder / "report.html"
    atomic_write(path, page(folder.name, body))
    return path


Curve = tuple[list[int], list[float]]


def _curve(rows: list[dict[str, str]], name: str) -> Curve:
    points = [
        (int(row["step"]), float(row[name])) for row in rows if row.get(name) and row.get("step")
    ]
    return [step for step, _ in points], [value for _, value in points]


def _plot(axes: Axes, names: list[str], curves: dict[str, Curve]) -> None:
    for name in names:
        axes.plot(*curves[name], label=name, marker="." if name.startswith("val_") else "")
    axes.set_xlabel("step")
    axes.legend()
