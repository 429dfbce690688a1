"""The OpenAPI description: with examples, and requests made up from it end in no internal error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.conftest import Api, Unmeasured, png
from tests.serve.listening import listening
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.serve.requests import PredictRequest, SourcedRequest


def test_it_describes_every_body_with_an_example(api: Api) -> None:
    described = api.client.get("/openapi.json").json()
    bodies = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"multipart/form-data", "application/json"}
    schemas = described["components"]["schemas"]
    for kind in (PredictRequest, SourcedRequest):
        examples = schemas[kind.__name__]["examples"]
        for example in examples:
            kind.model_validate_json(json.dumps(example))
    text = json.dumps(described)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    assert "#/$defs" not in text


schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, backend: TorchBackend
) -> Iterator[tuple[str, str]]:
    """The address of a server, and the id of an image that it has."""
    place: Path = tmp_path_factory.mktemp("described")
    (place / "a.png").write_bytes(png(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRASAM_CACHE", str(place / "cache"))
        with listening(Unmeasured(backend, name="small"), root=place) as running:
            sent = httpx.post(f"{running.address}/v1/uploads", content=png(2), trust_env=False)
            yield running.address, sent.json()["id"]


@pytest.mark.slow
def test_made_up_requests_end_in_no_internal_error(served: tuple[str, str]) -> None:
    address, id = served
    api = schemathesis.openapi.from_url(f"{address}/openapi.json")
    failures: dict[str, str] = {}
    tried = 0
    for result in api.get_all_operations():
        operation = result.ok()
        valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @settings(
            max_examples=60, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=valid | invalid)
        def run(case: Any) -> None:
            nonlocal tried
            tried += 1
            if "id" in (case.path_parameters or {}) and tried % 2:
                case.path_parameters["id"] = id
            answer = case.call(base_url=address)
            if answer.status_code >= 500:
                failures[f"{case.method} {case.path}"] = f"{case.as_curl_command()}: {answer.text}"
            elif answer.status_code >= 400:
                assert isinstance(answer.json()["detail"], str)

        run()
    assert not failures
    assert tried > 200
