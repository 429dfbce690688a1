"""The OpenAPI description: with examples, and requests made up from it end in no internal error."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.conftest import Api, Unmeasured, png
from tests.serve.listening import listening
from tests.servers import made_up_requests
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
    asked = itertools.count()

    def ask(case: Any) -> Any:
        if "id" in (case.path_parameters or {}) and next(asked) % 2:
            case.path_parameters["id"] = id  # of an image that is there
        return case.call(base_url=address)

    failures, tried = made_up_requests(api, ask, examples=60)
    assert not failures, failures
    assert tried > 200
