"""Measurements as a CSV file, as JSON, and as curves over time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.files import atomic_write, write_json
from ultrasam.measure.files import Result
from ultrasam.reporting.plots import label_ends, save_plot
from ultrasam.reporting.theme import color
from ultrasam.text import valid_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASUREMENT_COLUMNS = (
    "image", "frame", "time_ms", "object", "kind", "quantity", "value", "unit", "low", "high",
    "row_spacing", "column_spacing", "calibration", "notes",
)  # fmt: skip


def write_csv(path: Path, results: Sequence[Result], provenance: Mapping[str, str]) -> None:
    """Write one row for each number, in UTF-8; values of several planes are joined by a plus sign.

    Args:
        provenance: columns to add to each row, such as the model's name.

    Raises:
        UltraSamError: The file cannot be written.
    """
    rows: list[Sequence[object]] = [(*MEASUREMENT_COLUMNS, *provenance)]
    for result in results:
        where = (
            joined(map(valid_text, result.paths)), joined(result.frames), joined(result.times),
            result.name, result.kind,
        )  # fmt: skip
        spacings = [c.spacing if c.calibrated else ("", "") for c in result.calibrations]
        how = (
            joined([row for row, _ in spacings]), joined([column for _, column in spacings]),
            joined([c.note for c in result.calibrations]), "; ".join(result.measured.notes),
        )  # fmt: skip
        for measurement in result.measured.measurements:
            numbers = measurement.as_json()
            values = [numbers[key] for key in ("quantity", "value", "unit", "low", "high")]
            rows.append((*where, *values, *how, *provenance.values()))
    _write_rows(path, rows)


def joined(values: Iterable[object]) -> str:
    """The values as text, once if they are all equal."""
    texts = ["" if value is None else str(value) for value in values]
    return " + ".join(dict.fromkeys(texts)) if len(set(texts)) == 1 else " + ".join(texts)


def _write_rows(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["" if value is None else value for value in row] for row in rows]
    )
    atomic_write(path, text.getvalue())


def as_json(
    results: Sequence[Result], errors: Sequence[str], provenance: Mapping[str, str]
) -> dict[str, Any]:
    """All numbers for JSON, with what could not be measured."""
    return {
        **provenance,
        "results": [
            {
                "images": [valid_text(path) for path in result.paths],
                "frames": list(result.frames),
                "times_ms": list(result.times),
                "object": result.name,
                "kind": result.kind,
                "calibrations": [
                    {"spacing_mm": list(c.spacing) if c.calibrated else None, "note": c.note}
                    for c in result.calibrations
                ],
                "measurements": [m.as_json() for m in result.measured.measurements],
                "notes": list(result.measured.notes),
            }
            for result in results
        ],
        "errors": [valid_text(sentence) for sentence in errors],
    }


def write_results(
    folder: Path, results: Sequence[Result], errors: Sequence[str], provenance: Mapping[str, str]
) -> list[Path]:
    """Write measurements.csv and measurements.json, and, where an object is measured in several frames, the
    curves over time: curves.csv and curves.png.

    Returns:
        The files.

    Raises:
        MissingDependencyError: matplotlib, which draws the curves, is not installed.
        UltraSamError: A file cannot be written.
    """
    table, content = folder / "measurements.csv", folder / "measurements.json"
    write_csv(table, results, provenance)
    write_json(content, as_json(results, errors, provenance))
    written = [table, content]
    curves = curves_of(results)
    if curves:
        written += [folder / "curves.csv", folder / "curves.png"]
        write_curves(written[2], curves)
        draw_curves(written[3], curves, marks=beat_times(results))
    return written


Curve = Sequence[Result]


def curves_of(results: Sequence[Result]) -> list[Curve]:
    """The results of each object that is measured in several frames of one file, in the frames' order."""
    found: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        if len(result.frames) == 1:
            found.setdefault((result.paths, result.name, result.kind), []).append(result)
    return [sorted(rows, key=lambda r: r.frames) for rows in found.values() if len(rows) > 1]


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write the curves as CSV: one row for each frame, one column for each quantity, with its unit.

    Frames of one object that are calibrated and frames that are not have columns of their own.

    Raises:
        UltraSamError: The file cannot be written.
    """
    columns: dict[str, None] = {}
    rows: list[tuple[list[object], dict[str, float]]] = []
    for curve in curves:
        for result in curve:
            values = {f"{m.name} [{m.unit}]": m.value for m in result.measured.measurements}
            columns |= dict.fromkeys(values)
            where = [valid_text(result.paths[0]), result.name, result.frames[0], result.times[0]]
            rows.append((where, {key: float(f"{value:.6g}") for key, value in values.items()}))
    head = ["image", "object", "frame", "time_ms", *columns]
    _write_rows(path, [head, *([*where, *map(values.get, columns)] for where, values in rows)])


def beat_times(results: Sequence[Result]) -> list[float]:
    """Where end-diastoles and end-systoles are on the axis of `draw_curves`, of beats in one view."""
    return [
        _position(time, frame)
        for result in results
        if len(result.frames) == 2 and len(set(result.paths)) == 1
        for time, frame in zip(result.times, result.frames, strict=True)
    ]


def _position(time: float | None, frame: int) -> float:
    return frame if time is None else time / 1000


def draw_curves(path: Path, curves: Sequence[Curve], *, marks: Sequence[float] = ()) -> None:
    """Draw the first quantity of each curve over time in seconds, or over the frame's number, with the band
    of its doubt.

    Args:
        path: of the picture; its suffix is the format.
        marks: positions of end-diastoles and end-systoles.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """

    def draw(axes: Axes) -> None:
        from ultrasam.reporting.plots import dim_line

        ends, units = [], dict[str, None]()
        for number, curve in enumerate(curves):
            firsts = [result.measured.measurements[0] for result in curve]
            x = [_position(result.times[0], result.frames[0]) for result in curve]
            y = [m.value for m in firsts]
            axes.plot(x, y, color=color(number))
            low = [m.value if m.low is None else m.low for m in firsts]
            high = [m.value if m.high is None else m.high for m in firsts]
            axes.fill_between(x, low, high, color=color(number), alpha=0.18, linewidth=0)
            units[f"{firsts[0].name} ({firsts[0].unit})"] = None
            ends.append((x[-1], y[-1], curve[0].name, color(number)))
        for mark in marks:
            dim_line(axes, x=mark)
        is_time = all(result.times[0] is not None for curve in curves for result in curve)
        axes.set_xlabel("time (s)" if is_time else "frame")
        axes.set_ylabel(", ".join(units))
        label_ends(axes, ends)

    path.parent.mkdir(parents=True, exist_ok=True)
    save_plot(path, draw)
