"""What commands that write masks share: results of earlier runs, the formats, and what made the masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultrasam.errors import UltraSamError

if TYPE_CHECKING:
    from ultrasam.images.writing.formats import MaskFormat
    from ultrasam.images.writing.segmentation import Provenance
    from ultrasam.inference.exports import Exports

_NEED = {"nifti": ("nibabel",), "seg": ("highdicom",), "sr": ("highdicom",)}


def earlier_results(out: Path, written: Sequence[str], *, overwrite: bool) -> list[Path]:
    """The results of an earlier run in the output folder; they go when the new ones can come.

    Args:
        out: the folder.
        written: patterns of the names of results.
        overwrite: whether they are to be replaced.

    Raises:
        UltraSamError: There are some, and they are not to be replaced.
    """
    earlier = list(dict.fromkeys(path for pattern in written for path in out.glob(pattern)))
    if earlier and not overwrite:
        raise UltraSamError(
            f"{out} holds the results of an earlier run; choose another -o, or replace them with --overwrite."
        )
    return earlier


def remove(files: Sequence[Path]) -> None:
    """Remove files."""
    for file in files:
        file.unlink(missing_ok=True)


def exports(out: Path, formats: Sequence[MaskFormat], made: Provenance) -> Exports | None:
    """What writes all frames of a file together, if a format asks for that."""
    from ultrasam.inference.exports import BY_FRAME, Exports

    return Exports(out, formats, made) if set(formats) - set(BY_FRAME) else None


def check_formats(formats: Sequence[MaskFormat]) -> None:
    """Refuse formats whose packages are missing, before a model is loaded.

    Raises:
        MissingDependencyError: The extra 'outputs' is not installed.
    """
    from ultrasam.extras import require

    for one in formats:
        require(f"Writing {one}", *_NEED.get(one, ()), extra="outputs")
