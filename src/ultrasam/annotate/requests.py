"""What the page may ask to change: strokes and previews, checked by type and size."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from pydantic import Field, model_validator

from ultrasam.serve.requests import Box as Box
from ultrasam.serve.requests import Click as Click
from ultrasam.serve.requests import Coordinate as Coordinate
from ultrasam.serve.requests import FrameIndex as FrameIndex
from ultrasam.serve.requests import Point as Point
from ultrasam.serve.requests import Request as Request

_MOST_POINTS = 20_000
_MOST_RUNS = 400_000
Key = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[\w.:-]+$")]
ObjectId = Annotated[str, Field(min_length=1, max_length=64)]
LabelName = Annotated[str, Field(min_length=1, max_length=100)]


class PromptRequest(Request):
    """Clicks as x, y and 1 (on the object) or 0 (outside), and a box x0, y0, x1, y1, in pixels."""

    points: Annotated[tuple[Click, ...], Field(max_length=1000)] = ()
    box: Box | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> PromptRequest:
        if not self.points and self.box is None:
            raise ValueError("a prompt has clicks or a box")
        return self

    def as_dict(self) -> dict[str, Any]:
        """As the project file keeps it."""
        return {
            "points": [list(point) for point in self.points],
            "box": None if self.box is None else list(self.box),
        }


class MaskRequest(Request):
    """A mask: its box x0, y0, x1, y1, and the runs of 0 and 1 in it, row by row, beginning with 0."""

    box: tuple[FrameIndex, FrameIndex, FrameIndex, FrameIndex]
    runs: Annotated[tuple[FrameRun, ...], Field(max_length=_MOST_RUNS)]


FrameRun = Annotated[int, Field(ge=0, le=100_000_000)]


class PreviewRequest(Request):
    """What a click would do: prompts that would be added to an object's own."""

    frame: FrameIndex = 0
    prompts: Annotated[tuple[PromptRequest, ...], Field(min_length=1, max_length=100)]
    object: ObjectId | None = None


class _Stroke(Request):
    key: Key
    frame: FrameIndex = 0
    object: ObjectId | None = None
    base_version: Annotated[int, Field(ge=0, le=2**53)] | None = None


class PromptStroke(_Stroke):
    """Add a prompt to an object, or make a new one."""

    kind: Literal["prompt"]
    prompt: PromptRequest
    label: LabelName | None = None


class CandidateStroke(_Stroke):
    """Take another of the masks that the model offered."""

    kind: Literal["candidate"]
    object: ObjectId
    index: Annotated[int, Field(ge=0, le=9)]


class BrushStroke(_Stroke):
    """Add or erase what a round brush covers."""

    kind: Literal["brush"]
    mode: Literal["add", "erase"]
    path: Annotated[tuple[Point, ...], Field(min_length=1, max_length=_MOST_POINTS)]
    radius: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
    label: LabelName | None = None


class PolygonStroke(_Stroke):
    """Make the mask a polygon, or add or erase one."""

    kind: Literal["polygon"]
    mode: Literal["replace", "add", "erase"]
    points: Annotated[tuple[Point, ...], Field(min_length=3, max_length=_MOST_POINTS)]
    label: LabelName | None = None


class MaskStroke(_Stroke):
    """Make the mask another one, which was copied."""

    kind: Literal["mask"]
    mask: MaskRequest
    label: LabelName | None = None


class LabelStroke(_Stroke):
    """Give an object a label, or none."""

    kind: Literal["label"]
    object: ObjectId
    label: LabelName | None


class ColorStroke(_Stroke):
    """Give an object a color."""

    kind: Literal["color"]
    object: ObjectId
    color: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]


class OrderStroke(_Stroke):
    """Move an object to a place in the order of drawing."""

    kind: Literal["order"]
    object: ObjectId
    order: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]


class AcceptStroke(_Stroke):
    """Accept what the machine made, or take that back; of one object, or of all."""

    kind: Literal["accept", "unaccept"]
    frames: Literal["this", "all"] | tuple[FrameIndex, FrameIndex] = "this"


class ObjectStroke(_Stroke):
    """Delete an object, or its mask in a frame."""

    kind: Literal["delete", "clear"]
    object: ObjectId


class EmptyStroke(_Stroke):
    """Say that there is nothing to label in the image."""

    kind: Literal["empty"]
    value: bool


class NoteStroke(_Stroke):
    """Write a note on the image."""

    kind: Literal["note"]
    text: Annotated[str, Field(max_length=10_000)]


class FlagStroke(_Stroke):
    """Flag the image, or take the flag away."""

    kind: Literal["flag"]
    value: bool


class StateStroke(_Stroke):
    """Say that the image is done, or is not."""

    kind: Literal["state"]
    state: Literal["done", "started"]


StrokeRequest = Annotated[
    PromptStroke
    | CandidateStroke
    | BrushStroke
    | PolygonStroke
    | MaskStroke
    | LabelStroke
    | ColorStroke
    | OrderStroke
    | AcceptStroke
    | ObjectStroke
    | EmptyStroke
    | NoteStroke
    | FlagStroke
    | StateStroke,
    Field(discriminator="kind"),
]
"""One action of a person; ``kind`` says which."""


class UndoRequest(Request):
    """Undo or redo the latest action in an image, or the latest stroke of one object."""

    object: ObjectId | None = None
    key: Key | None = None
