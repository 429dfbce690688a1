"""Errors that a user can fix, all derived from `UltraSamError`.

Each message is one sentence: what is wrong, where, and what to do. Each class also derives from the builtin
that a Python programmer would catch, so ``except ValueError`` works.
"""

from __future__ import annotations

from typing import Any


class UltraSamError(Exception):
    """Base class of all errors that a user can fix.

    Attributes:
        exit_status: that of the command line.
    """

    exit_status = 1


class InterruptedRunError(UltraSamError):
    """The user stopped a run (Ctrl-C); the message says how it goes on."""

    exit_status = 130


class UltraSamWarning(UserWarning):
    """A warning to the user; the command line prints it on one line."""


def one_line(error: BaseException | str, *, limit: int | None = 160) -> str:
    """The message of an error as one line without a final period, for use inside a sentence.

    An `OSError` gives only its cause; an error without a message gives its class name.

    Args:
        limit: maximum length in characters; longer messages are cut. None keeps all.
    """
    cause = getattr(error, "strerror", None) or error
    text = " ".join(str(cause).split()).rstrip(".") or type(error).__name__
    return text if limit is None or len(text) <= limit else f"{text[:limit]} …"


def first_validation_error(error: Any) -> str:
    """The first error in a pydantic ValidationError as ``location: message``, without a final period."""
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    return f"{location or 'the file'}: {first['msg']}"


class ScanError(UltraSamError, ValueError):
    """A file or an array cannot be read as a scan."""


class PromptError(UltraSamError, ValueError):
    """A prompt is malformed, lies outside the scan, or has a type that the model does not accept."""


class CheckpointError(UltraSamError, ValueError):
    """A weights file cannot be found, read, trusted or matched to the model."""


class ConfigError(UltraSamError, ValueError):
    """A model configuration, name or option is unknown or invalid."""


class DeviceError(UltraSamError, RuntimeError):
    """A device is not available on this machine or in this build of PyTorch."""


class DiskFullError(UltraSamError, OSError):
    """A disk, or the user's share of it, is full."""


class MissingDependencyError(UltraSamError, ImportError):
    """An optional package is required but not installed."""


class RecipeError(UltraSamError, ValueError):
    """A recipe has an unknown key, a wrong type or an invalid value."""


class DataError(UltraSamError, ValueError):
    """Training or evaluation data is missing or inconsistent."""


class MeasurementError(UltraSamError, ValueError):
    """A mask has nothing that can be measured as asked, or its pixel spacing is invalid."""


class EvaluationError(UltraSamError, ValueError):
    """An evaluation cannot run as requested, or its results cannot be compared."""
