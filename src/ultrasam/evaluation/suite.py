"""Evaluation suites: YAML files that list models and their data sets, such as the paper's tables."""

from __future__ import annotations

from pathlib import Path

from ultrasam.errors import EvaluationError
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.extras import needs

with needs("Evaluation", extra="evaluate"):
    import yaml  # noqa: F401
    from pydantic import Field

from ultrasam.settings import StrictModel, read_yaml, validate


class EvaluationEntry(StrictModel):
    """One row of a table.

    Attributes:
        title: row label.
        model: model name (see `ultrasam.evaluation.models.registry`).
        datasets: names of its data sets; if empty, all.
        limit: maximum number of items per data set, spread evenly over it; for slow models.
    """

    title: str
    model: str
    datasets: tuple[str, ...] = ()
    limit: int | None = Field(None, ge=1)


class EvaluationSuite(StrictModel):
    """Models to evaluate for one report."""

    title: str
    prompts: tuple[str, ...]
    entries: tuple[EvaluationEntry, ...]


def load_suite(path: Path) -> EvaluationSuite:
    """Read and validate a suite.

    Raises:
        EvaluationError: The file is missing or not YAML, a key or a prompt type is unknown, or two entries
            share a title.
    """
    content = read_yaml(path, what="suite", error=EvaluationError)
    suite = validate(EvaluationSuite, content, source=str(path), error=EvaluationError)
    for kind in suite.prompts:
        PromptKind.parse(kind)
    titles = [entry.title for entry in suite.entries]
    if not titles:
        raise EvaluationError(f"{path} has no entries; list at least one model.")
    if len(set(titles)) < len(titles):
        raise EvaluationError(f"{path}: two entries share a title; give each its own.")
    return suite


def suite_from_models(models: list[str], prompts: list[str]) -> EvaluationSuite:
    """A suite of models by name, each evaluated on all data."""
    entries = tuple(EvaluationEntry(title=model, model=model) for model in dict.fromkeys(models))
    return EvaluationSuite(title="Evaluation", prompts=tuple(prompts), entries=entries)
