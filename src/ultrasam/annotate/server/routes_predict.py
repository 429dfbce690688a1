"""Routes that predict in images of the project without storing anything; those for images that are sent are
`ultrasam.serve.routes_uploads`, over `SentImages`."""

from __future__ import annotations

from typing import Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Request
    from starlette.concurrency import run_in_threadpool

from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.dependencies import App, ImageId, Reader
from ultrasam.annotate.server.routes_images import waited_for
from ultrasam.annotate.worker import Priority
from ultrasam.serve.answers import check_frame, prediction_json
from ultrasam.serve.requests import PredictRequest
from ultrasam.serve.uploads import Upload

router = APIRouter()


@router.post("/images/{id}/predict")
def predict(app: App, reader: Reader, id: ImageId, request: PredictRequest) -> dict[str, Any]:
    """The masks of prompts in an image of the project; nothing is stored."""
    scan = app.scans.scan(id)
    check_frame(scan, request.frame)
    prompts = request.all_prompts()
    prediction = waited_for(
        app.worker.submit(
            Priority.preview,
            lambda: app.segmentation.predict(
                id, request.frame, prompts, multimask=request.multimask
            ),
        )
    )
    return prediction_json(prediction, scan, request)


class SentImages:
    """What `ultrasam.serve.routes_uploads` needs, over an annotator: its worker predicts, strokes first."""

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator

    async def add(self, content: bytes, name: str) -> Upload:
        """Keep an image."""
        return await run_in_threadpool(self._annotator.uploads.add, content, name)

    def get(self, id: str) -> Upload:
        """An image by its id."""
        return self._annotator.uploads.get(id)

    def remove(self, id: str) -> None:
        """Forget an image."""
        self._annotator.uploads.remove(id)

    async def predict(
        self, upload: Upload, request: PredictRequest, about: Request
    ) -> dict[str, Any]:
        """The masks of prompts in an image."""
        return await run_in_threadpool(self._predicted, upload, request)

    def _predicted(self, upload: Upload, request: PredictRequest) -> dict[str, Any]:
        check_frame(upload.scan, request.frame)
        prompts, app = request.all_prompts(), self._annotator
        prediction = waited_for(
            app.worker.submit(
                Priority.preview,
                lambda: app.uploads.predict(
                    upload.id, request.frame, prompts, multimask=request.multimask
                ),
            )
        )
        return prediction_json(prediction, upload.scan, request)
