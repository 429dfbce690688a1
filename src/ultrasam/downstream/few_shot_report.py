"""The report of few-shot fine-tuning: Dice against the number of training images, as tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultrasam.downstream.few_shot import FewShotRun
from ultrasam.evaluation.metrics.statistics import (
    MIN_SUBJECTS,
    bootstrap_interval,
    paired_difference,
)
from ultrasam.evaluation.report.groups import training_status
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.runner import results_file
from ultrasam.extras import needs
from ultrasam.files import atomic_write
from ultrasam.reporting.document import Block, Document, Plot, Section
from ultrasam.reporting.markdown import escape
from ultrasam.reporting.plots import label_ends, save_plot
from ultrasam.reporting.tables import NONE, Table, difference, number
from ultrasam.reporting.theme import color, marker
from ultrasam.text import counted

with needs("Evaluation", extra="evaluate"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_NOTE = (
    "Dice is the mean over test objects and draws of training images, ± the standard deviation of the draws' "
    "means; the larger draws contain the smaller ones. Intervals are 95 % bootstrap intervals over the test "
    "set's subjects. *Gain* is the difference from the model without fine-tuning on the same objects."
)

_PLOT_NOTE = "Bars: standard deviation between draws of training images."


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Dice of one model with one number of training images.

    Attributes:
        shots: number of training images; 0 is the model without fine-tuning.
        draws: number of draws of training images.
        objects, subjects: number of test objects, and of the subjects that they are of.
        mean: mean Dice over draws and objects.
        deviation: standard deviation of the draws' means; NaN for one draw.
        low, high: 95 % interval of the mean, by subject of the test set.
        gain: mean difference from the model without fine-tuning on the same objects, and its 95 % interval;
            NaN if there is none.
    """

    shots: int
    draws: int
    objects: int
    subjects: int
    mean: float
    deviation: float
    low: float
    high: float
    gain: tuple[float, float, float]

    def to_json(self) -> dict[str, Any]:
        """All values by name; null for NaN, which JSON does not have."""
        values = asdict(self)
        numbers = {k: None if v != v else v for k, v in values.items() if k != "gain"}
        return numbers | {"gain": None if np.isnan(self.gain[0]) else list(self.gain)}


@dataclass(frozen=True)
class FewShotReport:
    """The content of a report.

    Attributes:
        command: command line that produced it.
        folder: of the runs' results.
        how: sentences on the data sets and on training.
        missing: a sentence for each run that was not possible.
    """

    command: str
    folder: Path
    runs: Sequence[FewShotRun]
    how: Sequence[str]
    missing: Sequence[str] = ()

    @cached_property
    def results(self) -> dict[str, Results]:
        """Results by the key of their run."""
        return {run.key: run.read(self.folder) for run in self.runs}

    def panels(self) -> Iterator[tuple[str, str]]:
        """Data set and prompt type of each table and plot."""
        for dataset in dict.fromkeys(run.dataset for run in self.runs):
            keys = [run.key for run in self.runs if run.dataset == dataset]
            for kind in dict.fromkeys(kind for key in keys for kind in self.results[key].kinds):
                yield dataset, kind

    def curves(self, dataset: str, kind: str) -> dict[str, list[CurvePoint]]:
        """Curve of each model, by ascending number of training images."""
        curves: dict[str, list[CurvePoint]] = {}
        runs = [run for run in self.runs if run.dataset == dataset]
        for model in dict.fromkeys(run.model for run in runs):
            by_shots: dict[int, list[pl.DataFrame]] = {}
            for run in runs:
                rows = self.results[run.key].rows(kind)
                if run.model == model and len(rows):
                    by_shots.setdefault(run.shots, []).append(rows)
            base = _per_object(by_shots[0]) if 0 in by_shots else None
            points = [_point(shots, by_shots[shots], base) for shots in sorted(by_shots)]
            if points:
                curves[model] = points
        return curves

    def document(self, pictures: Mapping[tuple[str, str], str] | None = None) -> Document:
        """The report.

        Args:
            pictures: file of the plot of each data set and prompt type, relative to the report, to be linked
                instead of drawn.
        """
        panels = list(self.panels())
        sections = []
        for panel in panels:
            plot: Block = Plot(_title(*panel), self._draw_alone(panel), note=_PLOT_NOTE)
            if pictures is not None:
                plot = f"![{_title(*panel)}]({pictures[panel]})\n"
            sections.append(
                Section(_title(*panel), (self._table(*panel), plot), says="the full table")
            )
        if self.missing:
            text = _items([escape(sentence) for sentence in self.missing])
            sections.append(Section(f"Not run: {len(self.missing)}", (text,)))
        how = (_items([escape(text) for text in (*self.how, *self.seen())]), f"{_NOTE}\n")
        sections.append(
            Section("How", (*how, f"```sh\n{self.command}\n```\n"), says="data, training, command")
        )
        beside: tuple[Block, ...] = ()
        if pictures is None:
            beside = (Plot(_title(*panels[0]), self._draw_alone(panels[0]), note=_PLOT_NOTE),)
        first = (_items(self.conclusion()), self.compact_table())
        return Document("Few-shot fine-tuning", first, tuple(sections), beside)

    def _draw_alone(self, panel: tuple[str, str]) -> Callable[[Figure], None]:
        return lambda whole: self.plot(*panel)(whole.subplots())

    def compact_table(self) -> Table:
        """Dice of every curve by number of training images."""
        shots = sorted({run.shots for run in self.runs})
        rows = []
        for dataset, kind in self.panels():
            for model, points in self.curves(dataset, kind).items():
                by_shots = {p.shots: _plus_minus(p.mean, p.deviation) for p in points}
                rows.append((dataset, kind, model, *(by_shots.get(n, NONE) for n in shots)))
        head = ("data set", "prompts", "model", *(f"Dice, {_images(n)}" for n in shots))
        return Table("Dice", head, tuple(rows))

    def seen(self) -> list[str]:
        """A sentence for each model that has seen images of a data set, or of which that is unknown."""
        found = []
        for run in self.runs:
            if run.shots:
                continue
            status = training_status(self.results[run.key], run.dataset)
            name = f"{run.model} on {run.dataset}"
            if status == "unknown":
                found.append(
                    f"{name}: whether the initial weights have seen these images is unknown."
                )
            elif status == "seen":
                found.append(
                    f"{name}: the initial weights have seen this data set; the gain on a new one may differ."
                )
        return found

    def _table(self, dataset: str, kind: str) -> Table:
        rows = tuple(
            (
                model,
                str(point.shots),
                str(point.draws) if point.shots else NONE,
                _plus_minus(point.mean, point.deviation),
                _interval(point),
                difference(*point.gain) if point.shots else NONE,
            )
            for model, points in self.curves(dataset, kind).items()
            for point in points
        )
        head = ("model", "training images", "draws", "Dice", "95 % interval", "gain")
        return Table("Dice", head, rows)

    def conclusion(self) -> list[str]:
        """What fine-tuning on the most images changed, in a sentence for each curve."""
        found = []
        for dataset, kind in self.panels():
            for model, (first, *others) in self.curves(dataset, kind).items():
                name = f"{dataset}, {kind}: **{escape(model)}**"
                if first.shots or not others:
                    found.append(
                        f"{name} has Dice {number(first.mean)} with {_images(first.shots)}."
                    )
                    continue
                last = others[-1]
                text = (
                    f"{name} has Dice {number(first.mean)} without fine-tuning and {number(last.mean)} with "
                    f"{_images(last.shots)}; the gain is {difference(*last.gain)}"
                )
                _, low, high = last.gain
                if last.subjects < MIN_SUBJECTS or np.isnan(low):
                    subjects = "one subject" if last.subjects == 1 else f"{last.subjects} subjects"
                    text += (
                        f"; with {subjects} to test on, nobody can tell whether that is by chance"
                    )
                elif not (low > 0 or high < 0):
                    text += ", which may be by chance"
                found.append(f"{text}.")
        return found

    def plot(self, dataset: str, kind: str) -> Callable[[Axes], None]:
        """A function that draws the curves of all models."""
        curves = self.curves(dataset, kind)

        def draw(axes: Axes) -> None:
            ticks = sorted({point.shots for points in curves.values() for point in points})
            axes.set_xscale("symlog", linthresh=1, linscale=0.4)
            ends = []
            for index, (model, points) in enumerate(curves.items()):
                shots = [point.shots for point in points]
                means = [point.mean for point in points]
                axes.errorbar(
                    shots, means, yerr=[np.nan_to_num(point.deviation) for point in points],
                    marker=marker(index), capsize=2, color=color(index),
                )  # fmt: skip
                ends.append((shots[-1], means[-1], model, color(index)))
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
            axes.set_xlim(-0.2, 1.1 * max(ticks[-1], 1))
            axes.set_xlabel("training images")
            axes.set_ylabel("Dice")
            label_ends(axes, ends)

        return draw


