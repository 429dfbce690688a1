"""`ultrasam data validate`, `stats`, `show` and `export`: what a store holds, and its way to other tools."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.data.packages import require_packages
from ultrasam.cli.options import Datasets, Json, Overwrite, Split, Workers, out_option
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import DataError
from ultrasam.text import counted

logger = logging.getLogger(__name__)

StorePath = Annotated[
    Path, typer.Argument(metavar="STORE", help="A store that ultrasam data build made.")
]


class ExportFormat(StrEnum):
    """Layouts that a store can be exported to."""

    coco = "coco"
    yolo = "yolo"
    nnunet = "nnunet"
    hf = "hf"
    webdataset = "webdataset"


def validate(store: StorePath, workers: Workers = 2, as_json: Json = False) -> None:
    """Find missing and damaged images, masks that do not fit, changed pixels and split leaks."""
    require_packages()
    from ultrasam.store.store import Store
    from ultrasam.store.validate import unknown_subjects, validate_store

    opened = Store.open(store)
    problems: list[dict[str, Any]] = []
    with progress_bar("validating") as on_progress:
        for problem in validate_store(opened, workers=workers, on_progress=on_progress):
            problems.append(asdict(problem))
            if not as_json:
                print(f"{problem.kind}: {problem.where}: {problem.detail}")
    images, instances = len(opened.images), len(opened.instances)
    unknown = unknown_subjects(opened)
    if as_json:
        content = {
            "images": images, "instances": instances, "problems": problems, "unknown": unknown,
        }  # fmt: skip
        print(json.dumps(content, indent=1))
    if problems:
        raise DataError(f"{store} has {counted(len(problems), 'problem')}.")
    if as_json:
        return
    splits = "no known subject" if unknown else "no subject"
    if instances:
        print(
            f"{counted(images, 'image')} and {counted(instances, 'instance')} are valid; {splits} is in more "
            "than one split."
        )
    else:
        print(
            f"{counted(images, 'image')} are valid, but none has an object; {splits} is in more than "
            "one split."
        )
    for sentence in unknown:
        print(sentence)
    if unknown:
        print("If file names hold the patient, import them again with --subject.")


def stats(
    store: StorePath,
    out: Annotated[
        Path | None,
        out_option(
            "Folder for stats.md and stats.html, which are replaced.", default="runs/stats/STORE"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count images, masks, subjects and structures; writes a Markdown page and an HTML page with plots."""
    require_packages()
    out = checks.output(out, "stats", str(store))
    from ultrasam.store.stats import compute_statistics, write_pages
    from ultrasam.store.store import Store

    opened = Store.open(store)
    text, web = write_pages(opened, out)
    if as_json:
        found = compute_statistics(opened)
        content = {
            "datasets": found.datasets.to_dicts(),
            "structures": found.structures.to_dicts(),
            "skipped": found.skipped,
            "pages": [str(text), str(web)],
        }
        print(json.dumps(content, indent=1))
        return
    print(text.read_text(encoding="utf-8"))
    print(web)


def show(
    store: StorePath,
    out: Annotated[Path, out_option("The picture, a PNG file.", metavar="FILE")],
    overwrite: Overwrite = False,
    dataset: Datasets = None,
    split: Annotated[
        Split | None, typer.Option(help="Only this split of a store.", show_default="all")
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of images.")] = 24,
) -> None:
    """Draw a contact sheet of images with their masks."""
    require_packages()
    checks.check_output(out, is_file=True)
    checks.check_suffix(out, ".png")
    checks.check_new(out, overwrite=overwrite)
    from ultrasam.store.contact_sheet import contact_sheet
    from ultrasam.store.sampling import spread
    from ultrasam.store.store import Store

    opened = Store.open(store)
    ids, splits = _ids(dataset), None if split is None else [split.value]
    rows = opened.select(datasets=ids, splits=splits, with_instances=True)
    if not len(rows):
        rows = opened.select(datasets=ids, splits=splits)
        if len(rows):
            logger.warning("No image of %s has an object; images are shown without masks.", store)
    if not len(rows):
        there = ", ".join(opened.manifest["datasets"])
        raise DataError(f"{store} has no such image; its data sets are {there}.")
    contact_sheet(opened, spread(rows, count), out)
    print(out)


def export(
    store: StorePath,
    format_: Annotated[ExportFormat, typer.Option("--format", help="Layout to write.")],
    out: Annotated[Path, out_option("A new folder.")],
    class_agnostic: Annotated[
        bool,
        typer.Option("--class-agnostic", help="Use one category, 'object', as the paper does."),
    ] = False,
) -> None:
    """Write a store in the layout of another tool; images are linked if the disk supports it."""
    require_packages()
    checks.check_output(out)
    from ultrasam.store.export import export_store as run
    from ultrasam.store.store import Store

    counts = run(Store.open(store), out, format_.value, class_agnostic=class_agnostic)
    print(f"{out}: " + ", ".join(f"{number:,} {split}" for split, number in counts.items()))


def _ids(names: list[str] | None) -> list[str] | None:
    """Ids of data sets by any of their names; the name of a custom data set is its id."""
    from ultrasam.datasets.catalogue import dataset

    if names is None:
        return None
    found = []
    for name in names:
        try:
            found.append(dataset(name).info.id)
        except DataError:
            found.append(name)
    return found
