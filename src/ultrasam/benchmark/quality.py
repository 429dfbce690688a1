"""Dice of a model in several runtimes on data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ultrasam.evaluation.models.registry import EvaluationModel
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import read_results
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.inference.predictor import Predictor
from ultrasam.runtimes.backend import Backend

_KINDS = ("box", "interior")


def dice_of(
    model: str, backends: Mapping[str, Backend], data: Sequence[str], *, limit: int | None
) -> dict[str, dict[str, float]]:
    """Mean Dice over all objects by prompt type, with the views of the weights, of each backend by name.

    Raises:
        DataError: A path is missing or contains no data set.
        EvaluationError: The model accepts neither boxes nor clicks.
    """
    datasets = open_evaluation_datasets(data, limit=limit)
    settings = EvaluationSettings(_KINDS)
    found = {}
    with TemporaryDirectory() as folder:
        for number, (name, backend) in enumerate(backends.items()):
            predictor = Predictor(backend)
            accepts = frozenset(predictor.accepts & {"box", "point"})
            evaluated = EvaluationModel(model, predictor, accepts)
            file = Path(folder) / f"{number}.jsonl"
            keys = run_evaluation(evaluated, datasets, file, settings=settings)
            results = read_results(file, name=name).of(keys)
            found[name] = {
                kind: float(results.rows(kind)["dice"].to_numpy().mean()) for kind in results.kinds
            }
    return found
