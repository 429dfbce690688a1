"""Who may ask: who has the token, or programs of this machine where there is none; never another site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.conftest import Api, FakeModel, api_over, png

TOKEN = "a-token-of-a-server"


def fake() -> FakeModel:
    model = FakeModel()
    model.gate.set()
    return model


@pytest.fixture
def locked(cache_folder: Path) -> Iterator[Api]:
    with api_over(fake(), token=TOKEN, host="0.0.0.0") as running:
        yield running


@pytest.fixture
def local(cache_folder: Path) -> Iterator[Api]:
    with api_over(fake()) as running:
        yield running


@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/openapi.json", "/nothing"])
def test_without_the_token_nothing_is_told(locked: Api, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = locked.client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    known = locked.client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
    assert known.status_code in (200, 404)


def test_an_image_without_the_token_is_not_taken(locked: Api) -> None:
    content = png(size=(8, 10))
    assert locked.predict(content).status_code == 401
    known = {"authorization": f"Bearer {TOKEN}"}
    assert locked.predict(content, headers=known).status_code == 200


def test_health_and_readiness_need_no_token(locked: Api) -> None:
    assert locked.client.get("/health").status_code == 200
    assert locked.client.get("/ready").status_code == 200


def test_guessing_is_slowed_down(locked: Api) -> None:
    for _ in range(10):
        locked.client.get("/v1/model", headers={"authorization": "Bearer guess"})
    answer = locked.client.get("/v1/model", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8418", "127.0.0.1:1"])
def test_without_a_token_another_host_is_refused(local: Api, host: str) -> None:
    assert local.client.get("/v1/model", headers={"host": host}).status_code == 421


def test_with_a_token_any_host_is_good(locked: Api) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "segment.example"}
    assert locked.client.get("/v1/model", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}]
)
def test_requests_of_other_sites_are_refused(local: Api, headers: dict[str, str]) -> None:
    assert local.predict(png(size=(8, 10)), headers=headers).status_code == 403


def test_every_answer_forbids_sniffing_and_storing(local: Api) -> None:
    for answer in (local.client.get("/health"), local.predict(b"x"), local.client.get("/no")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
