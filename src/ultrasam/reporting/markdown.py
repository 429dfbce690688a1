"""Write reports as Markdown and convert them to HTML.

Names of files, data sets and models are untrusted: they are escaped on entry, and HTML inside Markdown is
shown as text, never executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def escape(text: object) -> str:
    """One line of text with table, HTML, code and link syntax escaped; emphasis still works."""
    # A bracket is escaped only where it would end a link text, so that intervals stay readable.
    return re.sub(r"([\\|<`]|\](?=[(\[:]))", r"\\\1", " ".join(str(text).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with escaped cells, without a trailing newline."""
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def to_html(text: str) -> str:
    """Convert Markdown with tables to HTML; embedded tags and unsafe links are escaped."""
    return str(_parser().render(text))


def inline_html(text: str) -> str:
    """Convert one line of Markdown, without headings, lists or tables; as safe as `to_html`."""
    return str(_parser().renderInline(text))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"
