"""Plots and images embedded in HTML pages."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRUTH, _PREDICTED, _PROMPT = (80, 220, 100), (255, 170, 40), (70, 160, 255)
_SIDE = 320


def figure(title: str, draw: Callable[[Axes], None]) -> str:
    """A plot with a caption, as HTML."""
    with needs("Drawing plots", extra="data"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    plot = Figure(figsize=(6.5, 4.2), layout="constrained")
    FigureCanvasAgg(plot)
    draw(plot.subplots())
    out = io.BytesIO()
    plot.savefig(out, format="png", dpi=110, metadata={"Software": ""})
    return picture(title, out.getvalue()).replace("<figure>", '<figure class="plot">', 1)


def save_plot(path: Path, draw: Callable[[Axes], None]) -> None:
    """Write a plot to a file, in the format of its suffix."""
    with needs("Drawing plots", extra="data"):
        from matplotlib.figure import Figure

    plot = Figure(figsize=(6.5, 4.2), layout="constrained")
    draw(plot.subplots())
    plot.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


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
