"""Reports show untrusted names as plain text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import escape, table, to_html
from ultrasam.reporting.tables import Table, bullet_list, difference, number, with_interval

NASTY = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "a|b\\|c",
    "[click](javascript:alert(1))",
    "![x](http://elsewhere/x.png)",
    "`code`",
    "two\nlines",
    "ends with \\",
)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


@pytest.mark.parametrize("name", NASTY)
def test_a_name_appears_in_its_cell_unchanged(name: str) -> None:
    found = Tags(to_html(table(["name", "count"], [[name, 7]])))
    assert [cell.strip() for cell in found.cells] == ["name", "count", " ".join(name.split()), "7"]
    assert set(found.tags) == {"table", "thead", "tbody", "tr", "th", "td"}


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Z")), max_size=40))
def test_no_text_makes_a_tag_or_moves_a_cell(text: str) -> None:
    found = Tags(to_html(table(["a", "b"], [[text, "end"]])))
    assert set(found.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "em", "strong"}
    assert len(found.cells) == 4
    assert found.cells[3].strip() == "end"


def test_html_in_markdown_is_shown_not_run() -> None:
    assert "<img" not in to_html("# A <img src=x onerror=alert(1)>\n\n<script>alert(1)</script>\n")
    assert "<b>" not in page("<b>title</b>", "")


def test_emphasis_of_our_own_is_kept() -> None:
    assert "<strong>mean</strong>" in to_html(escape("**mean**"))


def test_a_table_has_its_title_note_and_rows() -> None:
    text = Table("Run time", ("", "images"), (("ours", "3"),), "A note.").markdown()
    assert text == "### Run time\n\nA note.\n\n|  | images |\n|---|---|\n| ours | 3 |\n"


def test_numbers_without_a_value_are_dashes() -> None:
    assert number(float("nan")) == with_interval(float("nan"), 0, 1) == "–"
    assert number(0.12345) == "0.123"
    assert with_interval(0.5, 0.25, 0.75, digits=2) == "0.50 [0.25, 0.75]"
    assert difference(0.5, -0.25, 0.75) == "+0.500 [-0.250, +0.750]"
    assert difference(float("nan"), 0, 1) == "–"


def test_columns_without_any_value_are_left_out() -> None:
    table = Table("T", ("model", "mm", "px"), (("a", "–", "1"), ("b", "", "–")))
    assert table.without_empty_columns() == Table("T", ("model", "px"), (("a", "1"), ("b", "–")))


def test_a_list_shows_how_many_items_it_has() -> None:
    assert bullet_list("Excluded", ["a", "b"]) == "## Excluded: 2\n\n- a\n- b\n"
