"""Self-contained HTML pages: no scripts, no files beside them, light or dark as the reader has it."""

from __future__ import annotations

import html

from ultrasam.reporting.theme import variables

_LAYOUT = """
*{box-sizing:border-box}
body{font:13px/1.5 system-ui,sans-serif;max-width:1280px;margin:0 auto;padding:12px 24px 48px;
  color:var(--text);background:var(--surface)}
h1{font-size:20px;line-height:1.3;margin:4px 0}
h2{font-size:16px;margin:24px 0 8px}h3{font-size:14px;margin:20px 0 4px}h4{font-size:13px;margin:16px 0 4px}
p,ul{margin:4px 0 8px;max-width:100ch}ul{padding-left:20px}
a{color:var(--accent)}
code,pre{font:12px/1.5 ui-monospace,monospace}
pre{background:var(--panel);padding:12px;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:4px 0 12px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
table:not(.scroll table){display:block;overflow-x:auto}
th,td{border-bottom:1px solid var(--line);padding:3px 10px 3px 0;text-align:left;vertical-align:top}
th{color:var(--dim);font-weight:600;vertical-align:bottom}
td{white-space:nowrap}td.long{white-space:normal;min-width:30ch;overflow-wrap:anywhere}
td.n,th.n{text-align:right}
tr.group td{color:var(--dim);font-weight:600;padding-top:8px}
tr.mean td{background:var(--panel)}
figure{display:inline-block;margin:4px 16px 12px 0;vertical-align:top;max-width:100%}
figure svg,figure img{max-width:100%;height:auto;display:block}
figcaption{color:var(--dim);max-width:70ch}
.first{display:grid;grid-template-columns:minmax(0,1fr) auto;column-gap:24px;align-items:start}
.first .wide{grid-column:1/-1}
.first figure{margin:0}
.first p,.first ul{max-width:none;margin:2px 0 6px}
.first td{padding-top:1px;padding-bottom:2px}.first tr.group td{padding-top:6px}
.beside{max-width:500px}.beside p,.beside figcaption{color:var(--dim)}
details .scroll{font-size:12px}
@media (max-width:1100px){.first{display:block}}
nav{border-top:1px solid var(--line);margin-top:12px;padding-top:8px;line-height:1.9}
nav a{margin-right:16px;white-space:nowrap}
details{border-top:1px solid var(--line)}
details details{border-top:0;margin-left:12px}
summary{cursor:pointer;padding:8px 0;color:var(--text)}
summary h2,summary h3{display:inline;margin:0}
summary .says{color:var(--dim);margin-left:8px}
summary:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
@media print{body{max-width:none;padding:0}nav{display:none}
  details::details-content{content-visibility:visible;height:auto;block-size:auto}
  figure,tr{break-inside:avoid}}
"""


def _style() -> str:
    light, dark = (
        "".join(f"--{name}:{colors[number]};" for name, colors in variables().items())
        for number in (0, 1)
    )
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{_LAYOUT}"
    )


def page(title: str, body: str) -> str:
    """A complete HTML page around ``body``."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>\n'
        f"<style>{_style()}</style>\n{body}\n</html>\n"
    )
