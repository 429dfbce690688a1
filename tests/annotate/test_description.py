"""The OpenAPI description, and requests made up from it: none ends in an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.annotate.conftest import page_over, write_images
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.app import create_app
from ultrasam.annotate.server.security import Access

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place: Path = tmp_path_factory.mktemp("described")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRASAM_CACHE", str(place / "cache"))
        folder = place / "images"
        folder.mkdir()
        write_images(folder, frames=3)
        annotator = Annotator.open(folder, model="random:nano", device="cpu")
        page = page_over(annotator)
        page.draw(page.id("a.png"))
        page.draw(page.id("cine.avi"), frame=1)
        names = ("testserver", "localhost")  # what schemathesis calls it
        access = Access("127.0.0.1", 80, annotator.project.secret, "anna", names=names)
        app = create_app(annotator, access)
        yield schemathesis.openapi.from_asgi("/v1/openapi.json", app)
        annotator.close()


# One of these has no end, and the other begins a training.
_LEFT_OUT = ("/v1/events", "/v1/train")


@pytest.mark.slow
def test_made_up_requests_end_in_no_internal_error(api: Any) -> None:
    """Each operation is tried by itself, so that one test says all that fail."""
    failures: dict[str, str] = {}
    tried = 0
    for result in api.get_all_operations():
        operation = result.ok()
        if operation.path in _LEFT_OUT:
            continue
        valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @settings(
            max_examples=25, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=valid | invalid)
        def run(case: Any) -> None:
            nonlocal tried
            tried += 1
            answer = case.call(headers={"X-UltraSam": "1"})
            if answer.status_code >= 500:
                failures[f"{case.method} {case.path}"] = f"{case.as_curl_command()}: {answer.text}"
            elif answer.status_code >= 400:
                assert isinstance(answer.json()["detail"], str)

        run()
    assert not failures, failures
    assert tried > 200
