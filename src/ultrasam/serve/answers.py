"""Predictions as JSON."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.rle import encode
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prediction
from ultrasam.serve.measures import measured_json
from ultrasam.serve.requests import PredictRequest

Json = dict[str, Any]


def check_frame(scan: Scan, frame: int) -> None:
    """Refuse a frame that an image does not have.

    Raises:
        DataError: It does not exist.
    """
    if frame >= scan.num_frames:
        raise DataError(f"Frame {frame} does not exist; the image has {scan.num_frames}, from 0.")


def scan_json(scan: Scan) -> Json:
    """An image's size and calibration."""
    return {
        "width": scan.width, "height": scan.height, "frames": scan.num_frames,
        "spacing": None if scan.spacing is None else list(scan.spacing),
    }  # fmt: skip


def prediction_json(prediction: Prediction, scan: Scan, request: PredictRequest) -> Json:
    """The candidates of each prompt, best first, as ``predictions[prompt][candidate]``."""
    found = [
        [_candidate_json(prediction, n, m, scan, request) for m in range(prediction.masks.shape[1])]
        for n in range(len(prediction))
    ]
    return {"width": scan.width, "height": scan.height, "predictions": found}


def _candidate_json(
    prediction: Prediction, n: int, m: int, scan: Scan, request: PredictRequest
) -> Json:
    mask = prediction.masks[n, m]
    counts = encode(mask) if request.encoding == "rle" or request.measure else ""
    x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
    one: Json = {
        "mask": _png(mask)
        if request.encoding == "png"
        else {"size": list(mask.shape), "counts": counts},
        "box": [x0, y0, x1, y1] if x1 else None,
        "area": int(np.count_nonzero(mask)),
        "predicted_iou": float(prediction.predicted_iou[n, m]),
        "stability_score": float(prediction.stability_score[n, m]),
    }
    if request.logits:
        values = np.ascontiguousarray(prediction.low_res_logits[n, m], np.float16)
        one["logits"] = {
            "shape": list(values.shape),
            "data": base64.b64encode(zlib.compress(values.tobytes(), 1)).decode(),
        }
    if request.measure:
        one["measure"] = measured_json(counts, scan)
    return one


def _png(mask: BoolMask) -> Json:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return {"png": base64.b64encode(buffer.getvalue()).decode()}
