"""The packages that the commands of `ultrasam data` need."""

from __future__ import annotations

from ultrasam.extras import require


def require_packages() -> None:
    """Check that they are installed, without importing them.

    Raises:
        MissingDependencyError: A package is missing.
    """
    require("Working with data sets", "h5py", "polars", "pyarrow", "scipy", extra="data")
