"""Markdown of our own reports, and the HTML that it becomes.

Names of files, data sets and models come from outside: they are escaped where they enter, and HTML in
Markdown is shown as text, never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    """Text in one line whose cells, tags, code and links stay what they are: text. Emphasis is left."""
    # A bracket needs it only where it would end a link's text; intervals keep theirs readable.
    return re.sub(r"([\\|<`]|\](?=[(\[:]))", r"\\\1", " ".join(str(text).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, its cells escaped; without a line end after the last row."""
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def to_html(text: str) -> str:
    """Markdown with tables as HTML; tags in it are escaped, and so are links to anything but pages."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"
