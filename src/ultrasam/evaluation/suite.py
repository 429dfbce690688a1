"""A suite: a YAML file of competitors, each with its data sets, such as the paper's tables."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ultrasam.errors import EvaluationError
from ultrasam.evaluation.protocol import PromptKind


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Section):
    """One row of a table.

    Attributes:
        title: what it is called.
        model: the competitor (see `ultrasam.evaluation.competitors`).
        datasets: its data sets; all where there are none.
        limit: most images of a data set, spread evenly over it, for one that is slow.
    """

    title: str
    model: str
    datasets: tuple[str, ...] = ()
    limit: int | None = Field(None, ge=1)


class Suite(_Section):
    """A table's worth of evaluations."""

    title: str
    prompts: tuple[str, ...]
    entries: tuple[Entry, ...]


def load_suite(path: Path) -> Suite:
    """Read and check a suite.

    Raises:
        EvaluationError: missing, not YAML, an unknown key, or two entries of one title.
    """
    try:
        suite = Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise EvaluationError(f"{path} can't be read as a suite: {text}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationError(f"{path}: {where or 'the file'}: {first['msg']}.") from error
    for kind in suite.prompts:
        PromptKind.parse(kind)
    titles = [entry.title for entry in suite.entries]
    if len(set(titles)) < len(titles) or not titles:
        raise EvaluationError(f"{path}: every entry needs a title of its own.")
    return suite


def suite_of(models: list[str], prompts: list[str]) -> Suite:
    """A suite of competitors by name, on all data."""
    entries = tuple(Entry(title=model, model=model) for model in dict.fromkeys(models))
    return Suite(title="Evaluation", prompts=tuple(prompts), entries=entries)
