"""Routes for images that a client sends, to predict in them; the inference server and the annotator have the
same."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from fastapi import APIRouter, Depends, Path, Query, Request
    from pydantic import BaseModel

from ultrasam.serve.answers import scan_json
from ultrasam.serve.requests import PredictRequest
from ultrasam.serve.uploads import Upload


class Images(Protocol):
    """Who keeps the images that were sent, and predicts in them."""

    async def add(self, content: bytes, name: str) -> Upload:
        """Keep an image."""

    def get(self, id: str) -> Upload:
        """An image by its id."""

    def remove(self, id: str) -> None:
        """Forget an image."""

    async def predict(
        self, upload: Upload, request: PredictRequest, about: Request
    ) -> dict[str, Any]:
        """The masks of prompts in an image."""


def images_of(request: Request) -> Images:
    """The app's images."""
    found: Images = request.app.state.images
    return found


AppImages = Annotated[Images, Depends(images_of)]
UploadId = Annotated[
    str, Path(max_length=100, description="The id that the answer to an upload gave.")
]


class Mask(BaseModel):
    """A mask in the frame's pixels: COCO's compressed RLE (``size`` is height, width), or a PNG in base64."""

    size: tuple[int, int] | None = None
    counts: str | None = None
    png: str | None = None


class Candidate(BaseModel):
    """A mask and what the model says of it; ``box`` is None if the mask is empty, ``area`` is in pixels."""

    mask: Mask
    box: tuple[int, int, int, int] | None
    area: int
    predicted_iou: float
    stability_score: float
    logits: dict[str, Any] | None = None
    measure: dict[str, Any] | None = None


class Predictions(BaseModel):
    """The candidates of each prompt, best first; ``image`` is the id under which the image is kept."""

    width: int
    height: int
    predictions: list[list[Candidate]]
    image: str | None = None


class UploadedImage(BaseModel):
    """An image that is kept; ``spacing`` is (row, column) in mm."""

    id: str
    frames: int
    width: int
    height: int
    spacing: tuple[float, float] | None = None


router = APIRouter(prefix="/v1")
WHAT_GOES_WRONG: dict[int | str, dict[str, Any]] = {
    404: {"description": "The image was not sent."},
    410: {"description": "The image is forgotten by now; send it again."},
    429: {"description": "Too much is queued; ask again after Retry-After seconds."},
}


@router.post(
    "/uploads", status_code=201, response_model=UploadedImage,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)  # fmt: skip
async def upload(
    images: AppImages, request: Request, name: Annotated[str, Query(max_length=255)] = ""
) -> dict[str, Any]:
    """Send an image, as the body, to predict in it; it is kept for an hour after its last use. Of the name,
    only the suffix counts."""
    kept = await images.add(await request.body(), name)
    return {"id": kept.id, **scan_json(kept.scan)}


@router.post(
    "/uploads/{id}/predict", response_model=Predictions, response_model_exclude_unset=True,
    responses=WHAT_GOES_WRONG,
)  # fmt: skip
async def predict_in_upload(
    images: AppImages, id: UploadId, asked: PredictRequest, request: Request
) -> Any:
    """The masks of prompts in an image that was sent."""
    return await images.predict(images.get(id), asked, request)


@router.delete("/uploads/{id}", status_code=204)
def forget(images: AppImages, id: UploadId) -> None:
    """Forget an image that was sent."""
    images.remove(id)
