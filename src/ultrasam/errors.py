"""The one family of errors that UltraSam raises for what a user can put right.

Each message is one sentence that says what is wrong, where, and what to do. The command line prints
it as it is; a programmer gets the chain of causes behind it.
"""

from __future__ import annotations

from typing import Any


class UltraSamError(Exception):
    """Base of all errors that a user can put right."""


def first_of(error: Any) -> str:
    """The first fault that a pydantic ValidationError names: where, and what; without a full stop."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where or 'the file'}: {fault['msg']}"


class ScanError(UltraSamError):
    """A file that cannot be read as a scan, or pixels that cannot be one."""


class PromptError(UltraSamError):
    """A prompt that is malformed or lies outside the scan."""


class CheckpointError(UltraSamError):
    """A file of weights that cannot be found, read, trusted or matched to the model."""


class RecipeError(UltraSamError):
    """A recipe with an unknown key, a wrong type or an impossible value."""


class DataError(UltraSamError):
    """Training or evaluation data that is missing or contradicts itself."""


class EvaluationError(UltraSamError):
    """An evaluation that cannot be run as asked, or results that cannot be compared."""
