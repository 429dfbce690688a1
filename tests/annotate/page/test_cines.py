"""A cine in the annotator's page: propagated, corrected, accepted, played."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.annotate.page.folders import Truth
from tests.annotate.page.served import Server, click, dice, drag, masks, open_image, settle

pytestmark = pytest.mark.slow  # a server with nano, and a browser


def test_a_cine_is_propagated_corrected_and_accepted(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "c_cine.dcm")
    assert page.locator("#rate").inner_text() == "25.0 frames/s"
    click(page, truth.point(0))
    propagate(page)
    last = len(truth.cine) - 1
    page.keyboard.press("End")
    page.wait_for_function(f"() => window.ultrasam.session.frame === {last}")
    settle(page)
    (mask,) = masks(server, "c_cine.dcm", last).values()
    assert dice(mask, truth.cine[last]) >= 0.85
    facts = page.locator("#objects .facts").first
    assert facts.inner_text().startswith("propagated, not accepted")
    assert "artery" not in page.locator("#strip").get_attribute("aria-valuetext")
    assert "object 1 propagated" in page.locator("#strip").get_attribute("aria-valuetext")

    # A correction by hand is a key, and makes what lies after the first one stale.
    page.keyboard.press("b")
    drag(page, (480.0, 230.0), (620.0, 230.0))
    corrected = masks(server, "c_cine.dcm", last)[1]
    assert corrected[230, 600]
    page.wait_for_function(
        "() => window.ultrasam.session.objects.values().next().value.frames[5]?.shown === 'stale'"
    )
    propagate(page)
    assert np.array_equal(masks(server, "c_cine.dcm", last)[1], corrected)
    before = masks(server, "c_cine.dcm", last - 1)[1]
    assert before[230, 600]

    # Enter accepts the mask of a frame; undo takes the whole propagation back at once.
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => window.ultrasam.session.frame === {last - 1}")
    settle(page)
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("#objects .facts").first.inner_text().startswith("propagated, accepted")
    assert np.array_equal(masks(server, "c_cine.dcm", last - 1)[1], before)
    page.keyboard.press("Control+z")
    settle(page)
    page.keyboard.press("Control+z")
    settle(page)
    page.wait_for_function("() => document.querySelector('#redo').title.includes('Propagat')")
    assert not masks(server, "c_cine.dcm", last - 1)[1][230, 600]
    assert np.array_equal(masks(server, "c_cine.dcm", last)[1], corrected)


def test_a_cine_plays_with_its_masks_and_stops_where_it_is(
    page: Any, server: Server, truth: Truth
) -> None:
    open_image(page, "c_cine.dcm")
    click(page, truth.point(0))
    page.keyboard.press("r")
    page.wait_for_function(f"() => window.ultrasam.player.statistics.shown > {len(truth.cine)}")
    page.wait_for_function("() => window.ultrasam.stage.playing?.objects.length === 1")
    page.keyboard.press("r")
    page.wait_for_function("() => !window.ultrasam.player.playing")
    settle(page)
    frame = page.evaluate("() => window.ultrasam.player.frame")
    assert page.evaluate("() => window.ultrasam.session.frame") == frame
    assert page.locator("#frame").inner_text() == f"frame {frame} of 0–{len(truth.cine) - 1}"


def propagate(page: Any) -> None:
    """Propagate both ways, and wait until what it made is shown."""
    before = page.evaluate("() => window.ultrasam.jobs.jobs.size")
    page.keyboard.press("g")
    page.wait_for_function(
        f"() => window.ultrasam.jobs.jobs.size > {before} && !window.ultrasam.jobs.open.length"
    )
    settle(page)
