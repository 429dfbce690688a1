"""Prompts of Label Studio: clicks and boxes in per cent of the picture, the ``context`` of a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from pydantic import BaseModel, Field

from ultrasam.errors import PromptError
from ultrasam.prompts import Prompt

Percent = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]


class _Value(BaseModel):
    x: Percent
    y: Percent
    width: Percent = 0
    height: Percent = 0
    rotation: Percent = 0


class _Region(BaseModel):
    type: Annotated[str, Field(max_length=100)]
    value: dict[str, Any]
    to_name: Annotated[str, Field(max_length=1000)] = ""
    is_positive: bool | int | None = None
    image_rotation: float = 0


class Context(BaseModel):
    """What a person has clicked and drawn; keys that are not used are ignored."""

    result: Annotated[list[_Region], Field(max_length=10_000)] = []


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is asked for.

    Attributes:
        prompt: in pixels.
        label: of the object, or None.
        image: the name of the image in the configuration.
    """

    prompt: Prompt
    label: str | None
    image: str


def asked_for(context: Context, width: int, height: int) -> Asked:
    """The prompt of a context in the pixels of an image; all of its clicks and its last box count.

    A click is positive unless ``is_positive`` is false. A rotated rectangle becomes the box around it.
    Regions of other types, such as a brush, are no prompts.

    Args:
        width, height: of the image, in pixels.

    Raises:
        PromptError: There is neither a click nor a rectangle, or one of them is malformed.
    """
    points, labels, box = list[tuple[float, float]](), list[int](), None
    name, image = None, ""
    for region in context.result:
        kind = region.type.lower()
        if not kind.startswith(("keypoint", "rectangle")):
            continue
        if region.image_rotation % 360:
            raise PromptError("The picture is rotated in Label Studio; turn it back, then click.")
        try:
            value = _Value.model_validate(region.value)
        except ValueError as error:
            raise PromptError(
                "A click or rectangle of Label Studio lacks x and y in per cent; draw it again."
            ) from error
        if kind.startswith("keypoint"):
            points.append((_inside(value.x) * width / 100, _inside(value.y) * height / 100))
            labels.append(int(region.is_positive is None or bool(region.is_positive)))
        else:
            box = _box(value, width, height)
        named = region.value.get(kind)
        name = str(named[0]) if isinstance(named, list) and named else name
        image = region.to_name or image
    if not points and box is None:
        raise PromptError(
            "There is no click and no rectangle to start from; draw with a smart KeyPointLabels or "
            "RectangleLabels."
        )
    return Asked(Prompt(points=points or None, labels=labels or None, box=box), name, image)


def _inside(percent: float) -> float:
    return min(max(percent, 0.0), 100.0)


def _box(value: _Value, width: int, height: int) -> tuple[float, float, float, float]:
    """The box in pixels around a rectangle, which Label Studio turns clockwise around its top left corner."""
    x, y = value.x * width / 100, value.y * height / 100
    across, down = value.width * width / 100, value.height * height / 100
    angle = math.radians(value.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(0.0, 0.0), (across, 0.0), (0.0, down), (across, down)]
    xs = [x + u * cos - v * sin for u, v in corners]
    ys = [y + u * sin + v * cos for u, v in corners]
    return min(xs), min(ys), max(xs), max(ys)
