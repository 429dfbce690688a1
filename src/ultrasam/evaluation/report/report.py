"""The report of an evaluation: Markdown, and one HTML page that needs nothing else."""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ultrasam._version import __version__
from ultrasam.evaluation.report import figures, tables
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.evaluation.sources import Collection
from ultrasam.files import atomic_write
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import escape, to_html

_PACKAGES = ("torch", "numpy", "scipy", "pycocotools", "opencv-python-headless", "transformers")


@dataclass(frozen=True, slots=True)
class Report:
    """What a report tells.

    Attributes:
        title: its first heading.
        command: that made it.
        results: of all competitors, the one that others are compared with first.
        missing: what was asked for and not to be had, one sentence each.
    """

    title: str
    command: str
    results: tuple[Results, ...]
    missing: tuple[str, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """Kinds of prompts that any competitor took, in the order asked for."""
        return list(dict.fromkeys(kind for r in self.results for kind in r.kinds))

    def markdown(self) -> str:
        """All tables."""
        results = self.results
        counts = objects_per_dataset(results)
        parts = [
            f"# {escape(self.title)}\n",
            f"{sum(counts.values())} objects of {len(counts)} data sets. Intervals are 95 %, by bootstrap "
            "over subjects. Every competitor got the same prompts.\n",
            f"```sh\n{self.command}\n```\n",
            f"ultrasam {__version__}, {_versions()}.\n",
        ]
        if self.missing:
            parts += ["## Missing\n", "".join(f"- {escape(text)}\n" for text in self.missing)]
        for kind in self.kinds:
            able = [r for r in results if kind in r.kinds]
            parts.append(f"## Prompt: {kind}\n")
            if kind.startswith("point"):
                parts.append(_missed(able[0], kind))
            parts += [
                tables.dataset_table(able, kind, "dice", f"Dice, {kind}").markdown(),
                tables.metric_table(able, kind).markdown(),
                tables.structure_table(able, kind).markdown(),
            ]
        parts.append("## Across prompts\n")
        across = (
            tables.difference_table(results),
            tables.click_table(results),
            tables.calibration_table(results),
            tables.cost_table(results),
            tables.excluded_table(results),
            tables.published_table(),
        )
        parts += [table.markdown() for table in across if table is not None]
        return "\n".join(parts)

    def html(self, collections: Sequence[Collection], *, cases: bool = True) -> str:
        """The tables, with plots and, where ``cases`` are wanted, the first competitor's worst ones, whose
        images are read again."""
        body = to_html(self.markdown())
        drawn = []
        for kind in self.kinds:
            drawn += [figures.bars(self.results, kind), figures.size_plot(self.results, kind)]
            if any(
                max(map(len, r.of(kind)["ious"].to_list()), default=0) > 1 for r in self.results
            ):
                drawn.append(figures.click_curve_plot(self.results, kind))
        drawn += [figures.reliability(r) for r in self.results if len(r.table)]
        body += f"<h2>Plots</h2>\n{''.join(drawn)}\n"
        first = self.results[0]
        if cases and first.kinds:
            kind = first.kinds[0]
            body += (
                f"<h2>The worst 20 of {html.escape(first.name)}, {kind}</h2>\n<p>Image with the object's "
                "box, truth, prediction, error (missed green, added orange).</p>\n"
                f"{figures.worst(first, kind, collections)}\n"
            )
        return page(self.title, body)


def write_report(
    report: Report, folder: Path, collections: Sequence[Collection], *, cases: bool = True
) -> tuple[Path, Path]:
    """``report.md`` and ``report.html`` in a folder."""
    paths = folder / "report.md", folder / "report.html"
    texts = report.markdown(), report.html(collections, cases=cases)
    for path, text in zip(paths, texts, strict=True):
        atomic_write(path, text)
    return paths


def _missed(results: Results, kind: str) -> str:
    rows = results.of(kind)
    share = rows["misses"].mean() if len(rows) else 0
    return (
        f"The first click is the object's center of mass; {float(share or 0):.1%} of them lie outside their "  # type: ignore[arg-type]
        "object.\n"
    )


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
