"""Imports of optional packages: `needs` turns a failed import into an error that names what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ultrasam.errors import MissingDependencyError


@contextmanager
def needs(feature: str, *, extra: str, alternative: str = "") -> Iterator[None]:
    """Turn a failed import inside the block into an error that names the extra to install.

    Args:
        feature: what needs the packages, as the subject of a sentence.
        extra: the extra of UltraSam that installs them.
        alternative: what else the user can do, as a sentence.

    Raises:
        MissingDependencyError: A package imported in the block is missing or cannot be loaded.

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
            raise  # our own bug; no package fixes it
        message = _message(feature, extra)
        if not isinstance(error, ModuleNotFoundError):
            # The package is installed but too old, or lacks a system library.
            message += f" (The installed package failed to load: {error}.)"
        raise MissingDependencyError(f"{message} {alternative}".rstrip()) from error


@contextmanager
def needs_opencv(feature: str) -> Iterator[None]:
    """Turn a failed import of OpenCV, which an environment for `ultrasam.lite` need not have, into an error
    that says so.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "cv2":
            raise
        raise MissingDependencyError(
            f"{feature} needs OpenCV: pip install opencv-python-headless."
        ) from error


def require(feature: str, *packages: str, extra: str) -> None:
    """Check that packages of an extra are installed, without importing them.

    Args:
        feature: as in `needs`.
        packages: their modules' names.
        extra: the extra of UltraSam that installs them.

    Raises:
        MissingDependencyError: A package is missing.
    """
    if any(find_spec(package) is None for package in packages):
        raise MissingDependencyError(_message(feature, extra))


def _message(feature: str, extra: str) -> str:
    return f"{feature} needs the extra '{extra}': pip install 'ultrasam[{extra}]'."
