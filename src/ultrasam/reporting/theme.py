"""One look for all reports: colors of pages and plots, light and dark, and the style of plots.

Plots are drawn in the light colors; in a page each of them becomes a variable of the page's style, so that
the plot follows the reader's setting. Series have the eight colors of Okabe and Ito (2008), which people with
any color vision tell apart; they are lighter on a dark page, and yellow is darker on a light one.
"""

from __future__ import annotations

from typing import Any

# name: light, dark
PAGE = {
    "surface": ("#ffffff", "#111417"),
    "panel": ("#f4f6f8", "#181c20"),
    "line": ("#d5dae0", "#2a3036"),
    "text": ("#1a1d21", "#e6e9ec"),
    "dim": ("#59626c", "#9aa4ad"),
    "accent": ("#0a66a8", "#4cc2ff"),
}
TEXT, DIM, LINE, SURFACE = (PAGE[name][0] for name in ("text", "dim", "line", "surface"))
SERIES = (
    ("#0072b2", "#3a9bd6"),
    ("#d55e00", "#e8761a"),
    ("#009e73", "#16b98b"),
    ("#cc79a7", "#d98bb6"),
    ("#e69f00", "#e69f00"),
    ("#56b4e9", "#56b4e9"),
    ("#1b1c1d", "#f1f2f3"),
    ("#a89c00", "#f0e442"),
)
COLORS = tuple(light for light, _ in SERIES)
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
TRUTH, PREDICTION = COLORS[2], COLORS[4]  # green and orange, in overlays as in plots

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": DIM,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": TEXT,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": DIM,
    "ytick.labelcolor": DIM,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "ultrasam",
}


def variables() -> dict[str, tuple[str, str]]:
    """All colors by the name of their variable: light and dark."""
    return PAGE | {f"series-{i}": pair for i, pair in enumerate(SERIES)}


def color(number: int) -> str:
    """The color of the series of a number, from 0."""
    return COLORS[number % len(COLORS)]


def marker(number: int) -> str:
    """The marker of the series of a number, from 0; other than before where the colors begin again."""
    return MARKERS[(number + number // len(COLORS)) % len(MARKERS)]
