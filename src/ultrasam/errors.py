"""The one family of errors that UltraSam raises for what a user can put right.

Each message is one sentence that says what is wrong, where, and what to do. Each class is also the
builtin that a Python programmer would expect, so that ``except ValueError`` works.
"""

from __future__ import annotations

from typing import Any


class UltraSamError(Exception):
    """Base of all errors that a user can put right."""


class UltraSamWarning(UserWarning):
    """Something that a user should know and that stops nothing; the command line prints it in one line."""


def one_line(error: BaseException | str, *, limit: int | None = 160) -> str:
    """What an error says, for use inside a sentence: one line, without a full stop at its end.

    A fault of the system gives its cause alone, an error without a message its class's name.

    Args:
        limit: characters, of which a longer text keeps the first; None keeps all.
    """
    cause = getattr(error, "strerror", None) or error
    text = " ".join(str(cause).split()).rstrip(".") or type(error).__name__
    return text if limit is None or len(text) <= limit else f"{text[:limit]} …"


def first_validation_error(error: Any) -> str:
    """The first fault that a pydantic ValidationError names: where, and what; without a full stop."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where or 'the file'}: {fault['msg']}"


class ScanError(UltraSamError, ValueError):
    """A file that cannot be read as a scan, or pixels that cannot be one."""


class PromptError(UltraSamError, ValueError):
    """A prompt that is malformed, lies outside the scan, or is of a kind that the model does not accept."""


class CheckpointError(UltraSamError, ValueError):
    """A file of weights that cannot be found, read, trusted or matched to the model."""


class ConfigError(UltraSamError, ValueError):
    """A model's configuration, name or option that is unknown or impossible."""


class DeviceError(UltraSamError, RuntimeError):
    """A device that this machine or this build of PyTorch does not have."""


class MissingDependencyError(UltraSamError, ImportError):
    """An optional package that is needed and not installed."""


class RecipeError(UltraSamError, ValueError):
    """A recipe with an unknown key, a wrong type or an impossible value."""


class DataError(UltraSamError, ValueError):
    """Training or evaluation data that is missing or contradicts itself."""


class EvaluationError(UltraSamError, ValueError):
    """An evaluation that cannot be run as asked, or results that cannot be compared."""
