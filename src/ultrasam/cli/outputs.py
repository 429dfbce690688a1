"""What commands that write masks share: results of earlier runs, and where the new ones come from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ultrasam._version import __version__
from ultrasam.errors import UltraSamError


def earlier_results(out: Path, written: Sequence[str], *, overwrite: bool) -> list[Path]:
    """The results of an earlier run in the output folder; they go when the new ones can come.

    Args:
        out: the folder.
        written: patterns of the names of results.
        overwrite: whether they are to be replaced.

    Raises:
        UltraSamError: There are some, and they are not to be replaced.
    """
    earlier = [path for pattern in written for path in out.glob(pattern)]
    if earlier and not overwrite:
        raise UltraSamError(
            f"{out} holds the results of an earlier run; choose another -o, or replace them with --overwrite."
        )
    return earlier


def remove(files: Sequence[Path]) -> None:
    """Remove files."""
    for file in files:
        file.unlink(missing_ok=True)


def provenance(model: str) -> dict[str, str]:
    """The model, the version of UltraSam and the time, for results."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"model": model, "ultrasam": __version__, "created": created}
