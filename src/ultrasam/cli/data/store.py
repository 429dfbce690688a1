"""`ultrasam data stats`, `show`, `check` and `export`: what a store holds, and its way to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli.progress import progress_bar
from ultrasam.errors import DataError

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="A store made by data build.")]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", metavar="NAME", help="Only this data set; repeat.")
]
Workers = Annotated[int, typer.Option(help="Processes; 0 works in this one.")]


def stats(
    store: StorePath,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="For stats.md and stats.html; STORE/stats."
        ),
    ] = None,
) -> None:
    """Count images, masks, subjects, structures and sizes: a Markdown and an HTML page with plots."""
    from ultrasam.store.stats import write_pages
    from ultrasam.store.store import Store

    text, web = write_pages(Store.open(store), out or store / "stats")
    print(text.read_text(encoding="utf-8"))
    print(web)


def show(
    store: StorePath,
    datasets: Datasets = None,
    split: Annotated[str | None, typer.Option(help="Only train, val, test or excluded.")] = None,
    count: Annotated[int, typer.Option(help="How many images.")] = 24,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE")] = Path("sheet.png"),
) -> None:
    """Draw a contact sheet with masks, as one PNG."""
    from ultrasam.store.contact_sheet import contact_sheet
    from ultrasam.store.sampling import spread
    from ultrasam.store.store import Store

    opened = Store.open(store)
    ids = _ids(datasets)
    rows = opened.select(datasets=ids, splits=[split] if split else None, with_instances=True)
    if not len(rows):
        rows = opened.select(datasets=ids, splits=[split] if split else None)
    if not len(rows):
        there = ", ".join(opened.manifest["datasets"])
        raise DataError(f"No image of {store} is of that kind; its data sets are {there}.")
    contact_sheet(opened, spread(rows, max(1, count)), out)
    print(out)


def check(store: StorePath, workers: Workers = 2) -> None:
    """Find missing and damaged images, masks that don't fit, changed pixels and split leaks."""
    from ultrasam.store.store import Store
    from ultrasam.store.validate import validate_store as run

    opened = Store.open(store)
    found = 0
    with progress_bar("checking") as on_progress:
        for problem in run(opened, workers=workers, on_progress=on_progress):
            found += 1
            print(f"{problem.kind}: {problem.where}: {problem.detail}")
    if found:
        raise DataError(f"{store} has {found} problems.")
    print(
        f"{len(opened.images):,} images and {len(opened.instances):,} instances are valid; no subject "
        "is in more than one split."
    )


def export(
    store: StorePath,
    format_: Annotated[
        str, typer.Option("--format", help="coco, yolo, nnunet, hf, or webdataset (shards).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.")],
    class_agnostic: Annotated[
        bool,
        typer.Option("--class-agnostic", help="One category, 'object', as in the paper."),
    ] = False,
) -> None:
    """Write a store in another tool's layout; images are linked where the disk can."""
    from ultrasam.store.export import export_store as run
    from ultrasam.store.store import Store

    counts = run(Store.open(store), out, format_, class_agnostic=class_agnostic)
    print(f"{out}: " + ", ".join(f"{n:,} {side}" for side, n in counts.items()))


def _ids(names: list[str] | None) -> list[str] | None:
    from ultrasam.datasets.catalogue import dataset

    if names is None:
        return None
    found = []
    for name in names:
        try:
            found.append(dataset(name).info.id)
        except DataError:
            found.append(name)  # a user's own
    return found
