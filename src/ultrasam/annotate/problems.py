"""What can go wrong in the annotator that a page must tell apart."""

from __future__ import annotations

from ultrasam.errors import DataError, UltraSamError


class NothingToUndoError(DataError):
    """There is no stroke to undo or redo."""


class StorageError(UltraSamError):
    """The project file cannot be written; it is no fault of the request, which may be sent again."""


class ConflictError(DataError):
    """The page has not seen the object's latest mask; another tab or a job has changed it.

    Attributes:
        object, frame: whose mask it is.
    """

    def __init__(self, message: str, object: str, frame: int) -> None:
        super().__init__(message)
        self.object, self.frame = object, frame


class LeasedError(DataError):
    """Another reader has an image open."""


class ReplacedError(DataError):
    """A newer preview has taken this one's place."""
