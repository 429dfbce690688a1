"""The folder of a run: new, or holding a run to resume. Checked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

from ultrasam.errors import RecipeError

LAST = "last.ckpt"


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse to overwrite a run, and to resume one that is not there.

    Raises:
        RecipeError: either.
    """
    last = folder / LAST
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file; give a folder for the run.")
    if resume and not last.exists():
        raise RecipeError(f"There is no {last} to resume from; leave --resume out.")
    if last.exists() and not resume:
        raise RecipeError(
            f"{folder} already holds a run; resume it with --resume or choose another output."
        )
