"""The YAML file of a suite of fine-tunings. Importing this imports no network, so that a wrong key is
reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from ultrasam.downstream.settings import (
    RENAMED,
    ClassifierSettings,
    InstanceSettings,
    RegionSettings,
)
from ultrasam.downstream.targets import Labels
from ultrasam.errors import RecipeError
from ultrasam.settings import StrictModel, deep_merge, read_yaml, validate

TASKS = ("classify", "regions", "instances")
_RENAMED = {
    "prompted": "regions",
    "segment": "instances",
    "initialisations": "initializations",
    **{f"{task}.{old}": f"{task}.{new}" for task in TASKS for old, new in RENAMED.items()},
}


class Initialization(StrictModel):
    """An initialization to compare.

    Attributes:
        title: row label.
        init: model name (see `ultrasam.load`).
        tasks: tasks to run; if empty, all tasks of the suite.
    """

    title: str
    init: str
    tasks: tuple[str, ...] = ()


class BenchmarkSuite(StrictModel):
    """Fine-tunings to compare.

    Attributes:
        datasets: by their names; all of the data if there are none.
        held_out: fraction of the subjects that is tested if a source has no test split.
        labels: an object's class is its structure's name, or its image's class.
        classify, regions, instances: settings of the tasks; a task without is left out.
    """

    title: str
    datasets: tuple[str, ...] = ()
    held_out: float = Field(0.2, gt=0, lt=1)
    labels: Labels = "image"
    initializations: tuple[Initialization, ...]
    classify: ClassifierSettings | None = None
    regions: RegionSettings | None = None
    instances: InstanceSettings | None = None

    def runs(self) -> Iterator[tuple[str, Initialization]]:
        """The tasks that there are settings for, each with the initializations that take it."""
        for task in TASKS:
            if getattr(self, task) is not None:
                for start in self.initializations:
                    if not start.tasks or task in start.tasks:
                        yield task, start


def load_suite(path: Path, overrides: dict[str, Any]) -> BenchmarkSuite:
    """Read and check a suite; ``overrides`` are merged into it.

    Raises:
        RecipeError: missing, not YAML, an unknown key or task, or two rows of one title.
    """
    content = deep_merge(read_yaml(path, what="suite"), overrides)
    suite = validate(BenchmarkSuite, content, source=str(path), renamed=_RENAMED)
    titles = [start.title for start in suite.initializations]
    if not titles:
        raise RecipeError(f"{path} has no initializations; list at least one.")
    if len(set(titles)) < len(titles):
        raise RecipeError(f"{path}: two initializations share a title; give each its own.")
    unknown = {task for start in suite.initializations for task in start.tasks} - set(TASKS)
    if unknown:
        raise RecipeError(
            f"{path}: unknown task '{min(unknown)}'; the tasks are {', '.join(TASKS)}."
        )
    if not any(getattr(suite, task) for task in TASKS):
        raise RecipeError(
            f"{path} has no task; add settings for at least one of {', '.join(TASKS)}."
        )
    return suite
