"""What a table of annotations says of an image, and the loose typing of such tables: ids, text, flags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ultrasam.datasets.readers.annotations import Annotation
from ultrasam.errors import DataError

WHOLE_IMAGE = "labeled as a whole, without a region; it may show any object"


class OtherFormatError(DataError):
    """A file is not in the format of the reader; the message is the reason to report."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image as a table lists it.

    Attributes:
        path: of the image, as listed.
        annotations: all of them.
        subject: id of the person scanned; None if unknown.
        split: the source's own split; None if it has none.
        problem: why the image must be left out; None if it can be read.
        also: other paths to try if ``path`` does not exist.
    """

    path: str
    annotations: tuple[Annotation, ...] = ()
    subject: str | None = None
    split: str | None = None
    problem: str | None = None
    also: tuple[str, ...] = ()


def id_of(value: Any) -> str | None:
    """An id in the form in which ids are compared: 7, 7.0, "7" and "7.0" are the same one.

    None for what cannot be an id: null, an empty text, a list.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif re.fullmatch(r"[+-]?\d+(\.0*)?", text):
        text = str(int(text.split(".")[0]))
    return text if text and text != "nan" else None


def text_of(value: Any) -> str | None:
    """A name, stripped; None unless it is text or a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def is_true(value: Any) -> bool:
    """Whether a flag is set: true, 1, "1", "true"."""
    return value is True or str(value).strip().casefold() in ("1", "1.0", "true", "yes")
