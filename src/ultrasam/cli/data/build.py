"""`ultrasam data …`: the catalogue, the store, and what goes in and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from ultrasam.datasets.description import RawDataset
    from ultrasam.store.build import Built
    from ultrasam.store.index import Settings

app = typer.Typer(
    help="US-43d: the catalogue of 43 open data sets, and one store made of them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="A store made by data build.")]
OutStore = Annotated[
    Path, typer.Option("--out", "-o", metavar="STORE", help="The store; made, or added to.")
]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", metavar="NAME", help="Only this data set; repeat.")
]
Workers = Annotated[int, typer.Option(help="Processes; 0 works in this one.")]
LeastArea = Annotated[
    int, typer.Option(help="Leave out instances of fewer pixels; the manifest counts them.")
]
LeastShare = Annotated[
    float,
    typer.Option(
        help="Leave out instances smaller than this share of their image's largest (the paper's code "
        "used 0.95 for a test set); the manifest counts them."
    ),
]


@app.callback()
def _needs_packages() -> None:
    try:
        import h5py  # noqa: F401
        import polars  # noqa: F401
        import pyarrow  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Data sets need more packages; install them with: pip install 'ultrasam[data]'"
        ) from error


@app.command("list")
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
        and matches(raw.info.licence, licence)
    ]
    rows = [
        (i.id, i.name, i.organ, ", ".join(i.structures), i.kind, i.size, i.access, i.licence)
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


@app.command()
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
        ("Off by default", ", ".join(f"{found.id}.{e}" for e in found.extras)),
        ("Kind", found.kind),
        ("Size", found.size),
        ("Access", found.access),
        ("Licence", found.licence),
        ("Note", found.note),
        ("How to get it", how_to_get(found)),
        ("Layout", found.layout),
        ("Recognised by", ", ".join(f"'{f}'" for f in (found.id, *found.folders))),
        ("Then", f"ultrasam data build {found.id}=FOLDER -o STORE"),
    ]
    for head, text in lines:
        if text:
            print(f"{head + ':':<16}{text}")
    print(f"\n{found.citation}")


@app.command()
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


@app.command()
def build(
    raw: Annotated[
        list[str],
        typer.Argument(metavar="RAW...", help="Folders with data sets, or NAME=FOLDER."),
    ],
    out: OutStore,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this one; repeat.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="ID.STRUCTURE", help="A structure that is off by default; repeat."
        ),
    ] = None,
    workers: Workers = 2,
    least_area: LeastArea = 1,
    least_share: LeastShare = 0.0,
    val: Annotated[float, typer.Option(help="Share of subjects that validate.")] = 0.05,
    test: Annotated[float, typer.Option(help="Share of subjects that test.")] = 0.05,
    hold_out: Annotated[
        list[str] | None,
        typer.Option("--hold-out", metavar="NAME", help="All of this data set tests; repeat."),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option("--zero-shot", help="Hold out the paper's: BUS-BRA, GIST514-DB, MMOTU-2D."),
    ] = False,
) -> None:
    """Build one indexed, validated, patient-safe store from the downloaded data sets.

    Safe to interrupt: run it again and it resumes. More data sets can be added to a store later.
    """
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.discover import find_datasets
    from ultrasam.store.index import PAPER_TEST_SETS, Settings
    from ultrasam.store.splits import Shares

    if not (val >= 0 and test >= 0 and val + test < 1):
        raise DataError("--val and --test are shares from 0 that sum to less than 1.")
    if least_area < 1 or not 0 <= least_share <= 1:
        raise DataError("--least-area is at least 1, --least-share within 0 and 1.")
    held = {dataset(name).info.id for name in hold_out or []}
    settings = Settings(
        least_area=least_area,
        least_share=least_share,
        shares=Shares(val, test),
        hold_out=tuple(sorted(held | set(PAPER_TEST_SETS if zero_shot else ()))),
    )
    sources = find_datasets(raw, only=only or [])
    _run(sources, out, settings, frozenset(with_ or []), workers)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="The folder with images and annotations.")],
    out: OutStore,
    name: Annotated[
        str, typer.Option(help="What the data set is called in the store: a-z, 0-9, _.")
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="coco, via, labelme, or masks (images/x.png with masks/x.png or masks/STRUCTURE/x.png).",
        ),
    ],
    structure: Annotated[
        str | None, typer.Option(help="What the masks show, where no folder or label says.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Add your own annotated images to a store."""
    import re

    from ultrasam.datasets import custom as own
    from ultrasam.datasets.catalogue import catalogue

    if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
        raise DataError(f"'{name}' is no name for a data set; use a-z, 0-9 and _.")
    if name in catalogue():
        raise DataError(f"'{name}' is a data set of the catalogue; take another name.")
    if format_ == "masks":
        data = own.paired_folders(name, structure=structure)
    elif format_ in ("coco", "via", "labelme"):
        readers = {"coco": own.coco_file, "via": own.via_files, "labelme": own.labelme_files}
        data = readers[format_](name)  # type: ignore[operator]
    else:
        raise DataError(f"There is no format '{format_}'; there are coco, via, labelme and masks.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    _run([(data, folder)], out, _settings_of(out), frozenset(), workers)


@app.command()
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


@app.command()
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


@app.command()
def check(store: StorePath, workers: Workers = 2) -> None:
    """Find missing and damaged images, masks that don't fit, changed pixels and split leaks."""
    from rich.console import Console
    from rich.progress import Progress

    from ultrasam.store.store import Store
    from ultrasam.store.validate import check as run

    opened = Store.open(store)
    console = Console(stderr=True)
    found = 0
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("checking", total=len(opened.images))
        for problem in run(
            opened, workers=workers, progress=lambda done, _: bar.update(task, completed=done)
        ):
            found += 1
            print(f"{problem.kind}: {problem.where}: {problem.detail}")
    if found:
        raise DataError(f"{store} has {found} problems.")
    print(
        f"{len(opened.images):,} images and {len(opened.instances):,} instances are valid; no subject "
        "is in more than one split."
    )


@app.command()
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
    from ultrasam.store.export import export as run
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


def _settings_of(store: Path) -> Settings:
    """Those of the store's last build, so that adding to it changes no side."""
    from ultrasam.store.index import Settings
    from ultrasam.store.store import Store

    if not (store / "manifest.json").exists():
        return Settings()
    return Settings.from_manifest(Store(store).manifest)


def _run(
    sources: list[tuple[RawDataset, Path]],
    out: Path,
    settings: Settings,
    extras: frozenset[str],
    workers: int,
) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from ultrasam.store.build import build as run

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[images]} images"), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("listing", total=None, images=0)
        built = run(
            sources,
            out,
            settings=settings,
            extras=extras,
            workers=workers,
            progress=lambda p: bar.update(
                task, description=p.dataset, completed=p.done, total=p.total, images=p.images
            ),
        )
    _report(built, out)


