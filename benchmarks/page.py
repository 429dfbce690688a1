"""Claim: in a browser, a click has its mask on the screen within 150 ms (95th percentile), and nothing leaves
the computer.

Peer: none; the target is the page's own. Measured in Chromium with the picture encoded: from the click, with
three candidates to choose from, to the frame of the screen that shows the mask.

    ultrasam export nano --to web -o site
    python benchmarks/page.py site [--clicks 60] [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from ultrasam.hardware import processor
from ultrasam.images.masks import decode_rle
from ultrasam.phantom.acquisition import simulate

SAMPLE = 2018  # the seed of the page's sample picture
_CLICK = """async ([x, y]) => {
  const { canvas } = window.ultrasam;
  document.querySelector('#new').click();
  await window.ultrasam.busy;
  const start = performance.now();
  canvas.on.click({ x, y, label: 1 });
  await window.ultrasam.busy;
  await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  return [performance.now() - start, document.querySelector('#message').hidden];
}"""
_BOX = """async (box) => {
  window.ultrasam.canvas.on.box(box);
  await window.ultrasam.busy;
}"""
_RESULTS = """async () => {
  const { encodeRle } = await import('./saving/rle.js');
  const [{ width, height, objects }] = window.ultrasam.pictures[0].results();
  return objects.map(({ mask }) => ({ size: [height, width], counts: encodeRle(mask, width, height) }));
}"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=Path)
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    phantom = simulate(SAMPLE, size=(680, 840))
    handler = functools.partial(_Handler, directory=str(given.site))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as p,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_address[1]}/"
        browser = p.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        requests: list[str] = []
        page.context.on("request", lambda request: requests.append(request.url))
        page.set_default_timeout(300_000)
        page.goto(address)
        page.wait_for_function(
            "() => document.querySelector('#privacy-text').textContent.includes('without a network')"
        )
        page.click("#sample")
        page.wait_for_function("() => window.ultrasam.pictures.length === 1")
        page.evaluate("() => window.ultrasam.ready")
        print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"Chromium {browser.version}; {page.locator('#privacy-text').inner_text()}")
        report_dice(page, phantom)
        report_latency(page, phantom, given.clicks)
        elsewhere = [
            url for url in requests if url.startswith("http") and not url.startswith(address)
        ]
        print(f"requests: {len(requests)}, of which elsewhere {len(elsewhere)}")
        browser.close()
        server.shutdown()


def report_dice(page: Any, phantom: Any) -> None:
    """Dice with the truth of each structure of the sample, by a click at its center and by its box."""
    for name, truth in zip(phantom.names, phantom.masks, strict=True):
        ys, xs = np.nonzero(truth)
        box = [int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]
        scores = []
        for code, prompt in ((_CLICK, [float(xs.mean()), float(ys.mean())]), (_BOX, box)):
            page.evaluate(code, prompt)
            found = decode_rle(page.evaluate(_RESULTS)[-1])
            scores.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
            press(page, "accept")
        print(f"Dice, {name}: click {scores[0]:.3f}, box {scores[1]:.3f}")


def press(page: Any, button: str) -> None:
    page.evaluate(
        "async (id) => { document.getElementById(id).click(); await window.ultrasam.busy; }", button
    )


def report_latency(page: Any, phantom: Any, clicks: int) -> None:
    rng = np.random.default_rng(0)
    inside = np.argwhere(phantom.masks.any(axis=0))
    system = page.context.browser.new_browser_cdp_session()
    times, spent = [], []
    for y, x in rng.permutation(inside)[: clicks + 3]:
        before = processor_time(system)
        milliseconds, answered = page.evaluate(_CLICK, [float(x) + 0.5, float(y) + 0.5])
        if answered:
            times.append(milliseconds)
            spent.append(processor_time(system) - before)
        press(page, "undo")
    times, spent = times[3:], spent[3:]  # the first ones compile
    median, high = np.percentile(times, [50, 95])
    print(
        f"click to mask, {len(times)} clicks: median {median:.0f} ms, 95th percentile {high:.0f} ms; "
        f"processor time of all of Chromium, median {np.median(spent):.0f} ms"
    )


def processor_time(system: Any) -> float:
    """Milliseconds that all processes of the browser have computed."""
    processes = system.send("SystemInfo.getProcessInfo")["processInfo"]
    return 1000 * sum(float(process["cpuTime"]) for process in processes)


if __name__ == "__main__":
    main()
