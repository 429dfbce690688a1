"""Evaluation suites: YAML files that list models and their data sets, such as the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ultrasam.errors import EvaluationError
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.extras import needs

with needs("Evaluation", extra="evaluate"):
    import yaml  # noqa: F401
    from pydantic import Field

from ultrasam.settings import StrictModel, read_yaml, validate
from ultrasam.text import counted


class EvaluationEntry(StrictModel):
    """One row of a table.

    Attributes:
        title: row label.
        model: model name (see `ultrasam.evaluation.models.registry`).
        prompts: its prompt types, of those of the suite; if empty, all. For slow models.
        datasets: names of its data sets; if empty, all.
        limit: maximum number of items per data set, of those of the suite, spread evenly over it; for slow
            models.
    """

    title: str
    model: str
    prompts: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    limit: int | None = Field(None, ge=1)


class EvaluationSuite(StrictModel):
    """Models to evaluate for one report.

    Attributes:
        title: heading of the report.
        prompts: prompt types (see `ultrasam.evaluation.prompt_types.PromptKind`).
        seed: seed of all random prompts.
        repeats: how often each object is prompted by a random prompt type.
        limit: maximum number of items per data set, spread evenly over it.
        sources: ids of the published data sets from which data sets of other names come, so that the report
            knows which models have seen them.
    """

    title: str
    prompts: tuple[str, ...]
    seed: int = Field(0, ge=0)
    repeats: int = Field(3, ge=1)
    limit: int | None = Field(None, ge=1)
    sources: dict[str, str] = Field(default_factory=dict)
    entries: tuple[EvaluationEntry, ...]

    def prompts_of(self, entry: EvaluationEntry) -> tuple[str, ...]:
        """The prompt types that an entry is evaluated with, in the order of the suite."""
        return tuple(kind for kind in self.prompts if not entry.prompts or kind in entry.prompts)

    def limits(self) -> list[str]:
        """A sentence for each entry that is evaluated on fewer images, or with fewer prompt types."""
        found = []
        for entry in self.entries:
            parts = (
                []
                if entry.limit is None
                else [f"at most {counted(entry.limit, 'image')} per data set"]
            )
            if len(kinds := self.prompts_of(entry)) < len(self.prompts):
                parts.append(f"only the prompts {', '.join(kinds)}")
            if parts:
                found.append(f"{entry.title}: {' and '.join(parts)}.")
        return found


def load_suite(path: Path) -> EvaluationSuite:
    """Read and validate a suite.

    Raises:
        EvaluationError: The file is missing or not YAML, a key or a prompt type is unknown, two entries share
            a title, or an entry has a prompt type that the suite lacks.
    """
    content = read_yaml(path, what="suite", error=EvaluationError)
    suite = validate(EvaluationSuite, content, source=str(path), error=EvaluationError)
    for kind in suite.prompts:
        PromptKind.parse(kind)
    if not suite.prompts:
        raise EvaluationError(f"{path} has no prompt types; list at least one under 'prompts'.")
    titles = [entry.title for entry in suite.entries]
    if not titles:
        raise EvaluationError(f"{path} has no entries; list at least one model.")
    for entry in suite.entries:
        if others := [kind for kind in entry.prompts if kind not in suite.prompts]:
            raise EvaluationError(
                f"{path}: '{entry.title}' has prompt type '{others[0]}', which the suite lacks; add it "
                "to the suite's 'prompts'."
            )
    if len(set(titles)) < len(titles):
        raise EvaluationError(f"{path}: two entries share a title; give each its own.")
    return suite.model_copy(update={"sources": published_sources(suite.sources)})


def published_sources(sources: Mapping[str, str]) -> dict[str, str]:
    """Data sets by name, with the ids of the published data sets that they come from, given any of their
    names.

    Raises:
        DataError: There is no published data set of that name.
    """
    from ultrasam.datasets.catalogue import find_facts  # imports all readers

    return {name: find_facts(source).id for name, source in sources.items()}


def suite_from_models(models: list[str], prompts: list[str]) -> EvaluationSuite:
    """A suite of models by name, each evaluated on all data."""
    entries = tuple(EvaluationEntry(title=model, model=model) for model in dict.fromkeys(models))
    return EvaluationSuite(title="Evaluation", prompts=tuple(prompts), entries=entries)
