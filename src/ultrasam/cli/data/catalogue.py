"""`ultrasam data list`, `info` and `fetch`: which data sets there are, and how to get them."""

from __future__ import annotations

import json
import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.data.packages import require_packages
from ultrasam.cli.options import Json, out_option
from ultrasam.cli.tables import print_table, width
from ultrasam.errors import DataError
from ultrasam.text import counted

logger = logging.getLogger(__name__)
_WHOLE = ("id", "access", "tier", "reader")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The id or name of a data set.")]


class Access(StrEnum):
    """How a data set can be had."""

    open = "open"
    registration = "registration"
    request = "request"
    agreement = "agreement"
    kaggle = "kaggle"
    unknown = "unknown"


class Tier(StrEnum):
    """What a data set may be used for, by its license (`ultrasam.datasets.licenses.Tier`)."""

    ship = "ship"
    research = "research"
    measure = "measure"


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
    tier: Annotated[
        Tier | None,
        typer.Option(
            help="Only data sets that may be trained on and shipped (ship), trained on for noncommercial "
            "research (research), or only measured with (measure).",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also list data sets beyond the 43 of the paper.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the data sets of US-43d; with --all, also those beyond it."""  # fmt: skip
    require_packages()
    from ultrasam.datasets.catalogue import facts, has_reader
    from ultrasam.datasets.licenses import terms_of

    def matches(value: str, wanted: str | None) -> bool:
        return wanted is None or wanted.casefold() in value.casefold()

    rows: list[dict[str, Any]] = [
        {
            "id": i.id, "name": i.name, "organ": i.organ, "structures": list(i.structures),
            "kind": i.kind, "size": i.size, "access": i.access, "license": i.license,
            "tier": terms_of(i).tier.value, "reader": has_reader(i), "url": i.url,
        }
        for i in facts().values()
        if (every or i.part_of_paper)
        and matches(i.organ, organ)
        and (access is None or i.access == access.value)
        and (tier is None or terms_of(i).tier.value == tier.value)
        and matches(i.license, license_)
    ]  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if not rows:
        raise DataError(
            "No data set fits these options; 'ultrasam data list --all' without others lists all."
        )
    # A narrow terminal has no room for the others; data info prints them too.
    heads = ["id", "organ", "access", "license", "tier"]
    if width() >= 140:
        heads = ["id", "name", "organ", "structures", "kind", "size", *heads[2:]]
    if every:
        heads.append("reader")
    print_table(heads, [[_cell(row[head]) for head in heads] for row in rows], whole=_WHOLE)
    print(f"{counted(len(rows), 'data set')}; 'ultrasam data info NAME' describes one.")


def _cell(value: str | list[str] | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else ", ".join(value)


def info(name: Name, as_json: Json = False) -> None:
    """Describe a data set: how to get it, where to put it, what it may be used for, and how to cite it."""
    require_packages()
    from ultrasam.datasets.beyond import no_reader
    from ultrasam.datasets.catalogue import find_facts, has_reader
    from ultrasam.datasets.downloads import how_to_get
    from ultrasam.datasets.licenses import terms_of

    found = find_facts(name)
    read = has_reader(found)
    lines = {
        "Name": f"{found.name} ({found.id})",
        "Address": found.url,
        "Organ": found.organ,
        "Structures": ", ".join(found.structures),
        "Off by default": ", ".join(f"{found.id}.{e}" for e in found.optional_structures),
        "Annotation": "" if read else found.annotation,
        "Kind": found.kind,
        "Size": found.size,
        "Access": found.access,
        "License": found.license,
        "Use": str(terms_of(found)),
        "Overlaps with": ", ".join(found.overlaps),
        "Note": found.note,
        "How to get it": how_to_get(found),
        "Layout": found.layout,
    }
    if read:
        names = (found.id, *found.folders, *found.generic_folders)
        lines["Recognized by"] = ", ".join(f"'{name}'" for name in names)
        lines["Then"] = f"ultrasam data build {found.id}=FOLDER -o STORE"
    else:
        lines["Reader"] = f"{no_reader(found)}."
    if as_json:
        content: dict[str, str | bool] = {
            head.lower().replace(" ", "_"): text for head, text in lines.items() if text
        }
        content |= {
            "id": found.id, "name": found.name, "citation": found.citation, "reader": read,
            "tier": terms_of(found).tier.value,
        }  # fmt: skip
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
    from ultrasam.datasets.beyond import no_reader
    from ultrasam.datasets.catalogue import find_facts, has_reader

    found = find_facts(name)
    checks.check_output(out)
    from ultrasam.datasets.downloads import fetch as run

    run(found, out, keep_archives=keep_archives)
    if not has_reader(found):
        logger.info("%s.", no_reader(found))
    print(out / found.id)
