"""Routes of planes across the slices of a volume."""

from __future__ import annotations

from typing import Annotated, Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, Path, Query, Response

from ultrasam.annotate.rendering import png
from ultrasam.annotate.server.dependencies import App, ImageId, Reader
from ultrasam.annotate.server.routes_images import picture, tag_of

router = APIRouter(prefix="/images")
Axis = Annotated[int, Path(ge=1, le=2, description="1: of rows; 2: of columns.")]
Index = Annotated[int, Path(ge=0, le=1_000_000, description="The row or column, from 0.")]


@router.get("/{id}/planes/{axis}/{index}.png", response_class=Response)
def plane_png(
    app: App,
    reader: Reader,
    id: ImageId,
    axis: Axis,
    index: Index,
    v: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """One row (axis 1) or column (axis 2) of every slice, without loss; the first slice is on top."""
    content = png(app.planes.pixels(id, axis, index))
    tag = tag_of(app, id, f"{axis}.{index}.png")
    return picture(content, "image/png", tag, versioned=v is not None)


@router.get("/{id}/planes/{axis}/{index}")
def plane(app: App, reader: Reader, id: ImageId, axis: Axis, index: Index) -> dict[str, Any]:
    """The reader's objects with their masks in a plane, and its size; ``spacing`` in mm, or null."""
    return app.planes.plane(id, reader, axis, index)
