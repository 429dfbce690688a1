"""The evaluation report, as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ultrasam._version import __version__
from ultrasam.evaluation.report import figures, summary, tables
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.evaluation.sources import EvaluationDataset
from ultrasam.files import atomic_write
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import escape, to_html

_PACKAGES = ("torch", "numpy", "scipy", "pycocotools", "opencv-python-headless", "transformers")


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The content of a report.

    Attributes:
        title: main heading.
        command: command line that produced the report.
        results: results of all models; the others are compared with the first.
        missing: requested models and data sets that were not available, one sentence each.
        not_chosen: images that were not asked for, one sentence each (see `EvaluationDataset`).
    """

    title: str
    command: str
    results: tuple[Results, ...]
    missing: tuple[str, ...] = ()
    not_chosen: tuple[str, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """Prompt types that at least one model accepts, in the order requested."""
        return list(dict.fromkeys(kind for r in self.results for kind in r.kinds))

    def markdown(self) -> str:
        """All tables in Markdown."""
        results = self.results
        counts = objects_per_dataset(results)
        parts = [f"# {escape(self.title)}\n", f"{summary.evaluated(results)}\n"]
        parts.append(_items(summary.conclusion(results, self.kinds)))
        absent = summary.left_out(results, self.not_chosen)
        if absent:
            parts += ["Not in these means:\n", _items(absent)]
        if self.missing:
            parts += ["## Missing\n", _items([escape(text) for text in self.missing])]
        for kind in self.kinds:
            evaluated = [r for r in results if kind in r.kinds]
            parts.append(f"## Prompt: {kind}\n")
            if kind.startswith("point"):
                parts.append(_clicks_outside(evaluated[0], kind))
            by_kind = (
                tables.dataset_table(evaluated, kind, "dice"),
                tables.metric_table(evaluated, kind),
                tables.structure_table(evaluated, kind),
            )
            parts += [table.markdown() for table in by_kind if table is not None]
        parts.append("## All prompts\n")
        across = (
            tables.difference_table(results),
            tables.click_table(results),
            tables.calibration_table(results),
            tables.cost_table(results),
            tables.excluded_table(results),
            summary.left_out_table(results),
            tables.published_table(list(counts)),
        )
        parts += [table.markdown() for table in across if table is not None]
        parts += [
            "## How\n",
            "Intervals are 95 % bootstrap intervals over subjects; one subject has none. All models get the "
            "same prompts.\n",
            f"```sh\n{self.command}\n```\n",
            f"ultrasam {__version__}, {_versions()}.\n",
        ]
        return "\n".join(parts)

    def html(self, datasets: Sequence[EvaluationDataset], *, cases: bool = True) -> str:
        """The tables with plots.

        Args:
            datasets: the data, from which images of the worst cases are read again.
            cases: show the worst cases of the first model.
        """
        body = to_html(self.markdown())
        plots = []
        for kind in self.kinds:
            plots += [figures.bar_plot(self.results, kind), figures.size_plot(self.results, kind)]
            if any(
                max(map(len, r.rows(kind)["ious"].to_list()), default=0) > 1 for r in self.results
            ):
                plots.append(figures.click_curve_plot(self.results, kind))
        plots += [figures.reliability_plot(self.results, r) for r in self.results if len(r.table)]
        body += f"<h2>Plots</h2>\n{''.join(plots)}\n"
        first = self.results[0]
        if cases and first.kinds:
            kind = first.kinds[0]
            body += (
                f"<h2>Worst 20 cases of {html.escape(first.name)}, {kind}</h2>\n<p>Image with the object's "
                "box, ground truth, prediction, and error (false negatives green, false positives orange)."
                f"</p>\n{figures.worst_cases(first, kind, datasets)}\n"
            )
        return page(self.title, body)


def write_report(
    report: EvaluationReport,
    folder: Path,
    datasets: Sequence[EvaluationDataset],
    *,
    cases: bool = True,
) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` to a folder, and return their paths."""
    paths = folder / "report.md", folder / "report.html"
    texts = report.markdown(), report.html(datasets, cases=cases)
    for path, text in zip(paths, texts, strict=True):
        atomic_write(path, text)
    return paths


def _items(texts: Sequence[str]) -> str:
    return "".join(f"- {text}\n" for text in texts)


def _clicks_outside(results: Results, kind: str) -> str:
    outside = results.rows(kind)["click_outside"].to_numpy()
    fraction = float(outside.mean()) if len(outside) else 0.0
    return (
        "The first click is the object's center of mass; it lies outside the object in "
        f"{fraction:.1%} of cases.\n"
    )


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
