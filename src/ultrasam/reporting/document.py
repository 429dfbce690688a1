"""A report of sections that is written twice: in Markdown, and as a page whose sections fold."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultrasam.reporting import plots
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import escape, to_html
from ultrasam.reporting.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, drawn only where it is shown: in the page.

    Attributes:
        draw: fills an empty figure.
        size: width and height in inches of 96 pixels.
        note: what the marks mean.
    """

    title: str
    draw: Callable[[Figure], None]
    size: tuple[float, float] = plots.SIZE
    note: str = ""

    def html(self) -> str:
        """The plot as part of a page."""
        return plots.canvas(self.title, self.draw, size=self.size, note=self.note)


@dataclass(frozen=True, slots=True)
class Html:
    """A part of the page that Markdown lacks, such as images."""

    text: str

    def html(self) -> str:
        """The part itself."""
        return self.text


Block = str | Table | Plot | Html


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a report.

    Attributes:
        title: heading.
        blocks: Markdown text, tables and plots in order.
        sections: what stands below it; in the page, each folds by itself.
        says: what it shows in a few words, behind its heading while it is folded.
    """

    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    says: str = ""

    def markdown(self, level: int = 2) -> str:
        """The section in Markdown, without its plots; empty if there is nothing else."""
        below = [text for part in self.sections if (text := part.markdown(level + 1))]
        if not below and not any(isinstance(block, (str, Table)) for block in self.blocks):
            return ""
        parts = [f"{'#' * level} {escape(self.title)}\n"]
        for block in self.blocks:
            if isinstance(block, Table):
                own = 0 if block.title == self.title else min(6, level + 1)
                parts.append(block.markdown(level=own))
            elif isinstance(block, str):
                parts.append(block)
        return "\n".join([*parts, *below])

    def html(self, level: int = 2, *, name: str = "") -> str:
        """The section as part of a page, folded; a link to it unfolds it."""
        name = name or slug(self.title)
        inner = "".join(
            # A table that is the section has the section's heading.
            block.html(level=0)
            if isinstance(block, Table) and block.title == self.title
            else _block(block, level + 1)
            for block in self.blocks
        )
        inner += "".join(
            section.html(level + 1, name=f"{name}-{slug(section.title)}")
            for section in self.sections
        )
        says = f'<span class="says">{html.escape(self.says)}</span>' if self.says else ""
        # The target of a link lies inside: a browser opens what encloses it.
        return (
            f"<details><summary><h{level}>{html.escape(self.title)}</h{level}>{says}</summary>\n"
            f'<div id="{name}">\n{inner}</div></details>\n'
        )


def section(
    title: str,
    *blocks: Block | None,
    sections: Sequence[Section | None] = (),
    says: str = "",
) -> Section | None:
    """A section of what there is; None if there is neither a table nor a plot nor a section to show."""
    found = tuple(block for block in blocks if block)
    below = tuple(part for part in sections if part is not None)
    if not below and all(isinstance(block, str) for block in found):
        return None
    return Section(title, found, below, says)


@dataclass(frozen=True, slots=True)
class Document:
    """A report.

    Attributes:
        title: main heading.
        first: what a reader sees first: the conclusion, and a table that supports it.
        sections: everything else.
        beside: what stands beside the table, where the window is wide enough: a plot, and notes.
    """

    title: str
    first: tuple[Block, ...]
    sections: tuple[Section, ...]
    beside: tuple[Block, ...] = ()

    def markdown(self) -> str:
        """The report in Markdown, without plots."""
        parts = [f"# {escape(self.title)}\n"]
        for block in (*self.first, *self.beside):
            if isinstance(block, Table):
                parts.append(block.markdown(level=0))
            elif isinstance(block, str):
                parts.append(block)
        return "\n".join([*parts, *filter(None, (part.markdown() for part in self.sections))])

    def html(self) -> str:
        """The report as a self-contained page."""
        first = "".join(
            block.html(level=0)
            if isinstance(block, Table)
            else f'<div class="wide">{_block(block, 2)}</div>\n'
            for block in self.first
        )
        first += f'<div class="beside">{"".join(_block(block, 2) for block in self.beside)}</div>\n'
        links = "".join(
            f'<a href="#{slug(part.title)}">{html.escape(part.title)}</a>\n'
            for part in self.sections
        )
        body = "".join(part.html() for part in self.sections)
        return page(
            self.title,
            f'<h1>{html.escape(self.title)}</h1>\n<div class="first">\n{first}</div>\n'
            f'<nav aria-label="Sections">{links}</nav>\n{body}',
        )


def slug(title: str) -> str:
    """A title as the name of a link's target."""
    return re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-") or "section"


def _block(block: Block, level: int) -> str:
    if isinstance(block, str):
        return to_html(block)
    if isinstance(block, Table):
        return block.html(level=min(6, level))
    return block.html()