def write_few_shot_report(report: FewShotReport) -> tuple[Path, Path]:
    """Write ``report.md`` with its plots and ``report.html``; return the paths of the two."""
    pictures = {}
    for dataset, kind in report.panels():
        file = results_file(report.folder, f"{dataset}-{kind}").with_suffix(".svg")
        save_plot(file, report.plot(dataset, kind))
        pictures[dataset, kind] = file.name
    paths = report.folder / "report.md", report.folder / "report.html"
    for path, text in zip(
        paths, (report.document(pictures).markdown(), report.document().html()), strict=True
    ):
        atomic_write(path, text)
    return paths


def _per_object(draws: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Mean Dice of each test object over draws and repeated prompts, sorted."""
    keys = ["image", "object", "subject"]
    return pl.concat(draws).group_by(keys).agg(pl.col("dice").mean()).sort(keys)


def _point(shots: int, draws: Sequence[pl.DataFrame], base: pl.DataFrame | None) -> CurvePoint:
    table = _per_object(draws)
    values, subjects = table["dice"].to_numpy(), table["subject"].to_list()
    means = [float(_per_object([rows])["dice"].to_numpy().mean()) for rows in draws]
    low, high = bootstrap_interval(values, subjects)
    gain = (float("nan"),) * 3
    if base is not None and shots:
        both = table.join(base, on=["image", "object", "subject"], suffix="_base").sort(
            "image", "object"
        )
        if len(both):
            change = paired_difference(
                both["dice"].to_numpy(), both["dice_base"].to_numpy(), both["subject"].to_list()
            )
            gain = change.mean, change.low, change.high
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
    return CurvePoint(
        shots,
        len(draws),
        len(values),
        len(set(subjects)),
        float(values.mean()),
        deviation,
        low,
        high,
        gain,
    )


def _items(texts: Sequence[str]) -> str:
    return "".join(f"- {text}\n" for text in texts)


def _title(dataset: str, kind: str) -> str:
    return f"{dataset}, {kind}"


def _images(count: int) -> str:
    return counted(count, "training image") if count else "no training image"


def _plus_minus(mean: float, deviation: float) -> str:
    return number(mean) if np.isnan(deviation) else f"{number(mean)} ± {number(deviation)}"


def _interval(point: CurvePoint) -> str:
    if np.isnan(point.low):
        return NONE
    return f"[{number(point.low)}, {number(point.high)}]"
