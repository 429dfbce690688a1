"""The annotator's page by keyboard, with changed keys, in both looks and on a tablet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.annotate.page.folders import SIZE, Truth
from tests.annotate.page.served import Server, click, dice, enter, masks, open_image, settle
from tests.web.browser import browser_page

pytestmark = pytest.mark.slow  # a server with nano, and a browser


def test_all_can_be_done_with_the_keyboard(page: Any, server: Server, truth: Truth) -> None:
    open_image(page, "a_still.png")
    page.locator("#canvas").focus()
    page.keyboard.press("k")
    x, y = truth.point()
    for key, steps in (("ArrowLeft", SIZE[1] / 2 - x), ("ArrowUp", SIZE[0] / 2 - y)):
        scale = page.evaluate("() => window.ultrasam.stage.scale")
        for _ in range(round(steps * scale / 16)):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    settle(page)
    assert dice(masks(server, "a_still.png")[1], truth.still) >= 0.85
    page.wait_for_function("() => document.querySelector('#told').textContent.includes('saved')")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()

    reached = set()
    for _ in range(80):
        page.keyboard.press("Escape")  # or Tab would go through the masks of the click
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
    assert {
        "tab-objects",
        "suggest",
        "done",
        "nothing",
        "note",
        "fold",
        "undo",
        "filter-text",
    } <= reached
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, canvas, [role]')]
          .filter((each) => each.checkVisibility())
          .filter((each) => !each.textContent.trim() && !each.labels?.length && !each.placeholder
            && !each.getAttribute('aria-label') && !each.title && !each.getAttribute('aria-labelledby'))
          .map((each) => each.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []


def test_a_key_can_be_changed_and_one_that_is_taken_is_refused(page: Any, server: Server) -> None:
    page.click("#tab-settings")
    row = page.locator("#shortcuts li", has_text="Brush").first.locator("button")
    row.click()
    page.keyboard.press("e")
    assert "E is the key of “Eraser”" in page.locator("#message-text").inner_text()
    row.click()
    page.keyboard.press("q")
    page.wait_for_function("() => document.querySelector('#shortcuts').innerText.includes('Q')")
    page.reload()
    page.evaluate("() => window.ultrasam.started")
    page.locator("#canvas").focus()
    page.keyboard.press("q")
    settle(page)
    assert page.locator("[data-tool=brush]").get_attribute("aria-checked") == "true"
    settings = server.ask("/v1/project")["settings"]
    server.ask("/v1/settings", {"shortcuts": {}}, "PATCH")
    assert settings["shortcuts"] == {"brush": "Q"}


@pytest.mark.parametrize(("look", "size"), [("dark", (1280, 800)), ("light", (1024, 700))])
def test_text_is_readable_and_targets_are_large(
    server: Server, truth: Truth, look: str, size: tuple[int, int]
) -> None:
    with browser_page(scheme="light", size=size) as page:
        enter(page, server)
        surface = "() => getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(surface) == "rgb(17, 20, 23)"  # dark, whatever the system is
        page.click("#tab-settings")
        page.select_option("#look", look)
        open_image(page, "c_cine.dcm")
        click(page, truth.point(0))
        page.keyboard.press("Control+z")
        settle(page)
        page.keyboard.press("Control+y")
        settle(page)
        for tab in ("objects", "readers", "data", "settings"):
            page.click(f"#tab-{tab}")
            assert page.evaluate(_LOW_CONTRAST) == []
            assert page.evaluate(_SMALL_TARGETS) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        outside = page.evaluate(
            """() => [...document.querySelectorAll('header > *, footer > *')]
              .filter((each) => each.checkVisibility())
              .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.id)"""
        )
        assert outside == []


# WCAG's relative luminance and contrast: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
_LOW_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility()
    && !each.closest(':disabled')
    && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((each) => {
    const [a, b] = [parse(getComputedStyle(each).color), behind(each)].map(luminance).sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), each.outerHTML.slice(0, 90)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


_SMALL_TARGETS = """() => [...document.querySelectorAll('button, select, input:not([type=checkbox])')]
  .filter((each) => each.checkVisibility())
  .map((each) => [each.getBoundingClientRect(), each.outerHTML.slice(0, 80)])
  .filter(([{ width, height }]) => width < 31.5 || height < 31.5).map(([, html]) => html)"""
