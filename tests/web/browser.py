"""A real Chromium on a served site, with a log of all requests."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 300_000  # ms; a loaded machine compiles 14 MB of WebAssembly slowly


def chromium() -> str:
    """The path of Chromium; skips the test where it or Playwright is missing."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        # Some distributions install a script that only asks for another package.
        if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return found
    pytest.skip("Chromium is not installed")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a plain static server, as `python -m http.server` is: without headers of ours."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}/"
        finally:
            server.shutdown()


@contextmanager
def browser_page(
    *,
    scheme: str = "dark",
    size: tuple[int, int] = (1280, 800),
    first: str = "",
    touch: bool = False,
) -> Iterator[Any]:
    """An empty page in a new Chromium.

    Args:
        scheme: the colors that the system prefers.
        size: of the window, in pixels.
        first: JavaScript that runs before each page's own.
        touch: fingers touch the screen.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
            accept_downloads=True,
            has_touch=touch,
        )
        context.set_default_timeout(_PATIENCE)
        context.add_init_script(first)
        try:
            yield watched(context.new_page())
        finally:
            browser.close()


def watched(page: Any) -> Any:
    """The page, whose messages and errors are printed."""
    page.on("console", lambda message: print(f"console: {message.text}"))
    page.on("pageerror", lambda error: print(f"error: {error}"))
    return page


@contextmanager
def opened(
    address: str, *, scheme: str = "dark", first: str = ""
) -> Iterator[tuple[Any, list[str]]]:
    """The loaded page in a new Chromium, and the list of addresses that it asks for.

    Args:
        first: JavaScript that runs before the page's own.
    """
    with browser_page(scheme=scheme, first=first) as page:
        requests: list[str] = []
        page.context.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        loaded(page)
        yield page, requests


def loaded(page: Any) -> None:
    """Wait until the model is loaded, which the page's one reload may delay."""
    page.wait_for_function(
        "() => window.ultrasam && document.querySelector('#state').textContent.startsWith('nano')"
        " || !document.querySelector('#message').hidden"
    )
    assert page.locator("#message").is_hidden(), page.locator("#message").inner_text()


def settle(page: Any) -> None:
    """Wait until the picture is read and all clicks are answered."""
    page.evaluate("async () => { await window.ultrasam.ready; await window.ultrasam.busy; }")


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the picture lies on the page."""
    place = page.evaluate(
        "([x, y]) => { const c = window.ultrasam.canvas, r = c.element.getBoundingClientRect();"
        " return [r.left + c.x + x * c.scale, r.top + c.y + y * c.scale]; }",
        [x, y],
    )
    return place[0], place[1]
