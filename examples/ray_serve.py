"""UltraSam on Ray Serve: replicas on a cluster, each with the model, and a bounded queue before them.

    pip install 'ray[serve]' 'ultrasam[dicom]'
    serve run ray_serve:app
    curl --data-binary @scan.png 'http://127.0.0.1:8000/?box=120,80,260,190'

The body is an image of any format that UltraSam reads; ``frame`` chooses a frame of a cine. The answer is
COCO results, a mask for each ``box``. When the queue is full, the answer is 429 with Retry-After, at once.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.requests import Request
from starlette.responses import JSONResponse

MODEL = os.environ.get("ULTRASAM_MODEL", "nano")
REPLICAS = int(os.environ.get("ULTRASAM_REPLICAS", "1"))
QUEUE = int(os.environ.get("ULTRASAM_QUEUE", "16"))
MAX_BYTES = 500 * 10**6


class TooLargeError(ValueError):
    """A body is larger than `MAX_BYTES`."""


@serve.deployment(
    num_replicas=REPLICAS,
    ray_actor_options={"num_cpus": 1},  # on GPUs: {"num_gpus": 1}
    max_ongoing_requests=2,  # one is received while another is computed
    max_queued_requests=QUEUE,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
)
class Segmenter:
    """A replica: one model, which segments one image at a time."""

    def __init__(self, model: str) -> None:
        from ultrasam import Predictor

        self._predictor = Predictor(model)
        self._turn = asyncio.Lock()

    async def __call__(self, request: Request) -> JSONResponse:
        from ultrasam import UltraSamError

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "image")
            try:
                boxes = [_box(text) for text in request.query_params.getlist("box")]
                if not boxes:
                    raise ValueError("Give at least one box=x0,y0,x1,y1.")
                frame = int(request.query_params.get("frame", "0"))
                await _receive(request, file)
                async with self._turn:
                    found = await asyncio.to_thread(self._segment, file, frame, boxes)
            except TooLargeError as error:
                return JSONResponse({"detail": str(error)}, 413)
            except (UltraSamError, ValueError) as error:
                detail = str(error).replace(str(file), "The image")
                return JSONResponse({"detail": detail}, 422)
        return JSONResponse(found)

    def _segment(
        self, file: Path, frame: int, boxes: list[tuple[float, ...]]
    ) -> list[dict[str, Any]]:
        from ultrasam import Prompt

        self._predictor.set_image(file, frame=frame)
        return self._predictor.predict([Prompt(box=box) for box in boxes]).to_coco()


def _box(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(value) for value in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 4:
        raise ValueError(f"'{text}' is not a box; write box=x0,y0,x1,y1.")
    return values


async def _receive(request: Request, file: Path) -> None:
    size = 0
    with file.open("wb") as opened:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BYTES:
                raise TooLargeError(f"The image has more than {MAX_BYTES // 10**6} MB.")
            opened.write(chunk)


app = Segmenter.bind(MODEL)
