"""`ultrasam dicomweb`: search, retrieve and store on a DICOMweb server."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import Json, Overwrite, out_option
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import DataError, DiskFullError, UltraSamError
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.dicomweb.client import Found

logger = logging.getLogger(__name__)

app = typer.Typer(
    help="Search, retrieve and store on a DICOMweb server, such as a hospital's archive.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="https://HOST/dicom-web, or of a part of it, …/studies/UID/series/UID/instances/UID.",
    ),
]
_Modality = Annotated[
    str, typer.Option(metavar="NAME", help="Modality of what is searched, such as US or SEG.")
]


@app.command()
def search(address: _Address, modality: _Modality = "US", as_json: Json = False) -> None:
    """List the instances of a study, a series or a whole server, by their UIDs (QIDO-RS).

    Names and IDs of patients are not shown. Credentials come from ULTRASAM_DICOMWEB_TOKEN, or from
    ULTRASAM_DICOMWEB_USER and ULTRASAM_DICOMWEB_PASSWORD.
    """
    from ultrasam.dicomweb.client import DicomWebClient

    with DicomWebClient(address) as client:
        found = client.search(address, modality=modality)
    if as_json:
        print(json.dumps([_row(one) for one in found], indent=1))
        return
    for one in found:
        print(one.address, *_told(one))
    logger.info("%s of modality %s.", counted(len(found), "instance"), modality)


@app.command()
def retrieve(
    address: _Address,
    out: Annotated[
        Path | None, out_option("Folder for the files.", default="runs/dicomweb/UID")
    ] = None,
    modality: _Modality = "US",
    max_gb: Annotated[
        float,
        typer.Option(
            "--max-gb", min=0.001, metavar="NUMBER",
            help="Size that an instance may have; a longer answer is not read.",
        ),
    ] = 4.0,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Write an instance, or all ultrasound of a study or series, to UID.dcm each (WADO-RS).

    Every command takes the files. They are written as the server has them, with the patient's identity;
    ultrasam deidentify removes it. Credentials: as in search.
    """
    from ultrasam.dicomweb.address import Address
    from ultrasam.dicomweb.client import DicomWebClient

    where = Address.parse(address)
    if where.study is None:
        raise DataError(
            f"{address} is a whole server; give a study, a series or an instance, as search lists them."
        )
    folder = out or Path("runs", "dicomweb", where.instance or where.series or where.study)
    checks.check_output(folder)
    with DicomWebClient(where, max_bytes=int(max_gb * 1e9)) as client:
        wanted = [where]
        if where.instance is None:
            wanted = [found.address for found in client.search(where, modality=modality)]
            if not wanted:
                raise DataError(f"{where} has no instances of modality {modality}.")
        for one in wanted:
            checks.check_new(folder / f"{one.instance}.dcm", overwrite=overwrite)
        paths, failed = [], 0
        with progress_bar("retrieving") as on_progress:
            for number, one in enumerate(wanted):
                on_progress(number, len(wanted))
                try:
                    paths.append(client.retrieve(one, folder))
                except DiskFullError:
                    raise
                except UltraSamError as error:
                    failed += 1
                    # UIDs that the user has not given lead to a person, and stay out of logs.
                    name = f"instance {number + 1} of {len(wanted)} of {where}"
                    logger.error(
                        "%s", error if one == where else str(error).replace(str(one), name)
                    )
    for path in paths:
        print(path)
    _finish(failed, len(wanted), "instance")


@app.command()
def store(
    address: _Address,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="DICOM files, such as those of predict --format seg --format sr."
        ),
    ],
) -> None:
    """Send DICOM files, and make sure that the server lists each of them (STOW-RS, QIDO-RS).

    Credentials: as in search.
    """
    from ultrasam.dicomweb.address import Address
    from ultrasam.dicomweb.client import DicomWebClient

    where = Address.parse(address)
    if where.study is not None:
        raise DataError(
            f"{address} is part of a server; give the server, {where.base}: a file names its study by itself."
        )
    failed = 0
    with DicomWebClient(where) as client, progress_bar("storing") as on_progress:
        for number, file in enumerate(files):
            on_progress(number, len(files))
            try:
                print(client.store(file).address)
            except UltraSamError as error:
                failed += 1
                logger.error("%s", error)
    _finish(failed, len(files), "file")


def _finish(failed: int, count: int, what: str) -> None:
    if failed:
        if count > 1:
            logger.error("%d of %s failed.", failed, counted(count, what))
        raise typer.Exit(1)


def _row(found: Found) -> dict[str, object]:
    return {
        "address": str(found.address), "study": found.address.study, "series": found.address.series,
        "instance": found.address.instance, "sop_class": found.sop_class, "modality": found.modality,
        "frames": found.frames, "rows": found.rows, "columns": found.columns,
    }  # fmt: skip


def _told(found: Found) -> list[str]:
    """What the server says of the pixels."""
    frames = [] if found.frames is None else [counted(found.frames, "frame")]
    known = found.rows is not None and found.columns is not None
    return [*frames, *([f"{found.columns} × {found.rows}"] if known else [])]
