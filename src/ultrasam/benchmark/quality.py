"""Dice of a model in several runtimes on data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError
from ultrasam.evaluation.models.registry import EvaluationModel
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import read_results
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import EvaluationDataset, open_evaluation_datasets
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
    found = object_dice(model, backends, datasets)
    return {
        name: {kind: float(values.mean()) for kind, values in kinds.items()}
        for name, kinds in found.items()
    }


def object_dice(
    model: str, backends: Mapping[str, Backend], datasets: Sequence[EvaluationDataset]
) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """Dice of each object and prompt, by prompt type, of each backend by name; all get the same prompts.

    Raises:
        DataError: No object can be segmented, or not the same in all.
        EvaluationError: The model accepts neither boxes nor clicks.
    """
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
            found[name] = {kind: results.rows(kind)["dice"].to_numpy() for kind in results.kinds}
    counts = {tuple(len(values) for values in kinds.values()) for kinds in found.values()}
    if len(counts) != 1 or 0 in counts.pop():
        names = ", ".join(data.name for data in datasets)
        raise DataError(
            f"Dice cannot be compared on {names}: there is no object, or an image failed in one runtime only."
        )
    return found
