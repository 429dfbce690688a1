"""Run a suite: what is wrong with it is told before anything runs, then one model is open at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from ultrasam.datasets.catalogue import dataset as described
from ultrasam.errors import DiskFullError, UltraSamError
from ultrasam.evaluation.models.registry import (
    check_model_name,
    declared_prompts,
    open_evaluation_model,
)
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.evaluation.runner import accepted_kinds, kinds_for, results_file, run_evaluation
from ultrasam.evaluation.sources import EvaluationDataset, subsample
from ultrasam.evaluation.suite import EvaluationEntry, EvaluationSuite
from ultrasam.progress import OnProgress

logger = logging.getLogger(__name__)
Progress = Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True, slots=True)
class Problems:
    """What is wrong with a suite, as far as its names tell.

    Attributes:
        names: by title, the entries whose model is unknown, missing, not installed or no repository, or whose
            data set is unknown.
        useless: by title, the entries whose model accepts none of the prompt types.
        unaccepted: a sentence for each prompt type that no model accepts.
    """

    names: Mapping[str, str]
    useless: Mapping[str, str]
    unaccepted: Sequence[str]

    @property
    def by_title(self) -> dict[str, str]:
        """What keeps entries from running."""
        return {**self.names, **self.useless}


def problems_of(suite: EvaluationSuite) -> Problems:
    """All that can be known to be wrong before anything runs; no weights are read."""
    names, useless = {}, {}
    accepted = dict.fromkeys(suite.prompts, False)
    known: dict[str, frozenset[str]] = {}
    for entry in suite.entries:
        kinds = suite.prompts_of(entry)
        try:
            check_model_name(entry.model)
            for name in entry.datasets:
                described(name)
            accepts = declared_prompts(entry.model)
        except UltraSamError as error:
            names[entry.title] = str(error)
            continue
        try:
            # A model that does not say may accept all of them.
            taken = kinds if accepts is None else _names(kinds_for(entry.model, accepts, kinds))
        except UltraSamError as error:
            useless[entry.title] = str(error)
            taken = ()
        accepted |= dict.fromkeys(taken, True)
        known |= {} if accepts is None else {entry.model: accepts}
    only = ", ".join(
        f"{n} accepts only {' and '.join(sorted(a))} prompts" for n, a in known.items()
    )
    refused = [kind for kind, taken in accepted.items() if not taken] if known else []
    return Problems(names, useless, [f"No model accepts {kind}: {only}." for kind in refused])


def _names(kinds: Sequence[PromptKind]) -> tuple[str, ...]:
    return tuple(kind.name for kind in kinds)


@dataclass(frozen=True, slots=True)
class _Job:
    """An entry that can run, and its data."""

    entry: EvaluationEntry
    datasets: Sequence[EvaluationDataset]
    settings: EvaluationSettings


def run_suite(
    suite: EvaluationSuite,
    datasets: Sequence[EvaluationDataset],
    settings: EvaluationSettings,
    out: Path,
    *,
    problems: Problems,
    strict: bool,
    progress: Progress,
    device: str | None = None,
    runtime: str | None = None,
) -> tuple[list[Results], list[str]]:
    """Evaluate all entries that can be evaluated, one model at a time; log what is left out as it is known.

    Args:
        problems: from `problems_of`; these entries do not run. The caller tells them at once.
        strict: whether results of other weights or settings in ``out`` raise; else they are missing, too.
        progress: from an entry's title, a context that shows its progress.

    Returns:
        The results, and a sentence for each model and data set that is missing.

    Raises:
        UltraSamError: The only entry cannot be evaluated; with ``strict``, any evaluation fails.
        DiskFullError: The disk is full; what is done stays.
    """
    missing: list[str] = []

    def leave_out(title: str, reason: str) -> None:
        missing.append(f"{title}: {reason}")
        logger.warning("Left out: %s", missing[-1])

    jobs, known = [], problems.by_title
    for entry in suite.entries:
        if entry.title in known:
            missing.append(f"{entry.title}: {known[entry.title]}")
            continue
        names = {described(name).info.id for name in entry.datasets}
        selection = [subsample(d, entry.limit) for d in datasets if not names or d.name in names]
        if absent := sorted(names - {data.name for data in selection}):
            leave_out(entry.title, f"--data has no {', '.join(absent)}.")
        if selection:
            entry_settings = replace(settings, prompts=suite.prompts_of(entry))
            jobs.append(_Job(entry, selection, entry_settings))
    all_results = []
    for job in jobs:
        title = job.entry.title
        try:
            all_results.append(_run(job, out, progress, device, runtime))
        except _NotOpenedError as error:
            if len(suite.entries) == 1:
                raise error.reason from None
            leave_out(title, str(error.reason))
        except UltraSamError as error:
            if strict or isinstance(error, DiskFullError):
                raise
            leave_out(title, str(error))
    return all_results, missing


class _NotOpenedError(Exception):
    """A model cannot be opened, or accepts none of the prompt types."""

    def __init__(self, reason: UltraSamError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _run(
    job: _Job, out: Path, progress: Progress, device: str | None, runtime: str | None
) -> Results:
    """The results of one entry.

    Its model is free when this returns or fails: three large ones may not fit into memory together.
    """
    title = job.entry.title
    file = results_file(out, title)
    try:
        model = open_evaluation_model(job.entry.model, device=device, runtime=runtime)
        accepted_kinds(model, job.settings.prompts)
    except UltraSamError as error:
        raise _NotOpenedError(error) from None
    with progress(title) as on_progress:
        keys = run_evaluation(
            model, job.datasets, file, settings=job.settings, on_progress=on_progress
        )
    return read_results(file, name=title).of(keys)
