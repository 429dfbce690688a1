"""Optional packages: every import of one goes through `needs`, so that one error names what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ultrasam.errors import MissingDependencyError


@contextmanager
def needs(what: str, *, extra: str, otherwise: str = "") -> Iterator[None]:
    """Turn the failure of an import into the error that names the extra.

    Args:
        what: what needs the packages, as the subject of a sentence.
        extra: the extra of UltraSam that installs them.
        otherwise: what else a user can do, as a sentence.

    Raises:
        MissingDependencyError: a package that is imported inside is missing, or cannot be loaded.

    Example:
        >>> with needs("Reading DICOM", extra="dicom"):
        ...     import pydicom
    """
    try:
        yield
    except MissingDependencyError:
        raise
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "ultrasam":
            raise  # a fault of ours, which no package mends
        message = f"{what} needs the extra '{extra}': pip install 'ultrasam[{extra}]'."
        if not isinstance(error, ModuleNotFoundError):
            # The package is there: too old, say, or short of a library of the system.
            message += f" (What is installed does not load: {error}.)"
        raise MissingDependencyError(f"{message} {otherwise}".rstrip()) from error
