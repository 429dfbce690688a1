"""Read transformers' ``preprocessor_config.json``, which states how a model's images are prepared."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ultrasam.errors import ConfigError, UltraSamWarning, one_line
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.weights.registry import PREPROCESSING

PROCESSOR_FILE = "preprocessor_config.json"
_BICUBIC = 3  # Pillow's number


def image_processor(path: Path) -> Preprocessor:
    """The preprocessing that the file beside a transformers model states; SAM's if there is none.

    Warns if it differs from SAM's, or if the file cannot be read.

    Args:
        path: the weights file, or its folder.
    """
    sam = PREPROCESSING["sam"]
    file = (path if path.is_dir() else path.parent) / PROCESSOR_FILE
    if not file.is_file():
        return sam
    try:
        stated = _preprocessor(json.loads(file.read_text(encoding="utf-8")), sam)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        _warn(f"{file} cannot be read ({one_line(error)}); images are prepared as for SAM.")
        return sam
    if stated == sam:
        return sam
    shape = "stretched to a square" if stated.resize == "stretch" else "padded to a square"
    _warn(
        f"Images are {shape} and normalized by the mean {stated.mean} and the standard deviation "
        f"{stated.std}, as {file} states; to prepare them as for SAM, add '+preprocessing=sam'."
    )
    return stated


def _preprocessor(config: Mapping[str, Any], sam: Preprocessor) -> Preprocessor:
    """Convert the settings of transformers' image processors.

    Raises:
        ConfigError, ValueError, TypeError: A value is malformed.
    """
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    mean: Any = [0.0] * 3
    std: Any = [1.0] * 3
    if config.get("do_normalize", True):
        mean, std = config.get("image_mean"), config.get("image_std")
        if mean is None or std is None:
            mean, std = ([factor * v for v in values] for values in (sam.mean, sam.std))
    # Values in 0–255 are multiplied by the factor first.
    means, stds = (tuple(round(float(v) / factor, 3) for v in values) for values in (mean, std))
    if len(means) != 3 or len(stds) != 3:
        raise ConfigError("image_mean and image_std must have three values")
    size = config.get("size", {})
    stretched = isinstance(size, Mapping) and "height" in size
    bicubic = config.get("resample") == _BICUBIC
    return replace(
        sam,
        resize="stretch" if stretched else "letterbox",
        resample="bicubic-antialias" if bicubic else sam.resample,
        mean=means,
        std=stds,
    )


def _warn(message: str) -> None:
    warnings.warn(message, UltraSamWarning, stacklevel=5)
