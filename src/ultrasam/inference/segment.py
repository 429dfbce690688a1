"""`segment`: segment an image in one call."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache

import numpy.typing as npt

from ultrasam.errors import UltraSamWarning
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike
from ultrasam.prompts import Prediction, Prompt
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.opening import open_backend
from ultrasam.weights.spec import ModelSpec


def segment(
    image: ScanLike,
    *,
    box: npt.ArrayLike | None = None,
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    model: str | os.PathLike[str] = "nano",
    frame: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    runtime: str | None = None,
) -> Prediction:
    """Segment one object of one frame.

    The last two models stay in memory. For several prompts on one image use a `Predictor`, which encodes the
    image only once.

    Args:
        image: a path, a `Scan`, or an array [H, W] or [H, W, 3].
        box: x0, y0, x1, y1 in the image's pixels.
        points: K clicks (x, y).
        labels: K labels, 1 for foreground and 0 for background clicks; all 1 by default.
        mask: as in `Prompt`.
        model: a name or path with options, as in `Predictor`.
        frame: index of the frame in a cine or volume; None is frame 0, with an `UltraSamWarning` if there are
            others.
        device, precision, runtime: as in `ultrasam.load`.

    Returns:
        A single mask, which may be empty; an `UltraSamWarning` then says so.

    Raises:
        PromptError: The prompt is invalid, or the model does not accept its type.
        ScanError: The image cannot be read.
        CheckpointError, ConfigError, DeviceError: The model cannot be loaded; see `ultrasam.load`.

    Example:
        >>> import numpy as np
        >>> prediction = segment(np.zeros((90, 120), np.uint8), box=(20, 20, 60, 50), device="cpu")
        >>> prediction.best.shape
        (1, 90, 120)
    """
    prompt = Prompt(points, labels, box, mask)
    spec = ModelSpec.parse(model)
    modified = 0.0
    if spec.kind == "path":
        modified = max(p.stat().st_mtime for p in (spec.path, *spec.path.glob("*")) if p.exists())
    network = _loaded(spec, device, precision, runtime, modified)
    predictor = Predictor(network, refine=spec.refine, tta=spec.tta)
    predictor.set_image(image, frame=frame)
    prediction = predictor.predict(prompt)
    if prediction.empty.any():
        warnings.warn(
            "The mask is empty: the model found no object for this prompt.",
            UltraSamWarning,
            stacklevel=2,
        )
    return prediction


@lru_cache(maxsize=2)
def _loaded(
    spec: ModelSpec,
    device: str | None,
    precision: str | None,
    runtime: str | None,
    _modified: float,
) -> Backend:
    """Load a model; ``_modified`` reloads a file that has changed."""
    return open_backend(spec, runtime=runtime, device=device, precision=precision)


def load_segmenter(
    model: str | os.PathLike[str] = "nano",
    *,
    refine: bool | None = None,
    tta: bool | None = None,
    device: str | None = None,
    precision: str | None = None,
    runtime: str | None = None,
) -> Predictor:
    """Load a promptable model by name or path, for ``set_image`` and ``predict``; arguments as in
    `Predictor`."""
    return Predictor(
        model, refine=refine, tta=tta, device=device, precision=precision, runtime=runtime
    )
