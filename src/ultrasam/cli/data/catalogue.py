"""`ultrasam data list`, `info` and `fetch`: which data sets there are, and how to get them."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.data.packages import require_packages
from ultrasam.cli.options import Json, out_option
from ultrasam.errors import DataError
from ultrasam.text import counted

Name = Annotated[str, typer.Argument(metavar="NAME", help="The id or name of a data set.")]


class Access(StrEnum):
    """How a data set can be had."""

    open = "open"
    registration = "registration"
    request = "request"
    kaggle = "kaggle"


def list_(
    organ: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only organs that contain this text.")
    ] = None,
    access: Annotated[Access | None, typer.Option(help="Only data sets with this access.")] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="TEXT",
            help="Only licenses that contain this text, for example 'CC BY 4.0'.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also list data sets beyond the 43 of the paper.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the data sets of US-43d."""  # fmt: skip
    require_packages()
    from ultrasam.datasets.catalogue import catalogue

    def matches(value: str, wanted: str | None) -> bool:
        return wanted is None or wanted.casefold() in value.casefold()

    rows = [
        {
            "id": i.id, "name": i.name, "organ": i.organ, "structures": list(i.structures),
            "kind": i.kind, "size": i.size, "access": i.access, "license": i.license, "url": i.url,
        }
        for i in (raw.info for raw in catalogue().values())
        if (every or i.part_of_paper)
        and matches(i.organ, organ)
        and (access is None or i.access == access.value)
        and matches(i.license, license_)
    ]  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    # A narrow terminal has no room for name, organ and kind; data info prints them too.
    heads = ["id", "name", "organ", "structures", "kind", "size", "access", "license"]
    shown = heads if console.width >= 140 else ["id", "structures", "size", "access", "license"]
    table = Table(box=box.SIMPLE_HEAD, row_styles=["", "dim"])
    for head in shown:
        table.add_column(head, no_wrap=head in ("id", "access"))
    for row in rows:
        cells = (row[head] for head in shown)
        table.add_row(*(c if isinstance(c, str) else ", ".join(c) for c in cells))
    if not rows:
        raise DataError(
            "No data set fits these options; 'ultrasam data list' without options lists all."
        )
    console.print(table)
    print(f"{counted(len(rows), 'data set')}; 'ultrasam data info NAME' describes one.")


def info(name: Name, as_json: Json = False) -> None:
    """Describe a data set: how to get it, where to put it, and how to cite it."""
    require_packages()
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.downloads import how_to_get

    found = dataset(name).info
    lines = {
        "Name": f"{found.name} ({found.id})",
        "Address": found.url,
        "Organ": found.organ,
        "Structures": ", ".join(found.structures),
        "Off by default": ", ".join(f"{found.id}.{e}" for e in found.optional_structures),
        "Kind": found.kind,
        "Size": found.size,
        "Access": found.access,
        "License": found.license,
        "Note": found.note,
        "How to get it": how_to_get(found),
        "Layout": found.layout,
        "Recognized by": ", ".join(
            f"'{f}'" for f in (found.id, *found.folders, *found.generic_folders)
        ),
        "Then": f"ultrasam data build {found.id}=FOLDER -o STORE",
    }
    if as_json:
        content = {head.lower().replace(" ", "_"): text for head, text in lines.items() if text}
        content |= {"id": found.id, "name": found.name, "citation": found.citation}
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return
    for head, text in lines.items():
        if text:
            print(f"{head + ':':<16}{text}")
    print(f"\n{found.citation}")


def fetch(
    name: Name,
    out: Annotated[Path, out_option("Downloads go to DIR/<id>.")],
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep archives after unpacking.")
    ] = False,
) -> None:
    """Download and unpack a data set that needs no account; explain how to get the others.

    Interrupted downloads resume.
    """
    require_packages()
    from ultrasam.datasets.catalogue import dataset

    found = dataset(name)
    checks.check_output(out)
    from ultrasam.datasets.downloads import fetch as run

    run(found, out, keep_archives=keep_archives)
    print(out / found.info.id)
