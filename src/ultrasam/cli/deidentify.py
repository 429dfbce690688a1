"""`ultrasam deidentify`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import Inputs, Overwrite, out_option
from ultrasam.errors import DiskFullError, UltraSamError
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.images.deidentification.files import Keep

logger = logging.getLogger(__name__)


def deidentify(
    inputs: Inputs,
    out: Annotated[
        Path | None, out_option("Folder for the results.", default="runs/deidentify/INPUT")
    ] = None,
    overwrite: Overwrite = False,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="x0,y0,x1,y1|all",
            show_default="the scanned sector, found in each file",
            help="The part of the picture to keep, in pixels, or all of it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell what would be removed, then exit; with --out, also draw what would be kept.",
        ),
    ] = False,
) -> None:
    """Remove burnt-in text and the identity from images.

    Pixels outside the scanned sector are blanked, and a DICOM header is cleaned by the Basic Profile of the
    standard (PS3.15). DICOM images and cines become DICOM, still pictures PNG, videos AVI without loss; the
    results are numbered, because names of files often name people. Text inside the sector stays: look at the
    results.

    Give the files of a study together: only then do they refer to each other afterwards.
    """
    from ultrasam.extras import require
    from ultrasam.images.deidentification.files import parse_keep
    from ultrasam.inference.inputs import find_inputs

    part = parse_keep(keep)
    paths = find_inputs(inputs)
    checks.check_inputs(paths)
    require("De-identification", "pydicom", "dicomanonymizer", extra="outputs")
    draws = dry_run and out is not None
    folder = checks.output(out, "deidentify", inputs[0])
    if (not dry_run or draws) and folder.exists() and any(folder.iterdir()) and not overwrite:
        raise UltraSamError(
            f"{folder} is not empty; choose another -o, or add to it with --overwrite."
        )
    failed = 0
    digits = max(3, len(str(len(paths))))
    for number, path in enumerate(paths, 1):
        try:
            _one(path, folder / f"{number:0{digits}d}", part, dry_run=dry_run, draws=draws)
        except DiskFullError:
            raise
        except UltraSamError as error:
            failed += 1
            logger.error("%s", error)
    if failed:
        logger.error(
            "%d of %s failed; nothing of them was written.", failed, counted(len(paths), "file")
        )
        raise typer.Exit(1)


def _one(path: Path, name: Path, keep: Keep, *, dry_run: bool, draws: bool) -> None:
    """De-identify one file, or tell what would be removed.

    Args:
        name: of the result, without suffix.
    """
    from ultrasam.images.deidentification.files import deidentify as run
    from ultrasam.images.deidentification.files import plan, preview

    made = plan(path, keep)
    out = name.with_name(name.name + made.suffix)
    done = run(made, None if dry_run else out)
    if made.kept is None:
        kept = "all pixels are kept; burnt-in text stays"
    else:
        kept = f"{made.kept.mean():.0%} of each frame are kept ({made.sector})"
    if made.is_crossed:
        logger.warning(
            "%s: text may remain: something bright reaches across the edge of what is kept. Look at it "
            "(--dry-run -o FOLDER), and give a box with --keep.",
            path,
        )
    elements = counted(len(done.changes), "element")
    if not dry_run:
        logger.info("%s: %s; %s; %s of the header changed.", path, kept, done.stored, elements)
        print(out)
        return
    print(f"{path}: {kept}; {elements} of the header would change:")
    for change in done.changes:
        after = "removed" if change.after is None else f"'{change.after}'"
        print(f"  {change.name}: '{change.before}' -> {after}")
    if draws:
        picture = name.with_name(name.name + "_kept.png")
        preview(made, picture)
        print(picture)