def _report(built: Built, out: Path) -> None:
    import sys

    manifest = built.summary.manifest
    for name, reasons in built.summary.skips.items():
        images = manifest["datasets"][name]["images"]
        skipped = sum(reasons.values())
        print(f"{name}: {images:,} images" + (f"; {skipped:,} left out:" if skipped else ""))
        for reason, count in reasons.most_common(4):
            print(f"    {count:,} × {reason}")
        if len(reasons) > 4:
            print(f"    and {len(reasons) - 4} more reasons")
    alike, sides = manifest["alike"], manifest["sides"]
    print(
        f"{manifest['images']:,} images, {manifest['instances']:,} instances, "
        f"{manifest['subjects']:,} subjects: "
        + ", ".join(f"{n:,} {side}" for side, n in sides.items())
    )
    print(f"{alike['exact']:,} exact and {alike['near']:,} near duplicates, kept on one side each")
    for what, count in manifest["left_out_instances"].items():
        if count:
            print(f"{count:,} instances left out ({what.replace('_', ' ')})")
    if any(built.summary.skips.values()):
        print(f"All that was left out: {out / 'skipped.csv'}")
    print(out)
    for name, reason in built.failed.items():
        print(f"ultrasam: {name}: {reason}", file=sys.stderr)
    if built.failed:
        raise DataError(f"{len(built.failed)} of the data sets could not be built.")
