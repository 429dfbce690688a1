"""What a client may ask to be predicted, checked by type and size."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from typing import Annotated, Literal

import numpy as np

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from pydantic import BaseModel, ConfigDict, Field

from ultrasam.dicomweb.address import UID
from ultrasam.errors import PromptError
from ultrasam.prompts import Float32, Prompt

MOST_PROMPTS = 100
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]
Click = tuple[Coordinate, Coordinate, Literal[0, 1]]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
FrameIndex = Annotated[int, Field(ge=0, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=20_000)]


class Request(BaseModel):
    """A JSON body; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Logits(Request):
    """A mask as logits: float16 by rows, zlib, base64."""

    shape: tuple[Side, Side]
    data: Annotated[str, Field(max_length=10_000_000)]

    def values(self) -> Float32:
        """The numbers, [h, w]; no more is unpacked than they take.

        Raises:
            PromptError: They are damaged, or not as many as the shape says.
        """
        size = 2 * math.prod(self.shape)
        try:
            raw = zlib.decompressobj().decompress(
                base64.b64decode(self.data, validate=True), size + 1
            )
        except (binascii.Error, zlib.error, ValueError) as error:
            raise PromptError(
                "The prompt's mask is damaged; send float16, zlib, base64."
            ) from error
        if len(raw) != size:
            raise PromptError(
                f"The prompt's mask does not have the {size // 2} values of its shape."
            )
        return np.frombuffer(raw, np.float16).reshape(self.shape).astype(np.float32)


class PredictPrompt(Request):
    """A prompt for one object: clicks x, y and 1 (on the object) or 0 (outside), a box x0, y0, x1, y1, a mask
    so far, or several of these. Coordinates are in pixels; the origin is the top-left corner of the top-left
    pixel."""

    points: Annotated[tuple[Click, ...], Field(max_length=1000)] = ()
    box: Box | None = None
    mask: Logits | None = None

    def prompt(self) -> Prompt:
        """As the predictor takes it.

        Raises:
            PromptError: It is empty or malformed.
        """
        return Prompt(
            points=[point[:2] for point in self.points] or None,
            labels=[point[2] for point in self.points] or None,
            box=self.box,
            mask=None if self.mask is None else self.mask.values(),
        )


class PredictRequest(Request):
    """What to predict in a frame. ``multimask`` is that of `Predictor.predict`; ``encoding`` that of masks;
    ``logits`` and ``measure`` say what else is wanted of each mask."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompts": [{"box": [192, 58, 534, 402]}]},
                {"frame": 12, "prompts": [{"points": [[363, 230, 1], [20, 20, 0]]}], "measure": True},
            ]
        }
    )  # fmt: skip

    frame: FrameIndex = 0
    prompts: Annotated[tuple[PredictPrompt, ...], Field(min_length=1, max_length=MOST_PROMPTS)]
    multimask: bool | None = None
    encoding: Literal["rle", "png"] = "rle"
    logits: bool = False
    measure: bool = False

    def all_prompts(self) -> list[Prompt]:
        """As the predictor takes them.

        Raises:
            PromptError: One is empty or malformed.
        """
        return [one.prompt() for one in self.prompts]


class PathSource(Request):
    """A file below the folder that the server was given, by its path in it."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]


Uid = Annotated[str, Field(max_length=64, pattern=f"^{UID.pattern}$")]


class Instance(Request):
    """An instance by its UIDs."""

    study: Uid
    series: Uid
    instance: Uid


class DicomWebSource(Request):
    """An instance of the DICOMweb server that the server was given."""

    dicomweb: Instance


class SourcedRequest(PredictRequest):
    """What to predict in an image that the server fetches by itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": {"path": "study/phantom.png"},
                    "prompts": [{"box": [192, 58, 534, 402]}],
                },
                {
                    "source": {
                        "dicomweb": {"study": "1.2.3", "series": "1.2.3.4", "instance": "1.2.3.4.5"}
                    },
                    "frame": 12,
                    "prompts": [{"box": [192, 58, 534, 402]}],
                },
            ]
        }
    )

    source: PathSource | DicomWebSource
