"""The report's page as a reader gets it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from tests.evaluation import made_up
from tests.evaluation.made_up import Model
from ultrasam.evaluation.report.report import EvaluationReport
from ultrasam.reporting.document import Document, Plot, Section
from ultrasam.reporting.plots import spread_apart
from ultrasam.reporting.tables import NONE, Table
from ultrasam.reporting.theme import PAGE


class Page(HTMLParser):
    """The tags of a page, its links and the names that they can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        if tag == "div" and named.get("id"):
            self.ids.append(str(named["id"]))
        if tag == "a":
            self.links.append(str(named["href"]))


def test_a_section_of_plots_alone_leaves_no_heading_in_markdown(report: EvaluationReport) -> None:
    plots = Section("Plots", (Plot("a plot", lambda figure: None),))
    assert plots.markdown() == ""
    text = Document(
        "Title", ("Text.\n",), (Section("Outer", ("More.\n",), (plots,)), plots)
    ).markdown()
    assert text == "# Title\n\nText.\n\n## Outer\n\nMore.\n"
    lines = [line for line in report.markdown().splitlines() if line.strip()]
    levels = [len(line) - len(line.lstrip("#")) if re.match("#+ ", line) else 0 for line in lines]
    # Below each heading is text, or a heading of a lower level.
    assert all(a == 0 or b == 0 or b > a for a, b in zip(levels, [*levels[1:], 1], strict=True))


def test_the_page_concludes_first_and_folds_the_rest(page: str, report: EvaluationReport) -> None:
    found = Page(page)
    assert found.tags.count("h1") == 1
    assert "script" not in found.tags
    assert not re.search(r"(src|href)=.https?:", page)
    assert found.links == [
        f"#{name}" for name in dict.fromkeys(found.ids) if f"#{name}" in found.links
    ]
    assert len(found.links) == len(report.sections)
    first = page[: page.index("<nav")]
    assert "<details" not in first
    assert first.count("<table") == first.count("<svg") == 1
    assert page.index("Unseen: 2 data sets") < page.index("<table")
    assert "Not in these means:" in first
    titles = [section.title for section in report.sections]
    assert titles == [
        "All groups of data sets", "Exact protocol", "Human protocol", "Differences", "Robustness", "Clicks",
        "Failures", "Nothing there", "Which of three masks", "Calibration", "Clinical error", "Subgroups",
        "Duplicates", "Published results", "Run time", "In no mean", "How",
    ]  # fmt: skip
    assert report.markdown().index("**Unseen") < report.markdown().index("| model |")


def test_plots_name_their_models_and_follow_the_page(page: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) > 10
    for plot in plots:
        assert "nano" in plot or "disc" in plot
        assert "var(--series-" in plot
        assert "DejaVu" not in plot
        assert not re.search(r"(?:fill|stroke): #(?!fff)", plot), (
            "a color that does not follow the page"
        )
        assert re.search(r'^<svg role="img" aria-label="[^"]+"', plot)


def test_no_table_has_an_empty_column(report: EvaluationReport) -> None:
    def all_tables(sections: Any) -> Any:
        for section in sections:
            yield from (block for block in section.blocks if isinstance(block, Table))
            yield from all_tables(section.sections)

    everything = list(all_tables(report.sections))
    assert len(everything) > 30
    for table in everything:
        for index, title in enumerate(table.head):
            assert any(row[index] not in ("", NONE) for row in table.rows), (table.title, title)
    assert "nan" not in report.markdown().lower().replace("nano", "")


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["surface", "panel"])
@pytest.mark.parametrize("text", ["text", "dim", "accent"])
def test_texts_have_the_contrast_of_wcag_aa(scheme: int, ground: str, text: str) -> None:
    light, dark = sorted((luminance(PAGE[name][scheme]) for name in (ground, text)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted),
    st.sampled_from([0.02, 0.06, 0.3]),
)
def test_labels_move_as_little_as_they_must(places: list[float], gap: float) -> None:
    moved = spread_apart(places, gap)
    assert np.all(np.diff(moved) >= gap - 1e-9)
    steps = gap * np.arange(len(places))
    nearest = IsotonicRegression().fit_transform(np.arange(len(places)), np.array(places) - steps)
    assert moved == pytest.approx(nearest + steps, abs=1e-6)


@pytest.mark.slow
def test_the_first_screen_fits_a_window_of_1280_by_900(tmp_path: Path) -> None:
    """Eight models, two groups of data sets, and every column of the table."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium")
    models = [
        *made_up.FEW_MODELS,
        *(Model(f"sam-vit-{size}", 0.2, frozenset({"busi"})) for size in "bblhlm"),
    ]
    named = [replace(m, name=f"{m.name}{i}" if i > 2 else m.name) for i, m in enumerate(models[:8])]
    kinds = ("box", "interior", "box-noisy", "random", "interior5")
    found = [made_up.write(tmp_path, model, made_up.FEW_DATA, kinds=kinds) for model in named]
    report = EvaluationReport("Made up", "ultrasam evaluate", tuple(found))
    page = Document(report.title, report.first, (), report.beside).html()
    measure = "document.title = document.querySelector('nav').getBoundingClientRect().top"
    file = tmp_path / "page.html"
    file.write_text(page.replace("</html>", f"<script>{measure}</script></html>"))
    shown = subprocess.run(
        [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    (top,) = re.findall(r"<title>([\d.]+)</title>", shown)
    assert 300 < float(top) <= 900
