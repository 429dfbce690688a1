"""The evaluation report, as Markdown and as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ultrasam.evaluation.report import conclusion, first_screen, summary
from ultrasam.evaluation.report.absent import Absence, absence_section, absences
from ultrasam.evaluation.report.cases import cases_section
from ultrasam.evaluation.report.choice import choice_section
from ultrasam.evaluation.report.clicks import click_section
from ultrasam.evaluation.report.clinical import ClinicalErrors, clinical_section
from ultrasam.evaluation.report.duplicates import duplicate_section
from ultrasam.evaluation.report.failures import failure_section
from ultrasam.evaluation.report.groups import dataset_groups, main_groups, training_sentences
from ultrasam.evaluation.report.prompts import all_kinds
from ultrasam.evaluation.report.protocols import protocol_section
from ultrasam.evaluation.report.provenance import cost_table, how_section
from ultrasam.evaluation.report.published import published_table
from ultrasam.evaluation.report.reliability import reliability_section
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.robustness import robustness_section
from ultrasam.evaluation.report.subgroups import subgroup_section
from ultrasam.evaluation.report.tables import difference_table
from ultrasam.evaluation.sources import EvaluationDataset
from ultrasam.files import atomic_write
from ultrasam.reporting.document import Block, Document, Section, section
from ultrasam.reporting.markdown import escape
from ultrasam.text import counted


@dataclass(frozen=True)
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
        return all_kinds(self.results)

    @cached_property
    def first(self) -> tuple[Block, ...]:
        """What was evaluated, the conclusion, and the table that supports it."""
        results = self.results
        groups = main_groups(results)
        table = first_screen.compact_table(results, self._absences, self._errors, groups)
        count = counted(len(self.missing), "model or data set", "models and data sets")
        missing = f"**Missing:** {count}, named below.\n"
        return (
            f"{conclusion.evaluated(results)}\n",
            _items(conclusion.conclusion(results, groups)),
            *([missing] if self.missing else []),
            table,
        )

    @cached_property
    def beside(self) -> tuple[Block, ...]:
        """The plot beside the table, what the columns mean, and what is in no mean."""
        results = self.results
        left_out = summary.left_out(results, self.not_chosen)
        notes = [
            first_screen.compact_note(results, self._absences, self._errors),
            " ".join(training_sentences(results)),
            f"**Not in these means:** {summary.in_short(left_out)}" if left_out else "",
        ]
        plot = first_screen.dice_plot(results)
        text = "\n\n".join(note for note in notes if note)
        return *([plot] if plot is not None else []), f"{text}\n"

    @cached_property
    def _absences(self) -> list[Absence]:
        return absences(self.results)

    @cached_property
    def _errors(self) -> ClinicalErrors:
        return ClinicalErrors(self.results)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Everything below the first screen."""
        results = self.results
        images = [r.images for r in results]
        missing = (_items([escape(text) for text in self.missing]),)
        parts = [
            Section("Missing", missing, says="asked for and not evaluated") if self.missing else None,
            self._all_groups(),
            protocol_section(results, "exact"),
            protocol_section(results, "human"),
            section(
                "Differences", difference_table(results),
                says=f"{results[0].name} against each other model, paired, with p values",
            ),
            robustness_section(results),
            click_section(results),
            failure_section(results),
            absence_section(results),
            choice_section(results),
            reliability_section(results),
            clinical_section(self._errors),
            subgroup_section(results),
            duplicate_section(images),
            section(
                "Published results", published_table(results),
                says="what others measured on these data sets",
            ),
            section("Run time", cost_table(results), says="per image"),
            summary.excluded_section(results, summary.left_out(results, self.not_chosen)),
            how_section(results, self.command),
        ]  # fmt: skip
        return tuple(part for part in parts if part is not None)

    def _all_groups(self) -> Section | None:
        """The conclusion for all groups of data sets, if the first screen has not all of them."""
        results = self.results
        groups = dataset_groups(results)
        if len(groups) <= len(main_groups(results)):
            return None
        return section(
            "All groups of data sets",
            _items(conclusion.conclusion(results)),
            first_screen.compact_table(results, self._absences, self._errors, groups),
            says="the conclusion for each group of data sets by who has seen them in training",
        )

    def markdown(self) -> str:
        """All tables in Markdown."""
        return Document(self.title, self.first, self.sections, self.beside).markdown()

    def html(self, datasets: Sequence[EvaluationDataset], *, cases: bool = True) -> str:
        """The tables with plots.

        Args:
            datasets: the data, from which images of the worst cases are read again.
            cases: show the worst cases of the first model.
        """
        sections = self.sections
        first = self.results[0]
        if cases and first.kinds:
            worst = cases_section(first, first.kinds[0], datasets)
            sections = (*sections, *([worst] if worst is not None else []))
        return Document(self.title, self.first, sections, self.beside).html()


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
