"""A suite: a YAML file of competitors, each with its data sets, such as the paper's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ultrasam.errors import EvaluationError, UltraSamError, first_validation_error, one_line
from ultrasam.evaluation.protocol import PromptKind
from ultrasam.extras import needs

with needs("Evaluation", extra="evaluate"):
    import yaml
    from pydantic import BaseModel, ConfigDict, Field, ValidationError

S = TypeVar("S", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Section):
    """One row of a table.

    Attributes:
        title: what it is called.
        model: the competitor (see `ultrasam.evaluation.models.registry`).
        datasets: its data sets; all where there are none.
        limit: most images of a data set, spread evenly over it, for one that is slow.
    """

    title: str
    model: str
    datasets: tuple[str, ...] = ()
    limit: int | None = Field(None, ge=1)


class EvaluationSuite(_Section):
    """A table's worth of evaluations."""

    title: str
    prompts: tuple[str, ...]
    entries: tuple[Entry, ...]


def read_checked(
    kind: type[S],
    path: Path,
    *,
    wrong: type[UltraSamError],
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda content: content,
) -> S:
    """A YAML file of keys, changed, as a ``kind``.

    Raises:
        wrong: missing, not such a file, or a key or value that can't be.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise wrong(f"{path} can't be read as a suite: {one_line(error)}.") from error
    if not isinstance(content, dict):
        raise wrong(f"{path} can't be read as a suite: it is no YAML file of keys and values.")
    try:
        return kind.model_validate(change(content))
    except ValidationError as error:
        raise wrong(f"{path}: {first_validation_error(error)}.") from error


def load_suite(path: Path) -> EvaluationSuite:
    """Read and check a suite.

    Raises:
        EvaluationError: missing, not YAML, an unknown key, or two entries of one title.
    """
    suite = read_checked(EvaluationSuite, path, wrong=EvaluationError)
    for kind in suite.prompts:
        PromptKind.parse(kind)
    titles = [entry.title for entry in suite.entries]
    if len(set(titles)) < len(titles) or not titles:
        raise EvaluationError(f"{path}: every entry needs a title of its own.")
    return suite


def suite_from_models(models: list[str], prompts: list[str]) -> EvaluationSuite:
    """A suite of competitors by name, on all data."""
    entries = tuple(Entry(title=model, model=model) for model in dict.fromkeys(models))
    return EvaluationSuite(title="Evaluation", prompts=tuple(prompts), entries=entries)
