"""Self-contained HTML pages."""

from __future__ import annotations

import html

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}"
    "td,th{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:left}"
    "figure{display:inline-block;margin:1rem;vertical-align:top}img{max-width:100%}"
    "figure.plot{width:44%;min-width:20rem}"
    "pre{background:#f5f5f5;padding:1rem;overflow-x:auto}"
)


def page(title: str, body: str) -> str:
    """A complete HTML page around ``body``."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n{body}\n</html>\n"
    )
