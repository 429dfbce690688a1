"""`ultrasam data list`, `info` and `fetch`: what there is, and how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def list_(
    organ: Annotated[str | None, typer.Option(help="Only organs that contain this word.")] = None,
    access: Annotated[
        str | None, typer.Option(help="open, registration, request or kaggle.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Only licences that contain this, for example 'CC BY 4.0'.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also data sets beyond the paper's 43.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Tab-separated, one row a line, for scripts.")
    ] = False,
) -> None:
    """List the data sets of US-43d."""
    from ultrasam.datasets.catalogue import catalogue

    def matches(value: str, wanted: str | None) -> bool:
        return wanted is None or wanted.casefold() in value.casefold()

    found = [
        raw.info
        for raw in catalogue().values()
        if (every or raw.info.part_of_paper)
        and matches(raw.info.organ, organ)
        and (access is None or raw.info.access == access.casefold())
        and matches(raw.info.license, licence)
    ]
    rows = [
        (i.id, i.name, i.organ, ", ".join(i.structures), i.kind, i.size, i.access, i.license)
        for i in found
    ]
    if plain:
        for row in rows:
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    heads = ("id", "name", "organ", "structures", "kind", "size", "access", "licence")
    # A narrow terminal has no room for all: name, organ and kind are also in data info.
    shown = range(8) if console.width >= 140 else (0, 3, 5, 6, 7)
    table = Table(box=box.SIMPLE_HEAD, row_styles=["", "dim"])
    for k in shown:
        table.add_column(heads[k], no_wrap=heads[k] in ("id", "access"))
    for row in rows:
        table.add_row(*(row[k] for k in shown))
    console.print(table)
    print(f"{len(rows)} data sets; ultrasam data info NAME says more of one.")


def info(name: Annotated[str, typer.Argument(help="A data set's id or name.")]) -> None:
    """Say what a data set is, how to get it, where to put it, and how to cite it."""
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.downloads import how_to_get

    found = dataset(name).info
    lines = [
        ("Name", f"{found.name} ({found.id})"),
        ("Address", found.url),
        ("Organ", found.organ),
        ("Structures", ", ".join(found.structures)),
        ("Off by default", ", ".join(f"{found.id}.{e}" for e in found.optional_structures)),
        ("Kind", found.kind),
        ("Size", found.size),
        ("Access", found.access),
        ("Licence", found.license),
        ("Note", found.note),
        ("How to get it", how_to_get(found)),
        ("Layout", found.layout),
        ("Recognized by", ", ".join(f"'{f}'" for f in (found.id, *found.folders))),
        ("Then", f"ultrasam data build {found.id}=FOLDER -o STORE"),
    ]
    for head, text in lines:
        if text:
            print(f"{head + ':':<16}{text}")
    print(f"\n{found.citation}")


def fetch(
    name: Annotated[str, typer.Argument(help="A data set's id or name.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Downloads go to DIR/<id>.")
    ] = Path("raw"),
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep archives after unpacking.")
    ] = False,
) -> None:
    """Download and unpack a data set that needs no account; for the others, say how to get them."""
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.downloads import fetch as run

    found = dataset(name)
    run(found, out, keep_archives=keep_archives)
    print(out / found.info.id)
