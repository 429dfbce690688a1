"""The OpenAPI description, and requests made up from it: none ends in an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.annotate.conftest import page_over, write_images
from tests.servers import made_up_requests
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.app import create_app
from ultrasam.annotate.server.security import Access

schemathesis = pytest.importorskip("schemathesis")


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
    failures, tried = made_up_requests(
        api, lambda case: case.call(headers={"X-UltraSam": "1"}), examples=25, left_out=_LEFT_OUT
    )
    assert not failures, failures
    assert tried > 200
