"""The annotator's page for others on the network: a token, a name, and a cookie from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.annotate.page.folders import phantom_folder
from tests.annotate.process import started
from tests.web.browser import browser_page, chromium

pytestmark = pytest.mark.slow  # a server with a model, and a browser


def test_a_token_and_a_name_open_the_page_and_are_asked_for_once(tmp_path: Path) -> None:
    chromium()
    phantom_folder(tmp_path / "scans", frames=2)
    with started(tmp_path / "scans", "--host", "0.0.0.0") as server, browser_page() as page:
        token = server.token
        address = f"http://127.0.0.1:{server.root.rpartition(':')[2]}/"
        page.goto(address)
        page.wait_for_selector("#login")
        assert page.locator("#login-token").is_visible()
        submit(page, "bea", "not-the-token")
        page.wait_for_function(
            "() => document.querySelector('#login-text').innerText.includes('token')"
        )
        assert page.locator("#login").is_visible()
        assert page.evaluate("() => window.ultrasam.session.project") is None
        submit(page, "bea", token)
        page.evaluate("() => window.ultrasam.started")
        assert page.locator("#login").is_hidden()
        assert page.evaluate("() => window.ultrasam.session.project.reader") == "bea"

        # Later the cookie is enough; the token is kept nowhere that a script can read.
        page.reload()
        page.evaluate("() => window.ultrasam.started")
        assert page.locator("#login").is_hidden()
        kept = page.evaluate(
            "() => JSON.stringify([{ ...localStorage }, document.cookie, location.href])"
        )
        assert token not in kept
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"


def test_the_address_with_the_token_needs_only_a_name_and_forgets_it(tmp_path: Path) -> None:
    chromium()
    phantom_folder(tmp_path / "scans", frames=2)
    with started(tmp_path / "scans", "--host", "0.0.0.0") as server, browser_page() as page:
        requests: list[str] = []
        page.context.on("request", lambda request: requests.append(request.url))
        port = server.root.rpartition(":")[2]
        page.goto(f"http://127.0.0.1:{port}/#token={server.token}")
        page.wait_for_selector("#login")
        assert page.evaluate("() => location.hash") == ""
        page.fill("#login-reader", "bea")
        page.click("#login button")
        page.evaluate("() => window.ultrasam.started")
        assert page.evaluate("() => window.ultrasam.session.project.reader") == "bea"
        assert requests
        assert not [one for one in requests if server.token in one]


def submit(page: Any, reader: str, token: str) -> None:
    page.fill("#login-reader", reader)
    page.fill("#login-token", token)
    page.click("#login button")
