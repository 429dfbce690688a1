"""Plots and images embedded in HTML pages."""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs
from ultrasam.reporting.theme import DIM, STYLE, SURFACE, variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRUTH, _PREDICTED, _PROMPT = (0, 158, 115), (230, 159, 0), (86, 180, 233)
_SIDE = 320
SIZE = (5.6, 3.6)


def figure(title: str, draw: Callable[[Axes], None], *, size: tuple[float, float] = SIZE) -> str:
    """A plot with a caption, as HTML; ``size`` is width and height in inches of 96 pixels."""
    return canvas(title, lambda whole: draw(whole.subplots()), size=size)


def canvas(
    title: str, draw: Callable[[Figure], None], *, size: tuple[float, float] = SIZE, note: str = ""
) -> str:
    """A plot of one or several axes with a caption, as HTML.

    Args:
        title: caption, and what a screen reader says.
        draw: fills the empty figure.
        size: width and height in inches of 96 pixels.
        note: a sentence behind the title, for what the plot's marks mean.
    """
    with needs("Drawing plots", extra="data"):
        import matplotlib
        from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()), warnings.catch_warnings():
        # Names of data sets and models may leave the axes no room; the plot is still drawn.
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        plot = Figure(figsize=size, layout="constrained")
        draw(plot)
        out = io.StringIO()
        plot.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = html.escape(title)
    caption = f"{text}. {html.escape(note)}" if note else text
    return (
        f'<figure class="plot" style="width:{round(96 * size[0])}px">{_in_page(out.getvalue(), text, size)}'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _style() -> Any:
    from cycler import cycler

    return STYLE | {"axes.prop_cycle": cycler(color=[c for c, _ in _series()])}


def _series() -> list[tuple[str, str]]:
    return [colors for name, colors in variables().items() if name.startswith("series-")]


def _in_page(svg: str, title: str, size: tuple[float, float]) -> str:
    """An SVG drawing as part of a page: its colors as variables, its name for screen readers. In HTML, it
    needs no names of XML."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    width, height = (round(96 * side) for side in size)
    svg = re.sub(
        r"<svg\b[^>]*?viewBox=\"([^\"]*)\"[^>]*>",
        f'<svg role="img" aria-label="{title}" width="{width}" height="{height}" viewBox="\\1">',
        svg,
        count=1,
    )
    names = {colors[0]: f"var(--{name})" for name, colors in variables().items()}
    names["#808080"] = "var(--dim)"
    names["#000000"] = "var(--text)"
    # Texts are measured in the font of matplotlib and shown in the page's.
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    return re.sub(r"#[0-9a-f]{6}\b", lambda match: names.get(match[0], match[0]), svg)


def label_ends(
    axes: Axes, ends: Sequence[tuple[float, float, str, str]], *, gap: float = 0.06
) -> None:
    """Name lines at the right edge of the axes, where they end; names keep a distance from each other.

    Call it when the limits of the axes are final.

    Args:
        axes: axes with the lines.
        ends: x, y, text and color of each line's end.
        gap: smallest distance of two names, as a fraction of the axes' height.
    """
    _ = axes.get_xlim(), axes.get_ylim()  # fits both to what is drawn, not first on drawing
    to_axes = axes.transData + axes.transAxes.inverted()
    places = [float(to_axes.transform((x, y))[1]) for x, y, *_ in ends]
    order = np.argsort(places)
    heights = spread_apart([places[i] for i in order], gap)
    for i, height in zip(order, heights, strict=True):
        x, y, text, color = ends[i]
        axes.annotate(
            text, xy=(x, y), xytext=(1.04, height), textcoords="axes fraction", va="center", fontsize=8,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 1.2, "shrinkA": 1, "shrinkB": 1},
        )  # fmt: skip


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as needed to be at least ``gap`` apart (least squares).

    Places that collide form a block, which stands around their mean; blocks that collide merge.
    """
    blocks: list[list[float]] = []  # each: sum of (place - rank within all), count
    for number, place in enumerate(places):
        blocks.append([place - number * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    starts = [total / count for total, count in blocks for _ in range(int(count))]
    return [start + number * gap for number, start in enumerate(starts)]


def dim_line(axes: Axes, **at: float) -> None:
    """A thin reference line: ``y=0``, ``x=0``, or ``slope=1`` for the diagonal through the origin."""
    options: dict[str, Any] = {
        "color": DIM,
        "linewidth": 0.8,
        "linestyle": (0, (4, 3)),
        "zorder": 1,
    }
    if "slope" in at:
        axes.axline((0, 0), slope=at["slope"], **options)
    elif "y" in at:
        axes.axhline(at["y"], **options)
    else:
        axes.axvline(at["x"], **options)


def save_plot(path: Path, draw: Callable[[Axes], None]) -> None:
    """Write a plot to a file, in the format of its suffix, on white."""
    with needs("Drawing plots", extra="data"):
        import matplotlib
        from matplotlib.figure import Figure

    with matplotlib.rc_context(_style() | {"savefig.facecolor": SURFACE}):
        plot = Figure(figsize=SIZE, layout="constrained")
        draw(plot.subplots())
        plot.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def picture(title: str, data: bytes) -> str:
    """A PNG or JPEG image with a caption, as HTML."""
    kind = "jpeg" if data.startswith(b"\xff\xd8") else "png"
    coded, text = base64.b64encode(data).decode("ascii"), html.escape(title)
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{coded}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def draw_case(
    pixels: npt.NDArray[np.uint8],
    box: npt.ArrayLike,
    truth: npt.NDArray[np.bool_],
    predicted: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint8]:
    """Four panels side by side, in RGB: image with box, ground truth, prediction, and error (false negatives
    green, false positives orange).

    Args:
        pixels: [H, W].
        box: x0, y0, x1, y1.
        truth, predicted: [H, W].
    """
    scale = _SIDE / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    gray = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    panels = [np.array(gray) for _ in range(4)]
    x0, y0, x1, y1 = (round(float(v) * scale) for v in np.asarray(box))
    cv2.rectangle(panels[0], (x0, y0), (x1, y1), _PROMPT, 1)
    small = [
        cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for m in (truth, predicted)
    ]
    for panel, mask, color in ((panels[1], small[0], _TRUTH), (panels[2], small[1], _PREDICTED)):
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(panel, outline, -1, color, 1)
    panels[3][small[0] & ~small[1]] = _TRUTH
    panels[3][small[1] & ~small[0]] = _PREDICTED
    return np.concatenate(panels, axis=1)


def jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode an RGB image [H, W, 3] as JPEG."""
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
