"""Plots and pages that need no server: figures as PNG in the page itself."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
    "td,th{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:left}"
    "figure{display:inline-block;margin:1rem;vertical-align:top}img{max-width:100%}"
    "pre{background:#f5f5f5;padding:1rem;overflow-x:auto}"
)


def page(title: str, body: str) -> str:
    """An HTML page."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )


def figure(title: str, draw: Callable[[Axes], None]) -> str:
    """A plot with its title below it, as HTML."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.5, 4.2), layout="constrained")
    FigureCanvasAgg(drawn)
    draw(drawn.subplots())
    out = io.BytesIO()
    drawn.savefig(out, format="png", dpi=110, metadata={"Software": ""})
    return picture(title, out.getvalue())


def picture(title: str, png: bytes) -> str:
    """A PNG picture with its title below it, as HTML."""
    data, text = base64.b64encode(png).decode("ascii"), html.escape(title)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
