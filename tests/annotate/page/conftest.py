"""A server of phantoms, and its page in a browser, for each test with a reader of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed")

from tests.annotate.page.folders import Truth, phantom_folder
from tests.annotate.page.served import Server, enter, served
from tests.web.browser import browser_page, chromium


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    chromium()
    return phantom_folder(tmp_path_factory.mktemp("annotated") / "scans")


@pytest.fixture(scope="module")
def running(truth: Truth) -> Iterator[Server]:
    with served(truth.folder) as found:
        yield found


@pytest.fixture
def server(running: Server, request: pytest.FixtureRequest) -> Server:
    """The server, asked by a reader of the test's own, who has drawn nothing."""
    running.work_as(request.node.name[-60:])  # its end tells the cases of a test apart
    return running


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    with browser_page() as found:
        enter(found, server)
        reader = server.cookies
        yield found
    server.cookies = reader
    server.leave()
