"""A small made-up evaluation that several files of tests look at."""

from __future__ import annotations

import pytest

from tests.evaluation import made_up
from ultrasam.evaluation.report.report import EvaluationReport
from ultrasam.evaluation.report.results import Results


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, ...]:
    folder = tmp_path_factory.mktemp("results")
    return tuple(
        made_up.write(folder, model, made_up.FEW_DATA, kinds=made_up.FEW_KINDS)
        for model in made_up.FEW_MODELS
    )


@pytest.fixture(scope="session")
def report(found: tuple[Results, ...]) -> EvaluationReport:
    return EvaluationReport("Made up", "ultrasam evaluate nano --data DIR", found)


@pytest.fixture(scope="session")
def page(report: EvaluationReport) -> str:
    return report.html([])
